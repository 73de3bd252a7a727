"""The summary.json of a run as typed values; NaN or empty for what is missing or of no use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mtl_runner.results.records.reading import NewerFormatError, UnreadableError
from mtl_runner.results.records.task_metrics import TaskMetrics

EPOCHS = ("final", "best")  # at which a run's metrics are recorded
SPLITS = ("val", "test")
STATUSES = ("finished", "failed", "interrupted", "running", "queued")
FORMAT = 1  # of summary.json; files of older versions name none
LONGEST_NAME = 500  # of a task, a metric or a split

Metrics = Mapping[str, float]  # {metric: value}


@dataclass(frozen=True)
class MonitorResult:
    """The one number that judges a run (``trainer.monitor``), turned so that lower is better.

    Attributes:
        name: The monitor as it was configured, ``"relative_loss"`` or ``"digit.accuracy"``.
        final: Its value at the last epoch.
        best: Its value at the best epoch.
        best_epoch: The best epoch (a fraction where it lies inside one), or ``{task: epoch}`` of
            separately trained tasks.
        higher_is_better: Whether it is a metric that is maximised; its sign is turned round.
    """

    name: str = ""
    final: float = math.nan
    best: float = math.nan
    best_epoch: float | Mapping[str, float] | None = None
    higher_is_better: bool = False

    def as_recorded(self, epoch: str) -> float:
        """Return the value at the ``"final"`` or ``"best"`` epoch, with the metric's own sign."""
        return -self.at(epoch) if self.higher_is_better else self.at(epoch)

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
        given_up: Whether it ended early, as it was worse than ``trainer.give_up`` wants.
        judge: The epoch that judges the run, ``final`` or ``best``.
        monitor: The number that judges the run.
        tasks: ``{task: its results}``.
        marks: ``{text: epoch}`` where tasks start or end.
        plots: Which pictures the run was to leave (``record.plots``).
        seconds: The training time.
        backward_passes: Backward passes per step.
        environment: Device, threads and versions, as text: what could explain a difference.
        own_loop: Whether a loop of the user's own wrote it, by ``mtl_runner.Recorder``.
        interference: What ``record.interference`` measured of the tasks' gradients, by name.
    """

    seed: int | None = None
    epochs: int | None = None
    given_up: bool = False
    judge: str = EPOCHS[0]
    monitor: MonitorResult = field(default_factory=MonitorResult)
    tasks: Mapping[str, TaskResult] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    plots: str = ""
    seconds: float = math.nan
    backward_passes: float = math.nan
    environment: Mapping[str, str] = field(default_factory=dict)
    own_loop: bool = False
    interference: Mapping[str, float] = field(default_factory=dict)

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
        tasks = {
            str(name): _task(mapping(entry))
            for name, entry in mapping(content.get("tasks")).items()
        }
        return cls(
            seed=content.get("seed"),
            epochs=content.get("epochs"),
            given_up=content.get("given_up") is True,
            judge=content.get("judge", EPOCHS[0]),  # older runs do not say it
            monitor=MonitorResult(
                str(monitor.get("name", "")),
                as_float(monitor.get("final")),
                as_float(monitor.get("best")),
                monitor.get("best_epoch"),
                _is_maximised(str(monitor.get("name", "")), tasks),
            ),
            tasks=tasks,
            marks={str(text): as_float(v) for text, v in mapping(content.get("marks")).items()},
            plots=str(content.get("plots", "")),
            seconds=as_float(time.get("seconds")),
            backward_passes=as_float(time.get("backward_passes")),
            environment=environment,
            own_loop=content.get("recorder") is True,
            interference={
                str(name): as_float(value)
                for name, value in mapping(content.get("interference")).items()
            },
        )


def check_summary(content: Mapping[str, Any]) -> None:
    """Check that the content of summary.json fits, and that a finished run has its results.

    Fields that nobody knows are left alone: a newer version may have added them.

    Raises:
        UnreadableError: If a field is missing or of a wrong type; the text names it.

    Example:
        >>> check_summary({"status": "running", "seed": 3})
        >>> try:
        ...     check_summary({"status": "running", "seed": "three"})
        ... except UnreadableError as error:
        ...     print(error)
        seed must be a whole number or null
    """
    check_format(content)
    if content.get("status") not in STATUSES:
        raise UnreadableError(f"status must be one of {', '.join(STATUSES)}")
    if content["status"] == "finished":
        for name in ("epochs", "monitor", "tasks", "time"):
            if name not in content:
                raise UnreadableError(f"a finished run must have {name}")
        if content["epochs"] is None:
            raise UnreadableError("epochs must be a whole number")
    for name, (fits, words) in _FIELDS.items():
        if name in content and not fits(content[name]):
            raise UnreadableError(f"{name} must be {words}")
    for name, (fits, words) in _MONITOR.items():
        monitor = mapping(content.get("monitor"))
        if monitor and not fits(monitor.get(name)):
            raise UnreadableError(f"monitor.{name} must be {words}")
    for number, (name, entry) in enumerate(mapping(content.get("tasks")).items(), 1):
        # The number, not the name, which is the file's own text.
        if not isinstance(entry, Mapping) or len(name) > LONGEST_NAME:
            raise UnreadableError(f"task {number} must be an object under a short name")
        for field_name, (fits, words) in _TASK.items():
            if field_name in entry and not fits(entry[field_name]):
                raise UnreadableError(f"{field_name} of task {number} must be {words}")
        if entry.get("metrics") is not None and not isinstance(entry.get("main_metric"), str):
            raise UnreadableError(f"main_metric of task {number} must be text")


def check_format(content: Mapping[str, Any]) -> None:
    """Check that summary.json is of a format that is known here; the oldest has no number.

    Raises:
        NewerFormatError: If a newer version wrote it.
        UnreadableError: If the format is no number.
    """
    version = content.get("format", FORMAT)
    if not _is_whole(version):
        raise UnreadableError("format must be a whole number")
    if version > FORMAT:
        raise NewerFormatError(
            f"it was written by a newer mtl-runner (format {version}; this one reads up to {FORMAT}); update mtl-runner to read it"
        )


def as_float(value: Any) -> float:
    """Return the value as a number; NaN for None and for what is no number."""
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _is_maximised(monitor: str, tasks: Mapping[str, TaskResult]) -> bool:
    """Return whether a monitor, such as ``digit.accuracy``, is a metric that is maximised."""
    for name, task in tasks.items():
        metric = monitor.removeprefix(f"{name}.")
        if metric != monitor and metric in task.metrics.directions:
            return bool(task.metrics.higher_is_better(metric))
    return False


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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    """Return whether the value is a whole number of a size that every reader can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64


