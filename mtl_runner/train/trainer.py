"""The loop: epochs, evaluation, early stopping, record and checkpoint at the end of evaluated epochs."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mtl_runner.config.settings import Settings
from mtl_runner.data.inputs import InputTensors
from mtl_runner.errors import ConfigError, DivergedError
from mtl_runner.experiment import seeding
from mtl_runner.experiment.build import Experiment
from mtl_runner.tasks.protocols import EstimatesNoise, HasSigmas
from mtl_runner.train import checkpoint
from mtl_runner.train.advice import lessons_of_losses
from mtl_runner.train.batches import Batches
from mtl_runner.train.best import Best
from mtl_runner.train.evaluation import (
    NOISE,
    QUANTILES,
    Evaluation,
    Monitor,
    evaluate,
    sigma_statistics,
)
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.metrics_file import (
    BASE_COLUMNS,
    MetricsFile,
    Row,
    cells_of_step,
    cells_of_task,
    further_columns,
)
from mtl_runner.train.totals import EpochMeans, EpochRecord, EpochTotals
from mtl_runner.weighting.protocols import KeepsLosses

log = logging.getLogger("mtl_runner")

SIGMA_ROWS = 16384  # a predicted sigma is averaged over at most so many rows of the training split
EVALUATION_ROWS = 1024  # so many rows per forward pass of an evaluation, but fewer
EVALUATION_NUMBERS = 2**21  # if a row is an image: so many numbers of the inputs


class Trainer:
    """One run: trains an experiment in a directory, from the start or from its checkpoint.

    Args:
        experiment: what to train. directory: of the run; ``metrics.csv``, ``checkpoint.pt`` and ``best.pt`` go there.
        on_epoch: called at the end of every epoch with (epoch, objective).
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
        self.settings: Settings = experiment.settings
        self.tasks = experiment.data.tasks
        self.learner = experiment.learner
        self.monitor = Monitor.parse(self.settings.trainer.monitor, self.tasks)
        train = experiment.data.splits["train"]
        self.batches = Batches(
            train, self.tasks, experiment.schedule, self.settings.batch_size, self.settings.seed
        )
        self.best = Best(self.learner.model, self.monitor, self.learner.likelihood)
        self.epoch = self.step = self.last_evaluated_epoch = 0
        self.seconds = 0.0
        self.means: EpochMeans | None = None
        self.warned: set[str] = set()
        self.compiled = False  # whether the steps are compiled (:mod:`mtl_runner.train.stack`)
        self.best_is_unsaved = False  # whether the best model has changed since it was saved
        self.stop = False  # set by a signal handler; honoured at the next evaluated epoch
        seeding.seed_everything(self.settings.seed)
        saved = directory / "checkpoint.pt"
        self.resumed = saved.exists()
        if self.resumed:
            self._restore(checkpoint.load(saved, experiment.device))
        else:
            self.metrics = self._open_metrics()

    def run(self) -> None:
        """Train to the end. Raises ``DivergedError``, or ``Interrupted`` after a request to stop."""
        totals = EpochTotals(
            self.tasks, self.batches.count, self.experiment.device, self.learner.layout
        )
        started = time.perf_counter() - self.seconds
        self.learner.model.train()
        while self.epoch < self.settings.trainer.epochs and not self.out_of_patience():
            record = self.train_epoch(totals)
            if self.on_epoch is not None:
                self.on_epoch(self.epoch, record.objective)
            evaluation = (
                self.evaluate("val") if self.settings.trainer.evaluates(self.epoch) else None
            )
            self._step_schedulers(evaluation)
            if evaluation is not None:
                self.seconds = time.perf_counter() - started
                self.means = record.means()
                self.record(self.means, evaluation)
                if self.stop and self.epoch < self.settings.trainer.epochs:
                    raise Interrupted

    def evaluate(self, split: str) -> Evaluation:
        """Evaluate a split. Raises ``DivergedError`` if a loss is not finite."""
        evaluation = self.measure(split)
        self.check(split, evaluation)
        return evaluation

    def evaluation_rows(self, split: str) -> int:
        """How many rows of a split go through the model at once."""
        numbers = max(1, InputTensors(self.experiment.data.splits[split].inputs).row_numbers)
        return max(self.settings.batch_size, min(EVALUATION_ROWS, EVALUATION_NUMBERS // numbers))

    def measure(self, split: str) -> Evaluation:
        """Evaluate a split, whatever comes out."""
        rows = self.evaluation_rows(split)
        data, trivial = self.experiment.data.splits[split], self.experiment.trivial_losses(split)
        return evaluate(self.learner.forward_pass, self.tasks, data, trivial, rows)

    def check(self, split: str, evaluation: Evaluation) -> None:
        """Raise ``DivergedError`` if a loss is not finite."""
        for name, row in evaluation.values.items():
            if not math.isfinite(row["loss"]):
                raise DivergedError(
                    f"The {split} loss of task {name!r} became {row['loss']} after epoch {self.epoch}, step {self.step}; lower optimizer.lr or set trainer.clip."
                )

    def finish(self) -> tuple[dict[str, Evaluation], dict[str, Evaluation]]:
        """Evaluate the final and the best model on validation and, this once, on test; adds the test rows to metrics.csv."""
        final = {split: self.evaluate(split) for split in ("val", "test")}
        with self.best.model():
            best = {split: self.evaluate(split) for split in ("val", "test")}
        self.metrics.append(self._evaluation_rows("test", final["test"]))
        return final, best

    def train_epoch(self, totals: EpochTotals) -> EpochRecord:
        """One epoch of steps; everything about it is recorded in `totals`, and nothing waits for the device before its end."""
        first = self.step
        self.learner.own_optimizers.begin_epoch(self.epoch / self.settings.trainer.epochs)
        if isinstance(self.learner.weighting, KeepsLosses):
            self.learner.weighting.begin_epoch()
        for batch, active in self.batches.epoch(first):
            self.step += 1
            if active.tasks:
                totals.add(self.learner.step(batch, active), active)
            else:  # a batch without any label changes nothing, but it is a step
                self.learner.update.skip()
                totals.add(totals.nothing, active)
        self.epoch += 1
        return totals.take(self.epoch, first + 1)

    def _warn(self, means: EpochMeans) -> None:
        """What the losses of an epoch teach, each lesson once."""
        for key, lesson in lessons_of_losses(self.learner, means).items():
            if key not in self.warned:
                self.warned.add(key)
                log.warning("%s", lesson)

    def _observe(self, evaluation: Evaluation) -> None:
        """The schedule may start a task where another one has stopped getting better."""
        losses = {name: row["loss"] for name, row in evaluation.values.items()}
        self.experiment.schedule.observe(self.epoch, losses)

    def _step_schedulers(self, evaluation: Evaluation | None) -> None:
        for scheduler in self.experiment.lr_schedulers:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                if evaluation is not None:
                    scheduler.step(self.monitor.value(evaluation))
                continue
            with warnings.catch_warnings():
                # The optimizer of a task that has not started yet has not stepped, and that is as it should be.
                warnings.filterwarnings(
                    "ignore", message=r"Detected call of `lr_scheduler.step\(\)` before"
                )
                scheduler.step()

    def out_of_patience(self) -> bool:
        patience = self.settings.trainer.patience
        # Not before every stage has begun: a task that has not started yet cannot have got better.
        since = max(self.best.latest_epoch, self.experiment.schedule.last_start())
        return patience is not None and self.last_evaluated_epoch - since >= patience

    def record(self, means: EpochMeans, evaluation: Evaluation, save: bool = True) -> None:
        """Take note of an evaluated epoch; unless it is to be saved later, also on disk."""
        self.means = means
        self._warn(means)
        self._observe(evaluation)
        self.last_evaluated_epoch = self.epoch
        rows: list[Row] = [
            {**self._key("train", name), **values}
            for name, values in self._train_values(means).items()
        ]
        rows.append(
            {**self._key("train", "total"), "loss": means.objective, **cells_of_step(means.further)}
        )
        rows += self._evaluation_rows("val", evaluation)
        self.metrics.append(rows, flush=False)
        self.best_is_unsaved |= self.best.update(self.epoch, evaluation)
        if save:
            self.save()

    def save(self, keep_previous: bool = False) -> None:
        """Rows, then best.pt, then the checkpoint that knows of both: a kill in between is undone on resume.

        Args:
            keep_previous: whether the old files are kept beside the new ones until :func:`mtl_runner.train.checkpoint.forget_previous`.
        """
        if keep_previous:
            checkpoint.keep_previous(self.directory)
        self.write_metrics_and_best()
        checkpoint.save(self.directory / "checkpoint.pt", self._state())

    def write_metrics_and_best(self) -> None:
        """Write the rows and the best model."""
        self.metrics.flush()
        if self.best_is_unsaved:
            checkpoint.save(self.directory / "best.pt", self.best.state())
            self.best_is_unsaved = False

    def sigmas(self) -> list[float | None]:
        """The learned noise scales: the likelihood's where it has one, else the weighting's."""
        owner = (
            self.learner.likelihood if self.learner.likelihood.has_noise else self.learner.weighting
        )
        return owner.sigmas() if isinstance(owner, HasSigmas) else [None] * len(self.tasks)

    def sigma_estimates_noise(self) -> list[bool]:
        """Whether each task's sigma estimates the true noise scale, so that the two may be drawn together."""
        if self.learner.likelihood.has_noise:
            return [task.has_noise_scale for task in self.tasks]
        weighting = self.learner.weighting
        return (
            weighting.sigma_estimates_noise()
            if isinstance(weighting, EstimatesNoise)
            else [False] * len(self.tasks)
        )

    def _train_values(self, means: EpochMeans) -> dict[str, dict[str, float | None]]:
        """The cells of each task's row of the training split, beside the key."""
        sigmas = self.sigmas()
        values: dict[str, dict[str, float | None]] = {}
        for i, task in enumerate(self.tasks):
            values[task.name] = {
                "loss": means.loss[i],
                "weight": means.weight[i],
                "sigma": sigmas[i],
                "active": means.active[i],
                **cells_of_task(means.further, i, self.tasks),
            }
        if self.learner.likelihood.predicts_noise:
            split = self.experiment.data.splits["train"].rows(slice(0, SIGMA_ROWS))
            rows = self.evaluation_rows("train")
            for name, found in sigma_statistics(self.learner.forward_pass, split, rows).items():
                values[name].update(found)
        return values

    def _open_metrics(self, position: int = 0) -> MetricsFile:
        columns = further_columns(self.learner.layout.measured, self.tasks)
        columns += list(QUANTILES) if self.learner.likelihood.predicts_noise else []
        for task in self.tasks:
            for name in {*BASE_COLUMNS, *NOISE, *columns}.intersection(task.metric_names):
                raise ConfigError(
                    f"Task {task.name!r} has a metric called {name!r}, which is another column of metrics.csv; rename it."
                )
        return MetricsFile(self.directory / "metrics.csv", self.tasks, position, columns)

    def _evaluation_rows(self, split: str, evaluation: Evaluation) -> list[Row]:
        noise = evaluation.noise
        rows: list[Row] = [
            {**self._key(split, name), **values, **noise.get(name, {})}
            for name, values in evaluation.values.items()
        ]
        return [*rows, {**self._key(split, "total"), "relative_loss": evaluation.relative_loss}]

    def _key(self, split: str, task: str) -> dict[str, str | int]:
        return {"epoch": self.epoch, "step": self.step, "split": split, "task": task}

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "position": self.metrics.position,
            "model": self.learner.model.state_dict(),
            "likelihood": self.learner.likelihood.state_dict(),
            "weighting": self.learner.weighting.state_dict(),
            "update": self.learner.update.state_dict(),
            "own": self.learner.own_optimizers.state_dict(),
            "schedule": self.experiment.schedule.state_dict(),
            "warned": sorted(self.warned),
            "compiled": self.compiled,
            "lr_schedulers": [
                scheduler.state_dict() for scheduler in self.experiment.lr_schedulers
            ],
            "order": self.batches.generator.get_state(),
            "random": seeding.random_state(self.experiment.device),
            "best": self.best.progress(),
            "means": vars(self.means) if self.means else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.epoch = self.last_evaluated_epoch = state["epoch"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.learner.model.load_state_dict(state["model"])
        self.learner.likelihood.load_state_dict(state["likelihood"])
        self.learner.weighting.load_state_dict(state["weighting"])
        self.learner.update.load_state_dict(state["update"])
        self.learner.own_optimizers.load_state_dict(state["own"])
        self.experiment.schedule.load_state_dict(state["schedule"])
        self.warned = set(state["warned"])
        self.compiled = state["compiled"]
        for scheduler, saved in zip(
            self.experiment.lr_schedulers, state["lr_schedulers"], strict=True
        ):
            scheduler.load_state_dict(saved)
        self.batches.generator.set_state(state["order"].cpu())
        seeding.set_random_state(state["random"], self.experiment.device)
        self.best.restore(self.directory, state["best"])
        self.means = EpochMeans(**state["means"])
        self.metrics = self._open_metrics(state["position"])
