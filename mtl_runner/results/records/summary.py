"""The summary.json of a run as typed values; NaN or empty for what is missing or of no use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mtl_runner.results.records.task_metrics import TaskMetrics

EPOCHS = ("final", "best")  # at which a run's metrics are recorded
SPLITS = ("val", "test")

Metrics = Mapping[str, float]  # {metric: value}


@dataclass(frozen=True)
class MonitorResult:
    """The one number that judges a run (``trainer.monitor``), lower is better.

    Attributes:
        name: The monitor as it was configured, ``"relative_loss"`` or ``"digit.accuracy"``.
        final: Its value at the last epoch.
        best: Its value at the best epoch.
        best_epoch: The best epoch, or ``{task: epoch}`` of separately trained tasks.
    """

    name: str = ""
    final: float = math.nan
    best: float = math.nan
    best_epoch: int | Mapping[str, int] | None = None

    def at(self, epoch: str) -> float:
        """Return the value at the ``"final"`` or ``"best"`` epoch."""
        return self.final if epoch == "final" else self.best


@dataclass(frozen=True)
class TaskResult:
    """The results of one task; NaN for numbers that the run does not have.

    Attributes:
        metrics: The metrics that the task is measured by.
        weight: The last weight of the task's loss.
        sigma: The learned noise scale.
        true_sigma: The noise scale of generated data.
        values: ``{"final" | "best": {split: {metric: value}}}``.
    """

    metrics: TaskMetrics
    weight: float = math.nan
    sigma: float = math.nan
    true_sigma: float = math.nan
    values: Mapping[str, Mapping[str, Metrics]] = field(default_factory=dict)

    def at(self, epoch: str, split: str) -> Metrics:
        """Return ``{metric: value}`` at the ``"final"`` or ``"best"`` epoch on a split."""
        return self.values.get(epoch, {}).get(split, {})


@dataclass(frozen=True)
class Summary:
    """The results of one run.

    Attributes:
        seed: None where the run did not record one.
        epochs: The number of epochs that were trained; None for a run that did not finish.
        monitor: The number that judges the run.
        tasks: ``{task: its results}``.
        marks: ``{text: epoch}`` where tasks start or end.
        plots: Which pictures the run was to leave (``record.plots``).
        seconds: The training time.
        backward_passes: Backward passes per step.
        environment: Device, threads and versions, as text: what could explain a difference.
    """

    seed: int | None = None
    epochs: int | None = None
    monitor: MonitorResult = field(default_factory=MonitorResult)
    tasks: Mapping[str, TaskResult] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    plots: str = ""
    seconds: float = math.nan
    backward_passes: float = math.nan
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Summary:
        """Read the content of summary.json.

        Example:
            >>> summary = Summary.of({"seed": 3, "time": {"seconds": 1.5}})
            >>> summary.seed, summary.seconds, summary.tasks
            (3, 1.5, {})
        """
        monitor, time = mapping(content.get("monitor")), mapping(content.get("time"))
        environment = {key: str(content[key]) for key in ("device", "threads") if key in content}
        for package, version in mapping(content.get("versions")).items():
            environment[f"version of {package}"] = str(version)
        return cls(
            seed=content.get("seed"),
            epochs=content.get("epochs"),
            monitor=MonitorResult(
                str(monitor.get("name", "")),
                as_float(monitor.get("final")),
                as_float(monitor.get("best")),
                monitor.get("best_epoch"),
            ),
            tasks={
                str(name): _task(mapping(entry))
                for name, entry in mapping(content.get("tasks")).items()
            },
            marks={str(text): as_float(v) for text, v in mapping(content.get("marks")).items()},
            plots=str(content.get("plots", "")),
            seconds=as_float(time.get("seconds")),
            backward_passes=as_float(time.get("backward_passes")),
            environment=environment,
        )


def as_float(value: Any) -> float:
    """Return the value as a number; NaN for None and for what is no number."""
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _task(entry: Mapping[str, Any]) -> TaskResult:
    values = {
        epoch: {
            split: {name: as_float(value) for name, value in mapping(metrics).items()}
            for split, metrics in mapping(entry.get(epoch)).items()
        }
        for epoch in EPOCHS
    }
    return TaskResult(
        TaskMetrics.of(entry),
        as_float(entry.get("weight")),
        as_float(entry.get("sigma")),
        as_float(entry.get("true_sigma")),
        values,
    )
