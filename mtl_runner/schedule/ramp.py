"""Ramps: a task comes and goes gradually, along straight lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number
from mtl_runner.schedule.base import Schedule, mapping_by_task
from mtl_runner.tasks.task import Task

FORM = "[[when, value], ...] with values from 0 to 1, e.g. [[0, 0], ['25%', 1]]"


class Curve:
    """A piecewise linear function of the step.

    It is exact at the knots, and constant before the first and after the last one.

    Args:
        steps: The steps of the knots, in order; at a step that stands there twice the value jumps.
        values: The values at the knots.

    Example:
        >>> curve = Curve([10, 20], [0.0, 1.0])
        >>> [curve.at(step) for step in (5, 10, 15, 20, 25)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    def __init__(self, steps: Sequence[int], values: Sequence[float]) -> None:
        self.steps, self.values = list(steps), list(values)

    def at(self, step: int) -> float:
        """Return the value at a step; where several knots stand, that of the last one."""
        after = bisect_right(self.steps, step)
        if after in (0, len(self.steps)):
            return self.values[max(0, after - 1)]
        begin, end = self.steps[after - 1 : after + 1]
        low, high = self.values[after - 1 : after + 1]
        return low + (high - low) * ((step - begin) / (end - begin))


class Ramp(Schedule):
    """Let the activation of each task, and with it its weight, follow a piecewise linear curve.

    **When it helps:** a task should come in gently, so that it does not disturb what the others
    have learned.

    **When not:** with ``update=per_task`` and Adam, whose step does not depend on the size of a
    gradient. A task that is active a little then moves as far as one that is active fully: hardly
    more than the zeros of a ramp counts there.

    Args:
        tasks: The tasks, in order.
        length: The length of the run.
        knots: ``{task: [[when, value], ...]}``, with times as in
            :class:`~mtl_runner.schedule.Staged`, in the order of time, and values in [0, 1]. The
            curve is linear in the step between the knots, exact at them, and constant outside of
            them. Two knots at the same step are a jump: the later one counts from that step on. A
            task without knots is always fully active. Without any knots, every task after the first
            rises from 0 to 1 over the first half of the run.

    Raises:
        ConfigError: If ``knots`` names an unknown task, if a curve is unreadable or not in the
            order of time, or if there is a time without any active task.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.schedule import Ramp, RunLength
        >>> tasks = [Task("depth"), Task("normals")]
        >>> length = RunLength(epochs=4, steps_per_epoch=10)
        >>> schedule = Ramp(tasks, length, {"normals": [[1, 0], ["50%", 1]]})
        >>> [schedule.activation(step) for step in (10, 15, 20)]
        [(1.0, 0.0), (1.0, 0.5), (1.0, 1.0)]
        >>> schedule.epoch_marks()
        {'normals starts': 1.0, 'normals ramped up': 2.0}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: RunLength,
        knots: Mapping[str, Sequence[Sequence[Any]]] | None = None,
    ) -> None:
        super().__init__(tasks, length)
        knots_by_task = mapping_by_task(
            knots, tasks, "schedule.knots", "{task: [[when, value], ...]}"
        )
        if not knots_by_task:
            knots_by_task = {task.name: [[0, 0], ["50%", 1]] for task in tasks[1:]}
        self.curves = [
            self._curve(knots_by_task.get(task.name, [[0, 1]]), f"schedule.knots.{task.name}")
            for task in tasks
        ]
        self.corner_steps = self._corner_steps()
        self.refuse_idle(self.corner_steps)

    def _corner_steps(self) -> list[int]:
        """Return the steps around the knots, and the first and last step of the run.

        From one such step to the next a task is idle throughout or active throughout, and its
        activation is largest at one of the two ends. So they tell all about the whole run.
        """
        knot_steps = {step for curve in self.curves for step in curve.steps}
        around_knots = {step + offset for step in knot_steps for offset in (-1, 0, 1)}
        ends = {0, self.length.steps - 1}
        return sorted(step for step in around_knots | ends if 0 <= step < self.length.steps)

    def _curve(self, knots: Any, key: str) -> Curve:
        """Return the curve of a task, from its knots as the config writes them."""
        if (
            not isinstance(knots, Sequence)
            or not knots
            or not all(_is_knot(knot) for knot in knots)
        ):
            raise ConfigError(f"{key} must be {FORM}; found {knots!r}.")
        timed = [(when, parse_time(when, self.length, key)) for when, _ in knots]
        for (earlier, before), (later, after) in pairwise(timed):
            if after < before:
                raise ConfigError(
                    f"{key}: the knots must be in the order of time; {later!r} (step {after}) is before {earlier!r} (step {before})."
                )
        return Curve([step for _, step in timed], [float(value) for _, value in knots])

    @property
    def can_stack(self) -> bool:
        """Whether the runs of a stack share this schedule: yes, it depends on the clock alone."""
        return True

    def activation(self, step: int) -> tuple[float, ...]:
        """Return the value of every task's curve at a step."""
        return tuple(curve.at(step) for curve in self.curves)

    def epoch_marks(self) -> dict[str, float]:
        """Return the epochs at which a task starts, is ramped up, and ends.

        For example ``{"y2 starts": 10.0, "y2 ramped up": 25.0, "y2 ends": 50.0}``.
        """
        marks: dict[str, int] = {}
        for task, curve in zip(self.tasks, self.curves, strict=True):
            active = [step for step in self.corner_steps if curve.at(step) > 0]
            if not active:
                continue
            # A rise begins at its knot, where the task is still idle.
            marks[f"{task.name} starts"] = active[0] - (active[0] not in curve.steps)
            if (top := self._top(curve)) > active[0]:
                marks[f"{task.name} ramped up"] = top
            marks[f"{task.name} ends"] = next(
                (step for step in self.corner_steps if step > active[-1]), self.length.steps
            )
        return {
            text: step / self.length.steps_per_epoch
            for text, step in marks.items()
            if 0 < step < self.length.steps
        }

    def last_start(self) -> float:
        """Return the epoch at which every task has been as active as it will ever be.

        On its way up a task can still get better, so early stopping waits for it.
        """
        return max(self._top(curve) for curve in self.curves) / self.length.steps_per_epoch

    def never_active(self) -> list[str]:
        """Return the names of the tasks whose curve stays at 0."""
        return [
            task.name
            for task, curve in zip(self.tasks, self.curves, strict=True)
            if not any(map(curve.at, self.corner_steps))
        ]

    def _top(self, curve: Curve) -> int:
        """Return the first step of the run at which a curve is highest; 0 if it stays at 0."""
        return max(self.corner_steps, key=curve.at)


def _is_knot(knot: Any) -> bool:
    """Return whether a value is a pair of a time and a number in [0, 1]."""
    if isinstance(knot, str) or not isinstance(knot, Sequence) or len(knot) != 2:
        return False
    value = knot[1]
    return is_number(value) and 0 <= value <= 1
