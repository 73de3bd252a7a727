"""The loop of a stack: what `train/trainer.py` does for one run, for many at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from mtl_runner.experiment.functional import pure
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.meter import can_vmap_metrics
from mtl_runner.train import checkpoint
from mtl_runner.train.evaluation import Evaluation, Evaluator, Key, Measured, as_evaluation
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.stack.data import StackedSplit, cut
from mtl_runner.train.stack.step import StackedStep, stacking
from mtl_runner.train.totals import EpochMeans, EpochRecord, check_finite
from mtl_runner.train.trainer import Trainer

SNAPSHOT_STEPS = (
    1000,
    5000,
)  # files are written after a quarter of the run, but after no less and no more steps than these
GATHERED = 2**28  # bytes of batches that are gathered at once
EVALUATED = 2**24  # rows times replicas that go through the model at once in an evaluation


class Stack:
    """Trains many runs that differ only in numbers, as one.

    Every replica keeps its own :class:`~mtl_runner.train.trainer.Trainer`, whose model, likelihood and weighting become slices of the stack, so
    that records, checkpoints and the end of a run are those of a single one.

    Args:
        trainers: one per run, built as for a single run and alike (:mod:`mtl_runner.train.stack.eligibility`), at the same epoch.
        compiled: whether the step is compiled. on_replica: called before something is done, and perhaps said, for one replica.
        snapshots: whether files are written a few times in a run, not at every evaluation.
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
        self.on_epoch: Callable[[int, float], None] | None = (
            None  # told at the end of every epoch: epoch, mean objective
        )
        self.replica_step = StackedStep(self.trainers, compiled)
        self.train_split = StackedSplit(
            [trainer.experiment.data.splits["train"] for trainer in self.trainers]
        )
        self.val_split = StackedSplit(
            [trainer.experiment.data.splits["val"] for trainer in self.trainers]
        )
        # Metrics in units of their own, which are numbers, not tensors, cannot be taken of all at once.
        self.together = (
            not self.first.learner.likelihood.predicts_noise
            and can_vmap_metrics(self.tasks)
            and all(t.tasks == self.tasks for t in self.trainers)
        )
        self.layout = self.first.learner.layout
        self.live = set(range(len(self.trainers)))
        self.failed: dict[int, Exception] = {}
        self.stop = False  # set by a signal handler; honoured at the next evaluated epoch
        self.epoch, self.step = self.first.epoch, self.first.step
        self.evaluator = Evaluator(self.tasks, self.first.learner.likelihood)
        self._keys: list[Key] = []

    def run(self) -> None:
        """Train all to their end. A replica that diverges is in ``failed``; the others go on. Raises ``Interrupted`` after a request to stop."""
        settings = self.first.settings
        started = time.perf_counter() - self.first.seconds * len(self.trainers)
        for trainer in self.trainers:
            trainer.learner.model.train()
        saved = self.step
        quarter = settings.trainer.epochs * self.first.batches.count // 4
        between = min(max(quarter, SNAPSHOT_STEPS[0]), SNAPSHOT_STEPS[1]) if self.snapshots else 0
        while self.live and self.epoch < settings.trainer.epochs:
            table, actives = self._train_epoch()
            self._drop_diverged(table, actives)
            self.replica_step.end_epoch()
            if self.on_epoch is not None:
                self.on_epoch(self.epoch, self.layout.of(table, "objective").mean().item())
            if settings.trainer.evaluates(self.epoch):
                self._record(table, actives, (time.perf_counter() - started) / len(self.trainers))
                last = self.epoch == settings.trainer.epochs or self.stop
                if last or self.step - saved >= between:
                    self.save()
                    saved = self.step
                if self.stop and self.live and self.epoch < settings.trainer.epochs:
                    raise Interrupted

    def _train_epoch(self) -> tuple[Tensor, list[Active]]:
        """One epoch of steps; returns ``[steps, S, columns]`` of what the steps return, on the host, and who was active."""
        self.replica_step.begin_epoch(self.epoch / self.settings.trainer.epochs)
        batches, size = self.first.batches, self.first.batches.batch_size
        orders = torch.stack([trainer.batches.order() for trainer in self.trainers]).to(
            self.train_split.replicas.device
        )
        width = self.layout.width
        table = orders.new_zeros(
            (batches.count, len(self.trainers), width), dtype=torch.get_default_dtype()
        )
        gathered = size * max(
            1, GATHERED // max(1, self.train_split.row_bytes * len(self.trainers) * size)
        )
        actives: list[Active] = []
        for at in range(0, self.train_split.rows, gathered):
            rows = orders[:, at : at + gathered]
            inputs, targets = self.train_split.gather(rows)
            for start in range(0, rows.shape[1], size):
                part = slice(start, start + size)
                active = batches.active(self.step)
                labels = {name: target[:, part] for name, target in targets.items()}
                self.replica_step(cut(inputs, part), labels, active, table[len(actives)])
                actives.append(active)
                self.step += 1
        self.epoch += 1
        return table.cpu(), actives

    def _drop_diverged(self, table: Tensor, actives: list[Active]) -> None:
        """A replica whose losses are not finite is out; its numbers are computed on, and ignored."""
        finite = table.isfinite().all(2).all(0)
        for index in sorted(self.live):
            if not finite[index]:
                record = EpochRecord(table[:, index], actives, self.layout)
                with self._of(index):
                    check_finite(record, self.tasks, self.epoch, self.step - len(table) + 1)

    def _fail(self, index: int, error: Exception) -> None:
        """Out, with the rows and the best model that it had so far; its last checkpoint stays."""
        with contextlib.suppress(OSError):  # the disk may be full, and that be the error
            self.trainers[index].write_metrics_and_best()
        self.failed[index] = error
        self.live.discard(index)

    # What is written down

    def _record(self, table: Tensor, actives: list[Active], seconds: float) -> None:
        """An evaluated epoch of every replica that still runs."""
        evaluations = self._evaluate()
        means = self._means(table, actives)
        for index in sorted(self.live):
            trainer = self.trainers[index]
            trainer.epoch, trainer.step, trainer.seconds = self.epoch, self.step, seconds
            with self._of(index):
                trainer.check("val", evaluations[index])
                trainer.record(means[index], evaluations[index], save=False)
                if trainer.out_of_patience():
                    self._end(index)

    @contextlib.contextmanager
    def _of(self, index: int) -> Iterator[None]:
        """Whatever goes wrong here, a diverged loss or a disk that is full, is this replica's alone."""
        if self.on_replica is not None:
            self.on_replica(index)
        try:
            yield
        except Exception as error:
            self._fail(index, error)

    def _means(self, table: Tensor, actives: list[Active]) -> list[EpochMeans]:
        """Of every replica."""
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
            for k in range(len(self.trainers))
        ]

    def save(self) -> None:
        """Write the files of all that still run; a kill in between leaves every run a checkpoint of an epoch that all have."""
        self.replica_step.sync_replicas(self.step)
        for index in sorted(self.live):
            with self._of(index):
                self.trainers[index].save(keep_previous=len(self.live) > 1)
        for index in sorted(self.live):
            checkpoint.forget_previous(self.trainers[index].directory)

    def _end(self, index: int) -> None:
        """A replica that stopped early keeps everything as it is now."""
        self.replica_step.sync_replicas(self.step, index)
        self.trainers[index].save()
        self.live.discard(index)
        self.replica_step.release(index)

    @torch.no_grad()
    def _evaluate(self) -> list[Evaluation]:
        """The validation split by every replica's model."""
        if not self.together:
            return [trainer.measure("val") for trainer in self.trainers]
        learner = self.first.learner
        outputs_of, measured = (
            pure(learner.forward_pass, "outputs"),
            pure(learner.likelihood, self._measured),
        )

        def measure(parameters: Any, constants: Any, inputs: Any, targets: Any) -> Any:
            model, likelihood = (
                {**parameters[part], **constants[part]} for part in ("model", "likelihood")
            )
            outputs = outputs_of(
                {f"model.{name}": tensor for name, tensor in model.items()}, inputs
            )
            return measured(likelihood, outputs, targets)

        data = None if self.val_split.shared else 0
        learner.model.eval()
        together = max(1, EVALUATED // max(1, self.val_split.rows))
        with stacking():
            found = vmap(measure, in_dims=(0, 0, data, data), chunk_size=together)(
                self.replica_step.parameters,
                self.replica_step.constants,
                self.val_split.inputs,
                self.val_split.targets,
            )
        learner.model.train()
        rows = found.tolist() if isinstance(found, Tensor) else self._numbers_of_each(*found)
        trivial = [trainer.experiment.trivial_losses("val") for trainer in self.trainers]
        return [
            as_evaluation(self._keys, row, baseline)
            for row, baseline in zip(rows, trivial, strict=True)
        ]

    def _measured(self, likelihood: Likelihood, outputs: Any, targets: Any) -> Any:
        """The numbers of a replica; its sums, rows and terms where the numbers want more than pure tensor code."""
        evaluator = Evaluator(self.tasks, likelihood)
        sums, rows = evaluator.of_batch(outputs, targets)
        terms = evaluator.of_terms(outputs, targets)
        return (sums, rows | terms) if rows else self._as_row(evaluator.numbers(sums, terms))

    def _as_row(self, found: Measured) -> Tensor:
        self._keys = list(found)
        return torch.stack([value.double() for value in found.values()])

    def _numbers_of_each(self, sums: Measured, whole: Measured) -> list[list[float]]:
        def part(measured: Measured, k: int) -> Measured:
            return {key: value[k] for key, value in measured.items()}

        replicas = range(len(self.trainers))
        rows = [
            self._as_row(self.evaluator.numbers(part(sums, k), part(whole, k))) for k in replicas
        ]
        return torch.stack(rows).tolist()
