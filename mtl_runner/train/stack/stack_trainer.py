"""The training of a stack: what ``Trainer`` does for one run, done for many runs at once."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mtl_runner.config.settings import MIN_STEPS_TO_COMPILE_STACK
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.meter import metrics_can_be_vmapped
from mtl_runner.train import checkpoint
from mtl_runner.train.batches import Batches, block_starts
from mtl_runner.train.epoch_record import (
    EpochMeans,
    EpochRecord,
    UnfinishedEpoch,
    check_finite,
)
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.interruption import Interrupted, stops_here
from mtl_runner.train.stack.eligibility import in_memory
from mtl_runner.train.stack.stacked_evaluation import StackedEvaluation
from mtl_runner.train.stack.stacked_split import StackedSplit, slice_rows, stacked_points
from mtl_runner.train.stack.stacked_step import StackedStep
from mtl_runner.train.trainer import Trainer
from mtl_runner.write_group import written_together

# Files are written after a quarter of the run, but after no fewer and no more steps than these.
MIN_SNAPSHOT_STEPS, MAX_SNAPSHOT_STEPS = 1000, 5000
GATHERED_BYTES = 2**28  # batches that are gathered at once
# Replicas that have ended are computed with the others until they are so many of the stack: to
# stack the others anew costs as much as some steps; of a compiled stack it is another compilation.
IDLE_SHARE, IDLE_SHARE_COMPILED = 0.25, 0.5


class StackTrainer:
    """Trains many runs that differ only in numbers, as one.

    Every replica keeps its own :class:`~mtl_runner.train.trainer.Trainer`, whose model, likelihood
    and weighting become slices of the stack, so that records, checkpoints and the end of a run are
    those of a single one.

    Args:
        trainers: One trainer per run, built as for a single run, all at the same epoch and of one
            kind (:mod:`mtl_runner.train.stack.eligibility`).
        compiled: Whether the step is compiled.
        on_replica: Function called with the index of a replica before something is done, and
            perhaps logged, for it.
        snapshots: Whether files are written a few times in a run instead of at every evaluation.

    Attributes:
        live: Indices of the replicas that still train.
        stacked: Indices of the replicas that are computed, in the order of the stack.
        failed: The errors of the replicas that have failed, by index.
        on_epoch: Function called at the end of every epoch, once it is evaluated if it is to be,
            with its number and its mean objective.
        stop: Set to True to stop at the next evaluated epoch.
        stop_now: Set to True, too, to stop after the current step.
        stop_signal: The signal that asks to stop.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from hydra import compose, initialize_config_dir
        >>> from mtl_runner.config.conf_directory import conf_directory
        >>> from mtl_runner.experiment.build import build
        >>> overrides = ["data=toy_regression", "trainer.epochs=2", "name=example"]
        >>> with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        ...     configs = [compose("config", [*overrides, f"seed={seed}"]) for seed in range(2)]
        >>> with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        ...     folders = Path(first), Path(second)
        ...     trainers = [Trainer(build(config), f) for config, f in zip(configs, folders)]
        ...     StackTrainer(trainers).run()
        >>> [trainer.epoch for trainer in trainers]
        [2, 2]
    """

    def __init__(
        self,
        trainers: Sequence[Trainer],
        compiled: bool = False,
        on_replica: Callable[[int], None] | None = None,
        snapshots: bool = True,
    ) -> None:
        self.trainers = list(trainers)
        self.first = self.trainers[0]
        self.tasks = self.first.tasks
        self.settings = self.first.settings
        self.on_replica, self.snapshots = on_replica, snapshots
        self.on_epoch: Callable[[int, float], None] | None = None
        # Metrics of replicas can differ in their units, which are no tensors: then one by one.
        self.evaluates_as_stack = (
            not self.first.learner.likelihood.predicts_noise
            and metrics_can_be_vmapped(self.tasks)
            and all(trainer.tasks == self.tasks for trainer in self.trainers)
        )
        self.layout = self.first.learner.layout
        # A run that was stopped when it had come to an early end.
        self.live = {k for k, trainer in enumerate(self.trainers) if not trainer.ends_early()}
        self.failed: dict[int, Exception] = {}
        self.stop = self.stop_now = False
        self.stop_signal = signal.SIGINT
        self.epoch, self.step = self.first.epoch, self.first.step
        self.stacked: list[int] = []
        if self.live:
            self._stack(compiled)

    def run(self) -> None:
        """Train all replicas to their end.

        A replica that diverges is in :attr:`failed`; the others go on.

        Raises:
            Interrupted: After a request to stop, when everything is saved.
            CannotStackError: If ``torch.func`` does not take the model.
        """
        settings = self.first.settings
        started = time.perf_counter() - self.first.seconds * len(self.trainers)
        for trainer in self.trainers:
            trainer.learner.model.train()
        saved_step = self.step
        snapshot_steps = self._snapshot_steps()
        while self.live and self.epoch < settings.trainer.epochs:
            self._leave_out_ended()
            try:
                table, actives = self._train_epoch()
            except Interrupted:
                self._count((time.perf_counter() - started) / len(self.trainers))
                self.save()
                raise
            self._drop_diverged(table, actives)
            self.replica_step.end_epoch()
            self._count((time.perf_counter() - started) / len(self.trainers))
            evaluated = self.first.evaluations.is_due(self.step)
            if evaluated:
                self._record(table, actives)
            if self.on_epoch is not None:
                self.on_epoch(self.epoch, self.layout.of(table, "objective").mean().item())
            stops = stops_here(self, evaluated)
            is_due = self.step - saved_step >= snapshot_steps
            if stops or (evaluated and (is_due or self.epoch == settings.trainer.epochs)):
                self.save()
                saved_step = self.step
            if stops and self.live:
                raise Interrupted(self.stop_signal)

    def _stack(self, compiled: bool) -> None:
        """Stack the replicas that still train."""
        self.stacked = sorted(self.live)
        trainers = [self.trainers[index] for index in self.stacked]
        # All have them: whoever reads its rows while it trains is no replica.
        self.batches = [t.batches for t in trainers if isinstance(t.batches, Batches)]
        self.replica_step = StackedStep(trainers, compiled)
        self.train_split = StackedSplit(
            [in_memory(trainer.experiment.data.splits["train"]) for trainer in trainers]
        )
        if self.evaluates_as_stack:
            self.evaluation = StackedEvaluation(trainers, "val")

    def _leave_out_ended(self) -> None:
        """Stack the replicas anew where many of the stack have ended."""
        idle, share = len(self.stacked) - len(self.live), IDLE_SHARE
        if self.replica_step.compiled:
            share = IDLE_SHARE_COMPILED
            steps_left = (self.settings.trainer.epochs - self.epoch) * self.first.batches.count
            if steps_left < MIN_STEPS_TO_COMPILE_STACK:
                return
        if idle >= share * len(self.stacked):
            self.replica_step.sync_replicas(self.step)
            self._stack(self.replica_step.compiled)

    @property
    def progress(self) -> str:
        """The monitor on validation at the last evaluation: its range over the replicas."""
        if len(self.trainers) == 1:
            return self.first.progress
        monitor = self.first.monitor
        values = [
            monitor.as_recorded(trainer.monitored)
            for trainer in self.trainers
            if trainer.monitored is not None
        ]
        return f"val {monitor.name} {min(values):.4g} to {max(values):.4g}" if values else ""

    def save(self) -> None:
        """Write the files of all replicas that still train.

        A kill in between leaves every run a checkpoint of a position that all runs have.
        """
        self.replica_step.sync_replicas(self.step)
        with written_together() as files:
            for index in sorted(self.live):
                with self._errors_of_replica(index), files.owned_by(index):
                    self.trainers[index].save(in_stack=len(self.live) > 1)
        for replica, error in files.failed.items():
            assert isinstance(replica, int)
            with self._errors_of_replica(replica):
                raise error
        for index in sorted(self.live):
            checkpoint.all_have_saved(self.trainers[index].directory)

    def _snapshot_steps(self) -> int:
        """Return how many steps lie between two times that files are written, at least."""
        if not self.snapshots:
            return 0
        quarter = self.settings.trainer.epochs * self.first.batches.count // 4
        return min(max(quarter, MIN_SNAPSHOT_STEPS), MAX_SNAPSHOT_STEPS)

    def _train_epoch(self) -> tuple[Tensor, list[Active]]:
        """Train one epoch of steps, or the rest of it.

        Returns:
            The records of the steps on the host, ``[steps, S, columns]``, and the active tasks of
            each step.

        Raises:
            Interrupted: If :attr:`stop_now` is set, with the unfinished epoch to be saved.
        """
        unfinished = self._take_unfinished()
        self.replica_step.begin_epoch(self.epoch / self.settings.trainer.epochs, unfinished)
        batches, size = self.batches[0], self.batches[0].batch_size
        width = self.layout.width
        device = self.train_split.replicas.device
        table = torch.zeros((batches.count, len(self.stacked), width), device=device)
        batch_bytes = self.train_split.row_bytes * len(self.stacked) * size
        block_rows = size * max(1, GATHERED_BYTES // max(1, batch_bytes))
        actives = list(unfinished[0].actives) if unfinished else []
        for k, epoch in enumerate(unfinished):
            table[: len(actives), k] = epoch.table.to(table.device)
        if len(actives) == batches.count:  # it stopped after the last step
            self.epoch += 1
            return table.cpu(), actives
        orders = torch.stack([batches.order() for batches in self.batches]).to(device)
        for block_start in block_starts(self.train_split.rows, block_rows, size, len(actives)):
            rows = orders[:, block_start : block_start + block_rows]
            inputs, targets = self.train_split.gather(rows)
            for start in range(max(0, len(actives) * size - block_start), rows.shape[1], size):
                batch = slice(start, start + size)
                active = batches.active(self.step)
                labels = {name: target[:, batch] for name, target in targets.items()}
                points = stacked_points([b.points.of_step(self.step) for b in self.batches])
                stacked = (slice_rows(inputs, batch), labels, points)
                self.replica_step(stacked, active, table[len(actives)])
                actives.append(active)
                self.step += 1
                if self.stop_now:
                    self._keep_unfinished(table[: len(actives)].cpu(), actives)
                    raise Interrupted(self.stop_signal)
        self.epoch += 1
        return table.cpu(), actives

    def _take_unfinished(self) -> list[UnfinishedEpoch]:
        """Return the steps of the epoch in which the replicas stopped; none at the end of one."""
        trainers = [self.trainers[index] for index in self.stacked]
        unfinished = [trainer.unfinished for trainer in trainers]
        for trainer in trainers:
            trainer.unfinished = None
        return [epoch for epoch in unfinished if epoch is not None]

    def _keep_unfinished(self, table: Tensor, actives: list[Active]) -> None:
        """Give every replica the steps of the epoch in which the stack stops.

        Args:
            table: Records of the steps, ``[steps, S, columns]``.
            actives: The active tasks of each step.
        """
        for place, index in self._live_places():
            losses = self.replica_step.kept_losses(place)
            steps = UnfinishedEpoch(table[:, place].clone(), actives, losses)
            self.trainers[index].unfinished = steps

    def _live_places(self) -> list[tuple[int, int]]:
        """Return the place in the stack and the index of every replica that still trains."""
        return [(k, index) for k, index in enumerate(self.stacked) if index in self.live]

    def _drop_diverged(self, table: Tensor, actives: list[Active]) -> None:
        """Drop replicas whose records are not finite; what the stack still computes is ignored."""
        finite = table.isfinite().all(2).all(0)
        for place, index in self._live_places():
            if not finite[place]:
                record = EpochRecord(table[:, place], actives, self.layout)
                with self._errors_of_replica(index):
                    check_finite(record, self.tasks, self.epoch, self.step - len(table) + 1)

    @contextlib.contextmanager
    def _errors_of_replica(self, index: int) -> Iterator[None]:
        """Let an error, such as a diverged loss or a full disk, end this replica alone."""
        if self.on_replica is not None:
            self.on_replica(index)
        try:
            yield
        except Exception as error:
            self._fail(index, error)

    def _fail(self, index: int, error: Exception) -> None:
        """Drop a replica, and write its rows and its best model; its last checkpoint stays."""
        # The disk may be full, and this may be the very error.
        with contextlib.suppress(OSError):
            self.trainers[index].write_metrics_and_best()
        self.failed[index] = error
        self.live.discard(index)

    def _end(self, index: int) -> None:
        """End a replica that stops early, with everything as it is now."""
        place = self.stacked.index(index)
        self.replica_step.sync_replicas(self.step, place)
        self.trainers[index].save()
        self.live.discard(index)
        self.replica_step.release(place)

    def _count(self, seconds: float) -> None:
        """Tell every replica that still trains how far it is.

        Args:
            seconds: Wall time of the training so far, per replica.
        """
        for index in self.live:
            trainer = self.trainers[index]
            trainer.epoch, trainer.step, trainer.seconds = self.epoch, self.step, seconds

    def _record(self, table: Tensor, actives: list[Active]) -> None:
        """Record an evaluated epoch of every replica that still trains.

        Args:
            table: Records of the steps, ``[steps, S, columns]``.
            actives: The active tasks of each step.
        """
        evaluations = self._evaluate()
        means = self._means(table, actives)
        for place, index in self._live_places():
            trainer = self.trainers[index]
            with self._errors_of_replica(index):
                trainer.check_losses("val", evaluations[place])
                trainer.record(means[place], evaluations[place], save=False)
                if trainer.ends_early():
                    self._end(index)

    def _means(self, table: Tensor, actives: list[Active]) -> list[EpochMeans]:
        """Return the means over the steps of an epoch, for every replica of the stack."""
        active = torch.tensor([a.values for a in actives], dtype=torch.float64).mean(0).tolist()
        means = table.double().mean(0)
        fields = {name: self.layout.of(means, name).tolist() for name in self.layout.slices}
        return [
            EpochMeans(
                fields["loss"][k],
                fields["weight"][k],
                active,
                fields["objective"][k][0],
                {name: fields[name][k] for name in self.layout.measured},
            )
            for k in range(len(self.stacked))
        ]

    def _evaluate(self) -> list[Evaluation]:
        """Evaluate the validation split with every replica's model."""
        if not self.evaluates_as_stack:
            return [self.trainers[index].measure("val") for index in self.stacked]
        return self.evaluation(self.replica_step.parameters, self.replica_step.constants)
