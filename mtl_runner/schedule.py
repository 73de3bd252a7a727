"""Axis 3: which tasks are active now. A schedule is plain arithmetic on the clock, known on the host before the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.task import Task


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


class Schedule:
    """Base of all schedules; itself ``schedule=all``: every task is always active.

    Args:
        tasks: the tasks, in order. length: of the run.
    """

    def __init__(self, tasks: Sequence[Task], length: Length) -> None:
        self.tasks = list(tasks)
        self.length = length

    def activation(self, step: int) -> tuple[float, ...]:
        """How active each task is at a step (counted from 0), in [0, 1]; 0 means idle: no gradient at all."""
        del step
        return (1.0,) * len(self.tasks)

    def starts(self) -> dict[str, float]:
        """The epochs at which a task starts or ends, for the plots: ``{"y2 starts": 50.0}``."""
        return {}

    def last_start(self) -> float:
        """The epoch at which the last task has started."""
        return 0.0

    def never(self) -> list[str]:
        """The tasks that never take part."""
        return []


class Staged(Schedule):
    """Tasks start (and may end) at set times; outside of them they are idle.

    Args:
        start: ``{task: when}``; ``when`` is epochs (``200``), steps (``"1000 steps"``) or a share of the run (``"25%"``).
            Without it, and without ``until``, the tasks start one after another, evenly over the first half of the run.
        until: ``{task: when}``: the task is idle from then on (its own parameters are frozen).

    Raises ``ConfigError`` for an unknown task, an unreadable time or a time without any active task.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: Length,
        start: Mapping[str, Any] | None = None,
        until: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tasks, length)
        names = [task.name for task in tasks]
        if not start and not until:
            start = {name: f"{50 * i / max(1, len(names) - 1)}%" for i, name in enumerate(names)}
        self.first = self._steps(start, names, "start", 0)
        self.last = self._steps(until, names, "until", length.steps)
        changes = {0, *self.first, *self.last}
        for step in sorted(step for step in changes if step < length.steps):
            if not any(self.activation(step)):
                raise ConfigError(
                    f"schedule: no task is active at step {step} (epoch {step // length.steps_per_epoch}); let at least one start there."
                )

    def _steps(self, when: Mapping[str, Any] | None, names: list[str], key: str, default: int) -> list[int]:
        for name in when or {}:
            if name not in names:
                raise ConfigError(f"schedule.{key} names the unknown task {name!r}; {suggest(name, names)}.")
        return [parse_when((when or {}).get(name, f"{default} steps"), self.length, f"schedule.{key}.{name}") for name in names]

    def activation(self, step: int) -> tuple[float, ...]:
        return tuple(float(first <= step < last) for first, last in zip(self.first, self.last, strict=True))

    def starts(self) -> dict[str, float]:
        per_epoch = self.length.steps_per_epoch
        starts = {
            f"{t.name} starts": s / per_epoch for t, s in zip(self.tasks, self.first, strict=True) if 0 < s < self.length.steps
        }
        ends = {f"{t.name} ends": s / per_epoch for t, s in zip(self.tasks, self.last, strict=True) if s < self.length.steps}
        return starts | ends

    def last_start(self) -> float:
        return max((first for first in self.first if first < self.length.steps), default=0) / self.length.steps_per_epoch

    def never(self) -> list[str]:
        spans = zip(self.tasks, self.first, self.last, strict=True)
        return [task.name for task, first, last in spans if first >= min(last, self.length.steps)]


def parse_when(when: Any, length: Length, key: str) -> int:
    """A time in steps from ``200`` (epochs), ``"1000 steps"`` or ``"25%"``. Raises ``ConfigError`` naming the key."""
    text = str(when).strip()
    try:
        if isinstance(when, bool):
            raise ValueError
        if text.endswith("%"):
            steps = float(text[:-1]) / 100 * length.steps
        elif text.endswith(("steps", "step")):
            steps = float(text.rsplit("step", 1)[0])
        else:
            steps = float(text.removesuffix("epochs").removesuffix("epoch")) * length.steps_per_epoch
        if not 0 <= steps < float("inf"):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{key}={when!r} is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
        ) from None
    return round(steps)