def _is_number(value: Any) -> bool:
    """Return whether the value is a number, infinite ones too, or None for one that is not."""
    return value is None or isinstance(value, float) or _is_whole(value)


def _maps(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check of an object whose values fit."""
    return lambda value: (
        isinstance(value, Mapping)
        and all(len(key) <= LONGEST_NAME for key in value)
        and all(map(fits, value.values()))
    )


def _is_metric(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        value.get(name) in (None, True, False) for name in ("higher_is_better", "in_delta_m")
    )


_Field = tuple[Callable[[Any], bool], str]
_NUMBERS: _Field = (lambda v: v is None or _maps(_maps(_is_number))(v), "an object of numbers")
_TEXT: _Field = (_is_text, "text")
_NUMBER: _Field = (_is_number, "a number or null")
_WHOLE: _Field = (lambda v: v is None or _is_whole(v), "a whole number or null")
# {field: whether a value fits, and in words what would}
_FIELDS: dict[str, _Field] = {
    "reason": _TEXT,
    "refused": (lambda v: isinstance(v, bool), "true or false"),
    "seed": _WHOLE,
    "choices": (_maps(lambda v: v is None or _is_text(v)), "an object of texts"),
    "overrides": (lambda v: isinstance(v, list) and all(map(_is_text, v)), "a list of texts"),
    "epochs": _WHOLE,
    "given_up": (lambda v: isinstance(v, bool), "true or false"),
    "judge": (lambda v: v in EPOCHS, " or ".join(EPOCHS)),
    "monitor": (lambda v: isinstance(v, Mapping), "an object"),
    "tasks": (lambda v: isinstance(v, Mapping) and bool(v), "an object with a task"),
    "marks": (_maps(_is_number), "an object of numbers"),
    "plots": _TEXT,
    "checkpoints": _TEXT,
    "versions": (_maps(_is_text), "an object of texts"),
    "time": (_maps(_is_number), "an object of numbers"),
    "interference": (_maps(_is_number), "an object of numbers"),
}
_MONITOR: dict[str, _Field] = {
    "name": _TEXT,
    "best": _NUMBER,
    "final": _NUMBER,
    "best_epoch": (
        lambda v: v is None or _is_number(v) or _maps(_is_number)(v),
        "a number, or one for each task",
    ),
}
_TASK: dict[str, _Field] = {
    "kind": _TEXT,
    "measures": _TEXT,
    "metrics": (lambda v: v is None or _maps(_is_metric)(v), "an object of metrics"),
    "main_metric": _TEXT,
    "weight": _NUMBER,
    "sigma": _NUMBER,
    "true_sigma": _NUMBER,
    **dict.fromkeys(EPOCHS, _NUMBERS),
}
