"""Staged tasks: each has a time to start and may have one to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.schedule.base import Schedule, mapping_by_task
from mtl_runner.tasks.task import Task


class Staged(Schedule):
    """Start (and end) the tasks at set times; outside of them they are idle.

    An idle task has no gradient at all, not a zero gradient: its head, its sigma and their clock in
    Adam stand still.

    **When it helps:** a task should have learned something before another one begins, and it is
    known when.

    **When not:** it is not known when; see :class:`~mtl_runner.schedule.Plateau`.

    Args:
        tasks: The tasks, in order.
        length: The length of the run.
        start: ``{task: when}``, with a time in epochs (``200``), in steps (``"1000 steps"``) or as
            a share of the run (``"25%"``). Without it, and without ``until``, the tasks start one
            after another, evenly over the first half of the run.
        until: ``{task: when}``: the task is idle from then on (its own parameters are frozen).

    Raises:
        ConfigError: If an option names an unknown task, if a time is unreadable, or if there is a
            time without any active task.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.schedule import RunLength, Staged
        >>> tasks = [Task("depth"), Task("normals")]
        >>> length = RunLength(epochs=4, steps_per_epoch=10)
        >>> schedule = Staged(tasks, length, start={"normals": "50%"}, until={"depth": 3})
        >>> [schedule.activation(step) for step in (0, 20, 30)]
        [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: RunLength,
        start: Mapping[str, Any] | None = None,
        until: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tasks, length)
        if not start and not until:
            start = {
                task.name: f"{50 * i / max(1, len(tasks) - 1)}%" for i, task in enumerate(tasks)
            }
        self.start_steps = self._steps(start, "schedule.start", 0)
        self.end_steps = self._steps(until, "schedule.until", length.steps)
        self.refuse_idle([0, *self.start_steps, *self.end_steps])

    def _steps(self, times: Any, key: str, default: int) -> list[int]:
        """Return a time of every task in steps, the default for a task without one."""
        time_by_task = mapping_by_task(times, self.tasks, key, "{task: when}")
        return [
            parse_time(
                time_by_task.get(task.name, f"{default} steps"), self.length, f"{key}.{task.name}"
            )
            for task in self.tasks
        ]

    @property
    def can_stack(self) -> bool:
        """Whether the runs of a stack share this schedule: yes, it depends on the clock alone."""
        return True

    def activation(self, step: int) -> tuple[float, ...]:
        """Return 1 for the tasks between their start and their end, 0 for the others."""
        spans = zip(self.start_steps, self.end_steps, strict=True)
        return tuple(float(start <= step < end) for start, end in spans)

    def epoch_marks(self) -> dict[str, float]:
        """Return the epochs at which tasks start and end within the run."""
        per_epoch = self.length.steps_per_epoch
        starts = {
            f"{task.name} starts": start / per_epoch
            for task, start in zip(self.tasks, self.start_steps, strict=True)
            if 0 < start < self.length.steps
        }
        ends = {
            f"{task.name} ends": end / per_epoch
            for task, end in zip(self.tasks, self.end_steps, strict=True)
            if end < self.length.steps
        }
        return starts | ends

    def last_start(self) -> float:
        """Return the epoch of the last start within the run."""
        starts = [start for start in self.start_steps if start < self.length.steps]
        return max(starts, default=0) / self.length.steps_per_epoch

    def never_active(self) -> list[str]:
        """Return the names of the tasks that start after their end or after that of the run."""
        spans = zip(self.tasks, self.start_steps, self.end_steps, strict=True)
        return [task.name for task, start, end in spans if start >= min(end, self.length.steps)]
