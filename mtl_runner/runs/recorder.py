"""The record of somebody's own loop, as a run directory that comparisons take as one of ours."""

from __future__ import annotations

import contextlib
import logging
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mtl_runner.errors import ConfigError, RunDirectoryError
from mtl_runner.errors.checks import choice, mapping
from mtl_runner.files import write_json
from mtl_runner.results.records.summary import FORMAT
from mtl_runner.runs.directory import claimed, plain_config
from mtl_runner.runs.lifecycle import draw_from_files
from mtl_runner.runs.recorded_evaluation import RecordedEvaluation
from mtl_runner.runs.recorded_steps import RecordedSteps, TaskNumbers
from mtl_runner.runs.records import flat, read_summary
from mtl_runner.runs.summary import task_results, versions
from mtl_runner.tasks.task import TOTAL, Task
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.metrics_file import MetricsFile, Row
from mtl_runner.train.monitor import Monitor

log = logging.getLogger("mtl_runner")

SPLITS = ("train", "val", "test")
# What judges a run whose tasks have no trivial predictor.
MEAN_LOSS = "mean_loss"


class Recorder:
    """Record a loop of your own in a run directory for ``mtl-compare``, the report and the verdict.

    Call :meth:`log` after every training step, for every batch of an evaluation on ``"val"`` or for
    its numbers, and once for ``"test"``; then :meth:`finish`. As a context manager it records a
    failure, too.

    A strategy of a comparison is what varies in ``config``; ``data``, ``weighting`` and ``seed``
    have the meaning that they have in ``mtl-run``. Keys that ``config`` does not name are taken to
    be like those of the other runs.

    Args:
        directory: The run directory; it may hold an unfinished run with the same config, which is
            begun anew.
        tasks: The tasks.
        config: What to tell this run from others by, e.g.
            ``{"data": "digits", "weighting": "dwa", "seed": 0, "optimizer": {"lr": 0.01}}``.
        targets: The training targets by task, in training units, from which the trivial predictor
            and so ``relative_loss`` is made; None: a task has the one in ``task.trivial``, or none.
        monitor: The number that judges the run, as ``trainer.monitor``; ``relative_loss`` of tasks
            that all have no trivial predictor is their mean loss, and is recorded as
            ``mean_loss``.
        judge: Which evaluation ``"test"`` is logged for: the ``"final"`` model, or the ``"best"``
            one by the monitor.
        plots: Whether pictures are drawn at the end.
        writes: False in a process that trains together with another one, which writes.

    Raises:
        RunDirectoryError: If the directory holds a finished run, or one with another config.
        ConfigError: If an option has a wrong value.

    Example:
        >>> import tempfile, torch
        >>> folder = tempfile.TemporaryDirectory()
        >>> tasks = [Task("depth", metrics=("mae",)), Task("angle", metrics=("mae",))]
        >>> config = {"data": "rooms", "weighting": "fixed"}
        >>> recorder = Recorder(folder.name, tasks, config=config, plots=False)
        >>> recorder.log(losses=[4.0, 2.0], weights=[1.0, 1.0])  # a training step
        >>> outputs = {"depth": torch.zeros(2, 1), "angle": torch.zeros(2, 1)}
        >>> targets = {"depth": torch.ones(2, 1), "angle": torch.ones(2, 1)}
        >>> recorder.log("val", outputs=outputs, targets=targets)
        >>> recorder.finish()
        >>> read_summary(Path(folder.name))["tasks"]["depth"]["final"]["val"]
        {'loss': 1.0, 'mae': 1.0}
        >>> folder.cleanup()
    """

    def __init__(
        self,
        directory: str | Path,
        tasks: Sequence[Task],
        config: Mapping[str, Any] | None = None,
        *,
        targets: Mapping[str, Tensor] | None = None,
        monitor: str = "relative_loss",
        judge: str = "final",
        plots: bool = True,
        writes: bool = True,
    ) -> None:
        self.tasks = [
            task if targets is None else RecordedEvaluation.with_trivial(task, targets)
            for task in tasks
        ]
        self.directory, self.plots, self.writes = Path(directory), plots, writes
        self.judge = choice(judge, "judge", ("final", "best"))
        self.monitor = Monitor.parse(monitor, self.tasks)
        self.config: DictConfig = OmegaConf.create(
            dict(mapping(config or {}, "config", "{key: value}"))
        )
        self.step, self.epoch = 0, 0.0
        self.steps = RecordedSteps(self.tasks)
        self.weights: list[float | None] = [None] * len(self.tasks)
        self.sigmas: list[float | None] = [None] * len(self.tasks)
        self.evaluating: dict[str, RecordedEvaluation] = {}
        self.final: dict[str, Evaluation] = {}
        self.best: dict[str, Evaluation] = {}
        self.best_epoch, self.best_step = 0.0, 0
        self.started = time.perf_counter()
        self._stack = contextlib.ExitStack()
        self.is_open = True
        if writes:
            self._claim()
            self.metrics = MetricsFile(self.directory / "metrics.csv", self.tasks)

    def _claim(self) -> None:
        """Take the directory for this run until it ends."""
        if read_summary(self.directory).get("status") == "finished":
            raise RunDirectoryError(
                f"{str(self.directory)!r} holds a finished run; choose another directory, or remove that one."
            )
        choices, overrides = _choices_and_overrides(self.config)
        self.choices, self.overrides = choices, overrides
        self._stack.enter_context(claimed(self.directory, self.config, overrides, choices, None))
        self._write_status("running")

    def log(
        self,
        split: str = "train",
        *,
        losses: TaskNumbers | None = None,
        objective: Tensor | float | None = None,
        weights: TaskNumbers | None = None,
        sigmas: TaskNumbers | None = None,
        outputs: Mapping[str, Tensor] | None = None,
        targets: Mapping[str, Tensor] | None = None,
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
        epoch: float | None = None,
        step: int | None = None,
    ) -> None:
        """Record a training step, or a part of an evaluation.

        Nothing waits for the device before the evaluation after it.

        Args:
            split: ``"train"`` for a step; ``"val"``, ``"test"`` for an evaluation, which the next
                step ends.
            losses: The losses in the order of the tasks, or by their names. Of an evaluation they
                are its numbers, as are ``metrics``.
            objective: What was minimised. If it depends on the tensor ``losses``, its derivatives
                are the weights; call this before ``backward`` then.
            weights: The weights, where they are known.
            sigmas: The learned noise scales, e.g. ``weighting.sigmas()``.
            outputs: The outputs of a batch of an evaluation by task, ``[N, size, ...]``: losses and
                metrics are measured from them and ``targets``.
            targets: The targets of this batch by task, in training units.
            metrics: The metrics of an evaluation, ``{task: {metric: value}}``.
            epoch: The epoch of an evaluation; by default evaluations are counted.
            step: The number of training steps so far; by default they are counted.

        Raises:
            ConfigError: If it is not clear what is logged, or the run has ended.
        """
        choice(split, "split", SPLITS)
        if not self.is_open:
            raise ConfigError("This run has ended: nothing can be logged after finish().")
        if split == "train":
            if losses is None:
                raise ConfigError(
                    "A training step needs losses=..., in the order of the tasks or by their names."
                )
            self._end_evaluation()
            self.step = self.step + 1 if step is None else int(step)
            self.steps.add(losses, objective, weights, sigmas)
            return
        self.step = self.step if step is None else int(step)
        if split not in self.evaluating:
            self.evaluating[split] = RecordedEvaluation(self.tasks)
            if split == "val":
                self.epoch = self.epoch + 1 if epoch is None else float(epoch)
        if sigmas is not None:
            self.steps.set_sigmas(sigmas)
        self.evaluating[split].add(losses, metrics, outputs, targets)

    def finish(self) -> None:
        """End the run: write its last rows, ``summary.json`` and the pictures.

        Raises:
            ConfigError: If nothing was logged on ``"val"``.
        """
        if not self.is_open:
            return
        self._end_evaluation()
        if not self.final:
            raise ConfigError(
                "A run needs an evaluation that judges it: call log('val', ...) before finish()."
            )
        if self.writes:
            summary = self._summary()
            is_raw = summary["monitor"]["name"] == MEAN_LOSS
            if is_raw and not any(task.trivial for task in self.tasks):
                log.warning(
                    "%s has no relative losses and is judged by the mean of its losses (mean_loss), which depends on their units; give Recorder targets=<the training targets>.",
                    self.directory,
                )
            write_json(self.directory / "summary.json", summary)
            if self.plots:
                draw_from_files(self.directory, summary)
        self._close()

    def fail(self, error: BaseException) -> None:
        """End the run with a failure, or as interrupted if the error is a ``KeyboardInterrupt``.

        Args:
            error: What was raised.
        """
        if self.is_open and self.writes:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            status = "failed" if isinstance(error, Exception) else "interrupted"
            self._write_status(status, reason)
        self._close()

    def __enter__(self) -> Recorder:
        """Return this recorder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        """Finish the run, or record why it failed."""
        if error is None:
            self.finish()
        else:
            self.fail(error)

    def _close(self) -> None:
        self.is_open = False
        self._stack.close()

    def _end_evaluation(self) -> None:
        """Write the rows of the evaluation that was logged last, if there is any."""
        val, test = (self.evaluating.pop(split, None) for split in ("val", "test"))
        if val is not None:
            evaluation = val.evaluation()
            means = self.steps.take()
            rows: list[Row] = []
            if means is not None:
                self.weights, self.sigmas = means.weight, means.sigma
                rows = [
                    {**self._key("train", name), **cells}
                    for name, cells in means.cells(self.tasks).items()
                ]
            self._write([*rows, *self._evaluation_rows("val", evaluation)])
            self.final["val"] = evaluation
            value = self.monitor.value(evaluation)
            if not self.best or value < self.monitor.value(self.best["val"]):
                self.best, self.best_epoch = {"val": evaluation}, self.epoch
                self.best_step = self.step
        if test is not None:
            judged = self.best if self.judge == "best" else self.final
            judged["test"] = test.evaluation()
            self._write(self._evaluation_rows("test", judged["test"]))

    def _write(self, rows: Sequence[Row]) -> None:
        if self.writes:
            self.metrics.append(rows)

    def _key(self, split: str, task: str) -> dict[str, Any]:
        """Return the cells that identify a row."""
        epoch, step = self.epoch, self.step
        if split == "test" and self.judge == "best":
            epoch, step = self.best_epoch, self.best_step
        return {"epoch": _whole(epoch), "step": step, "split": split, "task": task}

    def _evaluation_rows(self, split: str, evaluation: Evaluation) -> list[Row]:
        """Return the rows of an evaluation: one per task, and the total."""
        rows: list[Row] = [
            {**self._key(split, name), **values} for name, values in evaluation.values.items()
        ]
        total = {"relative_loss": evaluation.relative_loss} if _has_relative(evaluation) else {}
        return [*rows, {**self._key(split, TOTAL), **total}]

    def _summary(self) -> dict[str, Any]:
        """Return the content of summary.json."""
        seconds = time.perf_counter() - self.started
        return {
            **self._head("finished"),
            "epochs": int(self.epoch),
            "steps": self.step,
            "judge": self.judge,
            "monitor": {
                "name": self.monitor.name
                if self.monitor.task or _has_relative(self.final["val"])
                else MEAN_LOSS,
                "best": self.monitor.value(self.best["val"]),
                "best_epoch": _whole(self.best_epoch),
                "final": self.monitor.value(self.final["val"]),
            },
            "tasks": task_results(
                self.tasks,
                self.weights,
                self.sigmas,
                [True] * len(self.tasks),
                {"final": self.final, "best": self.best},
                self.judge,
            ),
            "plots": "all" if self.plots else "none",
            "checkpoints": "none",
            "versions": versions(),
            "time": {
                "seconds": seconds,
                "steps_per_second": self.step / seconds if seconds else None,
            },
        }

    def _head(self, status: str, reason: str = "") -> dict[str, Any]:
        """Return the part of summary.json that is known before the run ends."""
        return {
            "format": FORMAT,
            "status": status,
            "reason": reason,
            "recorder": True,
            "name": self.directory.name,
            "seed": self.config.get("seed"),
            "choices": self.choices,
            "overrides": self.overrides,
        }

    def _write_status(self, status: str, reason: str = "") -> None:
        write_json(self.directory / "summary.json", self._head(status, reason))


def _has_relative(evaluation: Evaluation) -> bool:
    """Return whether any task was compared with a trivial predictor."""
    return any("relative_loss" in row for row in evaluation.values.values())


def _whole(epoch: float) -> float:
    """Return an epoch as a whole number, where it is one."""
    return int(epoch) if epoch == int(epoch) else epoch


def _choices_and_overrides(config: DictConfig) -> tuple[dict[str, str], list[str]]:
    """Return the names that a config chooses at its top, and all else as dotted options.

    Raises:
        ConfigError: If the seed is no whole number.

    Example:
        >>> _choices_and_overrides(OmegaConf.create({"weighting": "dwa", "optimizer": {"lr": 0.1}}))
        ({'weighting': 'dwa'}, ['weighting=dwa', 'optimizer.lr=0.1'])
    """
    plain = plain_config(config)
    seed = plain.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ConfigError(f"config['seed'] must be a whole number; found {seed!r}.")
    choices = {str(key): value for key, value in plain.items() if isinstance(value, str)}
    return choices, [f"{key}={value}" for key, value in flat(plain)]
