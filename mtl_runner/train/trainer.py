"""The training of one run: epochs, evaluation, early stopping, rows of metrics.csv, checkpoints."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mtl_runner.config.settings import Settings
from mtl_runner.config.times import RunLength
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.errors import ConfigError, DivergedError
from mtl_runner.experiment import seeding
from mtl_runner.experiment.build import Experiment
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.gradients.shards import cut_like_module
from mtl_runner.schedule import Schedule
from mtl_runner.tasks.protocols import EstimatesNoise, HasSigmas
from mtl_runner.train import checkpoint, sharded_state
from mtl_runner.train.advice import advice_on_losses
from mtl_runner.train.batch_groups import make_batches
from mtl_runner.train.best_model import BestModel
from mtl_runner.train.checkpoint_interval import CheckpointInterval
from mtl_runner.train.epoch_record import (
    EpochBuffer,
    EpochMeans,
    EpochRecord,
    UnfinishedEpoch,
    give_losses,
)
from mtl_runner.train.evaluation import (
    NOISE_COLUMNS,
    QUANTILES,
    Evaluation,
    evaluate,
    open_for_evaluation,
    sigma_statistics,
)
from mtl_runner.train.evaluation_interval import EvaluationInterval
from mtl_runner.train.interruption import Interrupted, stops_here
from mtl_runner.train.metrics_file import (
    BASE_COLUMNS,
    MetricsFile,
    Row,
    UnwrittenMetrics,
    measured_columns,
    task_cells,
    total_cells,
)
from mtl_runner.train.monitor import Monitor
from mtl_runner.train.moving_average import MovingAverage
from mtl_runner.train.position import Position
from mtl_runner.train.warm_up import WarmUp
from mtl_runner.weighting.protocols import KeepsLosses

log = logging.getLogger("mtl_runner")

SIGMA_ROWS = 16384  # rows of the training split over which a predicted sigma is averaged
EVALUATION_ROWS = 1024  # rows per forward pass of an evaluation ...
EVALUATION_NUMBERS = 2**21  # ... or fewer, so that their inputs have no more numbers than this
EPOCH_DIGITS = 6  # of a fraction of an epoch: they tell apart the steps of an epoch of 500 000


class Trainer:
    """Trains an experiment in a directory, from the start or from its checkpoint.

    Args:
        experiment: The experiment to train.
        directory: Directory of the run, for ``metrics.csv``, ``checkpoint.pt`` and ``best.pt``.
        on_epoch: Function called at the end of every epoch, once it is evaluated if it is to be,
            with its number and its mean objective.

    Attributes:
        on_save: Function called when the rows of ``metrics.csv`` and a checkpoint that knows of
            them are on the disk; None: nobody wants to know.
        epoch: Number of epochs that are trained.
        step: Number of steps that are trained.
        unfinished: The steps of the epoch in which the training stopped; None at the end of one.
        seconds: Wall time of the training so far, all resumed parts together.
        resumed: Whether the training goes on from a checkpoint.
        average: The moving average of the weights (``trainer.ema``); None: none.
        monitored: ``trainer.monitor`` at the last evaluation, less is better; None before it.
        means: Means over the steps of the last evaluated epoch; None before the first one.
        best: The best model so far.
        compiled: Whether the steps are compiled (:mod:`mtl_runner.train.stack`).
        config: The recorded config that the checkpoint was trained with; None if it is not known.
        stop: Set to True to stop at the next evaluated epoch.
        stop_now: Set to True, too, to stop after the current step.
        stop_signal: The signal that asks to stop.
        ranks: The processes that train this run together; None: this one alone. Only the first
            writes files.

    Example:
        >>> import tempfile
        >>> from hydra import compose, initialize_config_dir
        >>> from mtl_runner.config.conf_directory import conf_directory
        >>> from mtl_runner.experiment.build import build
        >>> with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        ...     config = compose("config", ["trainer.epochs=2", "name=example"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trainer = Trainer(build(config), Path(folder))
        ...     trainer.run()
        ...     final, best = trainer.finish()
        >>> trainer.epoch, sorted(final)
        (2, ['test', 'val'])
    """

    def __init__(
        self,
        experiment: Experiment,
        directory: Path,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.experiment = experiment
        self.directory = directory
        self.on_epoch = on_epoch
        self.on_save: Callable[[], None] | None = None
        self.settings: Settings = experiment.settings
        self.tasks = experiment.data.tasks
        self.learner = experiment.learner
        self.ranks = experiment.ranks
        self.monitor = Monitor.parse(self.settings.trainer.monitor, self.tasks)
        self.batches = make_batches(experiment)
        ema, model = self.settings.trainer.ema, self.learner.model
        self.average = MovingAverage(model, ema, experiment.averaged) if ema else None
        length = RunLength(self.settings.trainer.epochs, self.batches.count)
        self.checkpoints = CheckpointInterval.parse(self.settings.trainer.checkpoint_every, length)
        self.evaluations = EvaluationInterval.parse(self.settings.trainer.evaluate_every, length)
        self._check_who_needs_evaluations()
        self.started = 0.0
        self.warm_up = WarmUp(
            [*self.learner.update.optimizers, *self.learner.own_optimizers.optimizers],
            experiment.warmup_steps,
        )
        self.best = BestModel(
            self.average.model if self.average else model,
            self.monitor,
            self.learner.likelihood,
            trained=model,
        )
        self.epoch = self.step = 0
        self.last_evaluated_epoch: float = 0
        self.seconds = 0.0
        self.unfinished: UnfinishedEpoch | None = None
        self.monitored: float | None = None
        self.means: EpochMeans | None = None
        self.advice_given: set[str] = set()
        self.compiled = False
        self.best_is_unsaved = False
        # The folder with the sharded tensors of the last save.
        self._shards_before: list[str] = []
        self.stop = self.stop_now = False
        self.stop_signal = signal.SIGINT
        seeding.seed_everything(seeding.seed_of_rank(self.settings.seed, self.ranks))
        self.config: dict[str, Any] | None = None
        if self.writes:
            checkpoint.go_back_if_damaged(directory)
        saved = directory / "checkpoint.pt"
        if self.ranks is not None:
            self.ranks.wait_for_all()
        self.resumed = saved.exists()
        if self.resumed:
            state: dict[str, Any] = checkpoint.load(saved, experiment.device)
            shards, device = experiment.parameters.shards, experiment.device
            state = sharded_state.put_back(state, directory, shards, device)
            with checkpoint.must_fit(saved):
                self._restore(state)
        else:
            self.best.run = uuid.uuid4().hex
            self.metrics = self._open_metrics()

    @property
    def writes(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.ranks is None or self.ranks.writes

    @cached_property
    def forward_pass(self) -> ForwardPass:
        """The forward pass that is evaluated: with the averaged weights where there are such."""
        if self.average is None:
            return self.learner.forward_pass
        return ForwardPass(self.average.model, self.learner.likelihood, self.learner.precision)

    def run(self) -> None:
        """Train to the end.

        Raises:
            DivergedError: If a loss, a weight or the objective is not finite.
            Interrupted: After a request to stop, when everything is saved.
        """
        buffer = EpochBuffer(
            self.tasks,
            self.batches.count,
            self.experiment.device,
            self.learner.layout,
            dtype=torch.promote_types(
                self.experiment.parameters.tensors[0].dtype, torch.get_default_dtype()
            ),
        )
        started = self.started = time.perf_counter() - self.seconds
        self.learner.model.train()
        # Workers are copies of this process as it is.
        val, rows = self.experiment.data.splits["val"], self.evaluation_rows("val")
        open_for_evaluation(val, self.tasks, rows, self.ranks)
        while self.epoch < self.settings.trainer.epochs and not self.ends_early():
            try:
                record = self.train_epoch(buffer)
            except Interrupted:
                self.seconds = time.perf_counter() - started
                self.save()
                raise
            evaluation = self.evaluate("val") if self.evaluations.is_due(self.step) else None
            if self.settings.trainer.lr_scheduler_per == "epoch":
                self._step_schedulers(evaluation)
            if evaluation is not None:
                self.seconds = time.perf_counter() - started
                self._tell_schedule(evaluation)
                self.record(record.means(), evaluation)
            if self.on_epoch is not None:
                self.on_epoch(self.epoch, record.objective)
            stop, stop_now, _ = self._agree()
            if stops_here(self, evaluation is not None, (stop, stop_now)):
                if evaluation is None:
                    self.seconds = time.perf_counter() - started
                    self.save()
                raise Interrupted(self.stop_signal)

    def train_epoch(self, buffer: EpochBuffer) -> EpochRecord:
        """Train one epoch of steps, or the rest of it; nothing waits for the device before its end.

        Args:
            buffer: Collects the records of the steps.

        Raises:
            DivergedError: If a loss, a weight or the objective is not finite.
            Interrupted: If :attr:`stop_now` is set, with :attr:`unfinished` to be saved.
        """
        done = self._begin_epoch(buffer)
        first_step = self.step - done
        per_step = self.settings.trainer.lr_scheduler_per == "step"
        for batch, active in self.batches.epoch(first_step, done):
            for parts in self.experiment.frozen:
                parts.at_step(self.step)
            self.step += 1
            if active.tasks:
                with self.warm_up.during(self.step):
                    buffer.add(self.learner.step(batch, active), active)
                if self.average is not None:
                    self.average.update()
            else:
                # A batch without any label changes nothing, but it is a step.
                self.learner.update.skip()
                buffer.add(buffer.empty_record, active)
            if per_step:
                self._step_schedulers(None)
            ends = self.step == first_step + self.batches.count
            evaluated = not ends and self.evaluations.is_due(self.step)
            stop, stop_now, save_now = self._agree(self.checkpoints.is_due(self.step))
            if evaluated:
                self._evaluate_inside_epoch(buffer, first_step)
                stop, stop_now, _ = self._agree()
            elif save_now and not stop_now:
                self._save_inside_epoch(buffer)
            if stop_now or (stop and evaluated):
                self.unfinished = buffer.unfinished()
                raise Interrupted(self.stop_signal)
        since = self._steps_evaluated(first_step)
        self.epoch += 1
        return buffer.take(self.epoch, first_step + 1).without_first(since)

    def _evaluate_inside_epoch(self, buffer: EpochBuffer, first_step: int) -> None:
        """Evaluate and record between two steps of an epoch.

        Args:
            buffer: The records of the epoch's steps so far.
            first_step: Number of the epoch's first step in the run, counted from 0.
        """
        record = buffer.so_far(self.epoch + 1, first_step + 1)
        record = record.without_first(self._steps_evaluated(first_step))
        self.unfinished = buffer.unfinished()
        evaluation = self.evaluate("val")
        self.seconds = time.perf_counter() - self.started
        self.record(record.means(), evaluation)
        self.unfinished = None

    def _save_inside_epoch(self, buffer: EpochBuffer) -> None:
        """Write a checkpoint between two steps of an epoch."""
        self.seconds = time.perf_counter() - self.started
        self.unfinished = buffer.unfinished()
        self.save()
        self.unfinished = None

    def _steps_evaluated(self, first_step: int) -> int:
        """Return how many of an epoch's first steps the last recorded means are about."""
        return max(0, round(self.last_evaluated_epoch * self.batches.count) - first_step)

    def _agree(self, save_now: bool = False) -> tuple[bool, bool, bool]:
        """Let all processes know if one was asked to stop.

        A signal reaches each process at another moment, and some none.

        Args:
            save_now: Whether this process finds that a checkpoint is due.

        Returns:
            Whether all are to stop at the next evaluation, to stop now, and to save now.
        """
        if self.ranks is None:
            return self.stop, self.stop_now, save_now
        number = int(self.stop_signal) if self.stop else 0
        stop, stop_now, number, due = self.ranks.largest(
            [self.stop, self.stop_now, number, save_now and self.writes]
        )
        if stop:
            self.stop, self.stop_now = True, bool(stop_now)
            self.stop_signal = signal.Signals(number)
        return bool(stop), bool(stop_now), bool(due)

    def _begin_epoch(self, buffer: EpochBuffer) -> int:
        """Begin an epoch, or go on with an unfinished one; return how many steps of it are done."""
        weighting, unfinished = self.learner.weighting, self.unfinished
        self.learner.own_optimizers.begin_epoch(self.epoch / self.settings.trainer.epochs)
        self.unfinished = None
        if unfinished is None:
            if isinstance(weighting, KeepsLosses):
                weighting.begin_epoch()
            return 0
        buffer.go_on(unfinished)
        if isinstance(weighting, KeepsLosses):
            give_losses(weighting, unfinished.with_actives())
        return unfinished.steps

    @property
    def progress(self) -> str:
        """The monitor on validation, at the last evaluation and at the best one; empty before."""
        if self.monitored is None:
            return ""
        best = self.monitor.as_recorded(self.best.value)
        return f"val {self.monitor.text(self.monitored)}, best {best:.4g}"

    @property
    def position(self) -> Position:
        """How far the training is."""
        return Position(self.epoch, self.unfinished.steps if self.unfinished else 0)

    @property
    def epochs_trained(self) -> float:
        """How many epochs are trained, as the records count them; between two of them a fraction.

        Whole numbers are integers.
        """
        if self.unfinished is None:
            return self.epoch
        return round(self.epoch + self.unfinished.steps / self.batches.count, EPOCH_DIGITS)

    def evaluate(self, split: str) -> Evaluation:
        """Evaluate the model on a split.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            DivergedError: If a loss is not finite.
        """
        evaluation = self.measure(split)
        self.check_losses(split, evaluation)
        return evaluation

    def measure(self, split: str) -> Evaluation:
        """Evaluate the model on a split, without a check of the losses.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
        """
        rows = self.evaluation_rows(split)
        data, trivial = self.experiment.data.splits[split], self.experiment.trivial_losses(split)
        return evaluate(self.forward_pass, self.tasks, data, trivial, rows, self.ranks)

    def check_losses(self, split: str, evaluation: Evaluation) -> None:
        """Check that the losses of an evaluation are finite.

        Args:
            split: Name of the split, for the error.
            evaluation: The evaluation.

        Raises:
            DivergedError: Naming the first task whose loss is not finite.
        """
        for name, row in evaluation.values.items():
            if not math.isfinite(row["loss"]):
                raise DivergedError(
                    f"The {split} loss of task {name!r} became {row['loss']} after epoch {self.epoch}, step {self.step}; lower optimizer.lr or set trainer.clip."
                )

    def evaluation_rows(self, split: str) -> int:
        """Return how many rows of a split go through the model at once in an evaluation."""
        numbers = max(1, self.experiment.data.splits[split].numbers_per_row)
        return max(self.settings.batch_size, min(EVALUATION_ROWS, EVALUATION_NUMBERS // numbers))

    def finish(self) -> tuple[dict[str, Evaluation], dict[str, Evaluation]]:
        """Evaluate the final and the best model, and write the test rows to ``metrics.csv``.

        The test split is looked at here, this once; its rows are those of the model that is judged.

        Returns:
            The evaluations on ``val`` and ``test``, of the final model and of the best one.

        Raises:
            DivergedError: If a loss is not finite.
        """
        self.batches.close()
        final = {split: self.evaluate(split) for split in ("val", "test")}
        with self.best.loaded():
            best = {split: self.evaluate(split) for split in ("val", "test")}
        judged = best if self.judges_best else final
        self.metrics.append(self._evaluation_rows("test", judged["test"]))
        if self.writes:
            checkpoint.delete_previous(self.directory)
            sharded_state.keep_folders(self.directory, set(self._shards_before))
        for data in self.experiment.data.splits.values():
            if isinstance(data, LoadedSplit):
                data.close()
        return final, best

    @property
    def judges_best(self) -> bool:
        """Whether the run is judged at its best evaluation, and not at its final one."""
        return self.settings.trainer.judge == "best"

    def judged(self) -> contextlib.AbstractContextManager[Any]:
        """Give model and likelihood, while the context lasts, the parameters that are judged."""
        return self.best.loaded() if self.judges_best else contextlib.nullcontext()

    def out_of_patience(self) -> bool:
        """Return whether ``trainer.patience`` epochs have brought no better model.

        Epochs before the last start of a task, or of a part of the model, do not count: they could
        not get better yet.
        """
        patience, experiment = self.settings.trainer.patience, self.experiment
        started = max(experiment.schedule.last_start(), experiment.last_release())
        since = max(self.best.latest_epoch, started)
        return patience is not None and self.last_evaluated_epoch - since >= patience

    def gives_up(self) -> bool:
        """Return whether the best model is worse than ``trainer.give_up`` wants by now.

        The best value only gets better, so that an epoch at which it was good enough stays one.
        """
        limits = self.settings.trainer.give_up or {}
        return any(
            epoch <= self.last_evaluated_epoch
            and self.best.value > self.monitor.as_recorded(float(limit))
            for epoch, limit in limits.items()
        )

    def ends_early(self) -> bool:
        """Return whether the run is not trained on, though it has epochs left."""
        return self.out_of_patience() or self.gives_up()

    def record(self, means: EpochMeans, evaluation: Evaluation, save: bool = True) -> None:
        """Record an evaluation: its rows, and the best model.

        Args:
            means: Means over the steps of the epoch, since its last evaluation if there was one.
            evaluation: The evaluation of the validation split after them.
            save: Whether to write everything to the disk now, or at the next :meth:`save`.
        """
        self.means = means
        self._advise(means)
        self.last_evaluated_epoch = self.epochs_trained
        rows: list[Row] = [
            {**self._key("train", name), **cells}
            for name, cells in self._training_cells(means).items()
        ]
        total = {"loss": means.objective, **total_cells(means.measured)}
        rows.append({**self._key("train", "total"), **total})
        rows += self._evaluation_rows("val", evaluation)
        self.metrics.append(rows, flush=False)
        self.best_is_unsaved |= self.best.update(self.epochs_trained, evaluation, self.noise_scales)
        self.monitored = self.monitor.value(evaluation)
        if save:
            self.save()

    def save(self, in_stack: bool = False) -> None:
        """Write the rows, then ``best.pt``, then the checkpoint that knows of both.

        In this order a resumed run can undo a kill at any instant.

        Args:
            in_stack: Whether other runs save at the same time: until
                :func:`mtl_runner.train.checkpoint.all_have_saved` this one can go back.
        """
        states, shards = self._random_states(), self.experiment.parameters.shards
        if self.writes:
            checkpoint.keep_previous(self.directory, self.best_is_unsaved, in_stack)
        self.write_metrics_and_best()
        state = {**self._state(), **states} if self.writes or shards is not None else {}
        if shards is not None:
            state = sharded_state.save(state, self.directory, shards.ranks)
        if self.writes:
            checkpoint.save(self.directory / "checkpoint.pt", state)
        if shards is not None:
            self._keep_shards_of(state)
        if self.writes and self.on_save is not None:
            self.on_save()

    def write_metrics_and_best(self) -> None:
        """Write the pending rows of ``metrics.csv``, and the best model if it has changed."""
        self.metrics.flush()
        if self.best_is_unsaved:
            # Of a sharded model every process has a part.
            best = sharded_state.gathered(self.best.state(), keep=self.writes)
            if self.writes:
                checkpoint.save(self.directory / "best.pt", best)
            self.best_is_unsaved = False

    def _keep_shards_of(self, state: Mapping[str, Any]) -> None:
        """Delete the sharded tensors of all saves but the last two, which can be gone back to."""
        name = state[sharded_state.FILES]["folder"]
        if self.writes:
            sharded_state.keep_folders(self.directory, {name, *self._shards_before})
        self._shards_before = [name]

    def sigmas(self) -> list[float | None]:
        """Return the learned noise scale of each task, None where there is none.

        It is the likelihood's where the likelihood has a noise scale, else the weighting's.
        """
        owner = self._sigma_owner
        return [None] * len(self.tasks) if owner is None else owner.sigmas()

    @cached_property
    def _sigma_owner(self) -> HasSigmas | None:
        """Who learns the noise scales; a check of a protocol would be slow at every record."""
        learner = self.learner
        owner = learner.likelihood if learner.likelihood.has_noise else learner.weighting
        return owner if isinstance(owner, HasSigmas) else None

    def sigma_estimates_noise(self) -> list[bool]:
        """Return for each task whether its sigma estimates the true noise scale."""
        if self.learner.likelihood.has_noise:
            return [task.has_noise_scale for task in self.tasks]
        weighting = self.learner.weighting
        return (
            weighting.sigma_estimates_noise()
            if isinstance(weighting, EstimatesNoise)
            else [False] * len(self.tasks)
        )

    def noise_scales(self) -> dict[str, float]:
        """Return the learned noise scales that estimate noise, by task, in the target's units."""
        return {
            task.name: sigma
            for task, sigma, is_noise in zip(
                self.tasks, self.sigmas(), self.sigma_estimates_noise(), strict=True
            )
            if is_noise and sigma is not None
        }

    def _advise(self, means: EpochMeans) -> None:
        """Log advice on the losses of an epoch, each advice once per run."""
        for key, advice in advice_on_losses(self.learner, means).items():
            if key not in self.advice_given:
                self.advice_given.add(key)
                log.warning("%s", advice)

    def _check_who_needs_evaluations(self) -> None:
        """Raise an error if somebody waits for evaluations at the ends of epochs in vain.

        Raises:
            ConfigError: Naming who does.
        """
        if self.evaluations.is_in_epochs:
            return
        for part in (self.experiment.schedule, *self.experiment.lr_schedulers):
            if isinstance(part, torch.optim.lr_scheduler.ReduceLROnPlateau) or (
                isinstance(part, Schedule) and part.observes
            ):
                raise ConfigError(
                    f"{type(part).__name__} looks at evaluations at the ends of epochs; give trainer.evaluate_every in epochs instead of {self.settings.trainer.evaluate_every!r}, or set data.steps_per_epoch, the length of an epoch."
                )

    def _tell_schedule(self, evaluation: Evaluation) -> None:
        """Tell the schedule the validation losses: it may start a task when another stalls."""
        losses = {name: row["loss"] for name, row in evaluation.values.items()}
        self.experiment.schedule.observe(self.epoch, losses)

    def _step_schedulers(self, evaluation: Evaluation | None) -> None:
        """Step the learning-rate schedulers, at the end of an epoch or after a step.

        Args:
            evaluation: The evaluation after the epoch; None if there was none.
        """
        for scheduler in self.experiment.lr_schedulers:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                if evaluation is not None:
                    scheduler.step(self.monitor.value(evaluation))
                continue
            with warnings.catch_warnings():
                # The optimizer of a task that starts late has not stepped yet, which is no mistake.
                warnings.filterwarnings(
                    "ignore", message=r"Detected call of `lr_scheduler.step\(\)` before"
                )
                scheduler.step()

    def _open_metrics(self, saved: Mapping[str, Any] | None = None) -> MetricsFile:
        """Open ``metrics.csv``, cut back to what a checkpoint says; None starts a new file."""
        columns = measured_columns(self.learner.layout.measured, self.tasks)
        columns += list(QUANTILES) if self.learner.likelihood.predicts_noise else []
        for task in self.tasks:
            for name in {*BASE_COLUMNS, *NOISE_COLUMNS, *columns}.intersection(task.metric_names):
                raise ConfigError(
                    f"Task {task.name!r} has a metric called {name!r}, which is another column of metrics.csv; rename it."
                )
        if not self.writes:
            return UnwrittenMetrics()
        return MetricsFile(self.directory / "metrics.csv", self.tasks, saved, columns)

    def _key(self, split: str, task: str) -> dict[str, str | float]:
        """Return the cells that identify a row of ``metrics.csv``.

        Test is evaluated once, at the end; its rows name the epoch of the model that is judged.
        """
        epoch, step = self.epochs_trained, self.step
        if split == "test" and self.judges_best:
            epoch = self.best.epochs.get(task, self.best.latest_epoch)
            step = round(epoch * self.batches.count)
        return {"epoch": epoch, "step": step, "split": split, "task": task}

    def _training_cells(self, means: EpochMeans) -> dict[str, dict[str, float | None]]:
        """Return the cells of each task's row of the training split, beside the key."""
        sigmas = self.sigmas()
        cells: dict[str, dict[str, float | None]] = {}
        for i, task in enumerate(self.tasks):
            cells[task.name] = {
                "loss": means.loss[i],
                "weight": means.weight[i],
                "sigma": sigmas[i],
                "active": means.active[i],
                **task_cells(means.measured, i, self.tasks),
            }
        if self.learner.likelihood.predicts_noise:
            split = self.experiment.data.splits["train"].rows(slice(0, SIGMA_ROWS))
            rows = self.evaluation_rows("train")
            statistics = sigma_statistics(self.forward_pass, split, rows)
            for name, sigma_cells in statistics.items():
                cells[name].update(sigma_cells)
        return cells

    def _evaluation_rows(self, split: str, evaluation: Evaluation) -> list[Row]:
        """Return the rows of an evaluation: one per task, and the total."""
        noise = evaluation.noise
        rows: list[Row] = [
            {**self._key(split, name), **values, **noise.get(name, {})}
            for name, values in evaluation.values.items()
        ]
        return [*rows, {**self._key(split, "total"), "relative_loss": evaluation.relative_loss}]

    def _random_states(self) -> dict[str, Any]:
        """Return the random states of this process, and of all if there are several."""
        state = seeding.random_state(self.experiment.device)
        if self.ranks is None:
            return {"random": state}
        states = self.ranks.objects(state)
        return {"random": states[0], "random_of_ranks": states}

    def _restore_random_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the random state of a checkpoint; of other processes than those, anew."""
        random = state["random"]
        if self.ranks is not None and not self.ranks.writes:
            states = state.get("random_of_ranks", ())
            if len(states) != self.ranks.size:
                return
            random = states[self.ranks.rank]
        seeding.set_random_state(random, self.experiment.device)

    def _state(self) -> dict[str, Any]:
        """Return the content of the checkpoint, without the random states."""
        return {
            "epoch": self.epoch,
            "steps_in_epoch": self.position.steps,
            "unfinished": self.unfinished.state_dict() if self.unfinished else None,
            "evaluated": self.last_evaluated_epoch,
            "step": self.step,
            "seconds": self.seconds,
            "run": self.best.run,
            "config": self.config,
            "metrics": self.metrics.state(),
            "model": self.learner.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scale": self.learner.scale.state_dict() if self.learner.scale else None,
            "likelihood": self.learner.likelihood.state_dict(),
            "weighting": self.learner.weighting.state_dict(),
            "update": self.learner.update.state_dict(),
            "own": self.learner.own_optimizers.state_dict(),
            "schedule": self.experiment.schedule.state_dict(),
            "warned": sorted(self.advice_given),
            "compiled": self.compiled,
            "lr_schedulers": [
                scheduler.state_dict() for scheduler in self.experiment.lr_schedulers
            ],
            "order": self.batches.state(self.step),
            "best": self.best.progress(),
            "means": self.means.state_dict() if self.means else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Take up the content of a checkpoint."""
        if sharded_state.FILES in state:
            self._shards_before = [state[sharded_state.FILES]["folder"]]
        self.epoch = state["epoch"]
        # Older checkpoints were written at the ends of epochs only, and then of evaluated ones.
        unfinished = state.get("unfinished")
        self.unfinished = (
            None if unfinished is None else UnfinishedEpoch.from_state_dict(unfinished)
        )
        self.last_evaluated_epoch = state.get("evaluated", self.epoch)
        self.step, self.seconds = state["step"], state["seconds"]
        model = self.learner.model
        model.load_state_dict(cut_like_module(state["model"], model))
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.learner.scale is not None:
            self.learner.scale.load_state_dict(state["scale"])
        self.learner.likelihood.load_state_dict(state["likelihood"])
        self.learner.weighting.load_state_dict(state["weighting"])
        self.learner.update.load_state_dict(state["update"])
        self.learner.own_optimizers.load_state_dict(state["own"])
        self.experiment.schedule.load_state_dict(state["schedule"])
        self.advice_given = set(state["warned"])
        self.compiled = state["compiled"]
        for scheduler, saved in zip(
            self.experiment.lr_schedulers, state["lr_schedulers"], strict=True
        ):
            scheduler.load_state_dict(saved)
        self.batches.restore(state["order"])
        self._restore_random_state(state)
        # Older checkpoints have no identity, no config, and of metrics.csv the length only.
        self.best.run, self.config = state.get("run"), state.get("config")
        self.best.restore(self.directory, state["best"])
        means = state["means"]
        self.means = None if means is None else EpochMeans.from_state_dict(means)
        self.metrics = self._open_metrics(state if "position" in state else state["metrics"])
