"""Staged tasks: each has a time to start and may have one to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_runner.config.times import Length, parse_when
from mtl_runner.schedule.base import Schedule, by_task
from mtl_runner.tasks.task import Task


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
        if not start and not until:
            start = {
                task.name: f"{50 * i / max(1, len(tasks) - 1)}%" for i, task in enumerate(tasks)
            }
        self.first = self._steps(start, "schedule.start", 0)
        self.last = self._steps(until, "schedule.until", length.steps)
        self.refuse_idle([0, *self.first, *self.last])

    def _steps(self, when: Any, key: str, default: int) -> list[int]:
        times = by_task(when, self.tasks, key, "{task: when}")
        return [
            parse_when(times.get(t.name, f"{default} steps"), self.length, f"{key}.{t.name}")
            for t in self.tasks
        ]

    @property
    def can_stack(self) -> bool:
        return True

    def activation(self, step: int) -> tuple[float, ...]:
        return tuple(
            float(first <= step < last) for first, last in zip(self.first, self.last, strict=True)
        )

    def epoch_marks(self) -> dict[str, float]:
        per_epoch = self.length.steps_per_epoch
        starts = {
            f"{t.name} starts": s / per_epoch
            for t, s in zip(self.tasks, self.first, strict=True)
            if 0 < s < self.length.steps
        }
        ends = {
            f"{t.name} ends": s / per_epoch
            for t, s in zip(self.tasks, self.last, strict=True)
            if s < self.length.steps
        }
        return starts | ends

    def last_start(self) -> float:
        return (
            max((first for first in self.first if first < self.length.steps), default=0)
            / self.length.steps_per_epoch
        )

    def never_active(self) -> list[str]:
        spans = zip(self.tasks, self.first, self.last, strict=True)
        return [task.name for task, first, last in spans if first >= min(last, self.length.steps)]
