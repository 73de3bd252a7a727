"""Ramps: a task comes and goes gradually, along straight lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mtl_runner.config.times import Length, parse_when
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number
from mtl_runner.schedule.base import Schedule, by_task
from mtl_runner.tasks.task import Task

FORM = "[[when, value], ...] with values from 0 to 1, e.g. [[0, 0], ['25%', 1]]"


class Curve:
    """A piecewise linear function of the step: exact at the knots, constant before the first and after the last.

    Args:
        steps: of the knots, in order; at a step that stands there twice the value jumps. values: at the knots.
    """

    def __init__(self, steps: Sequence[int], values: Sequence[float]) -> None:
        self.steps, self.values = list(steps), list(values)

    def at(self, step: int) -> float:
        """The value at a step; of several knots there, the last one's."""
        after = bisect_right(self.steps, step)
        if after in (0, len(self.steps)):
            return self.values[max(0, after - 1)]
        begin, end = self.steps[after - 1 : after + 1]
        low, high = self.values[after - 1 : after + 1]
        return low + (high - low) * ((step - begin) / (end - begin))


class Ramp(Schedule):
    """The activation of each task, and with it its weight, follows a piecewise linear curve.

    With ``update=per_task`` and Adam, whose step does not depend on the size of a gradient, a task that is active a little moves
    as far as one that is active fully: hardly more than the zeros of a ramp counts there.

    Args:
        knots: ``{task: [[when, value], ...]}``; ``when`` as in :class:`~mtl_runner.schedule.Staged`, in the order of time; values
            in [0, 1]. Linear in the step between the knots, exact at them, constant outside of them. Two knots at the same step
            are a jump: the later one counts from that step on. A task without knots is always fully active. Without any knots,
            every task after the first rises from 0 to 1 over the first half of the run.

    Raises ``ConfigError`` for an unknown task, an unreadable or disordered curve or a time without any active task.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: Length,
        knots: Mapping[str, Sequence[Sequence[Any]]] | None = None,
    ) -> None:
        super().__init__(tasks, length)
        given = by_task(knots, tasks, "schedule.knots", "{task: [[when, value], ...]}")
        if not given:
            given = {task.name: [[0, 0], ["50%", 1]] for task in tasks[1:]}
        self.curves = [
            self._curve(given.get(task.name, [[0, 1]]), f"schedule.knots.{task.name}")
            for task in tasks
        ]
        # Where a curve can turn. From one such step to the next a task is idle throughout or active throughout, and its activation
        # is largest at one of the two ends: what is told about the whole run is read off these steps.
        knot_steps = {step for curve in self.curves for step in curve.steps}
        near = {step + offset for step in knot_steps for offset in (-1, 0, 1)} | {
            0,
            length.steps - 1,
        }
        self.turns = sorted(step for step in near if 0 <= step < length.steps)
        self.refuse_idle(self.turns)

    def _curve(self, knots: Any, key: str) -> Curve:
        if (
            not isinstance(knots, Sequence)
            or not knots
            or not all(_is_knot(knot) for knot in knots)
        ):
            raise ConfigError(f"{key} must be {FORM}; found {knots!r}.")
        timed = [(when, parse_when(when, self.length, key)) for when, _ in knots]
        for (earlier, before), (later, after) in pairwise(timed):
            if after < before:
                raise ConfigError(
                    f"{key}: the knots must be in the order of time; {later!r} (step {after}) is before {earlier!r} (step {before})."
                )
        return Curve([step for _, step in timed], [float(value) for _, value in knots])

    @property
    def can_stack(self) -> bool:
        return True

    def activation(self, step: int) -> tuple[float, ...]:
        return tuple(curve.at(step) for curve in self.curves)

    def epoch_marks(self) -> dict[str, float]:
        """Also where a rise is over: ``{"y2 starts": 10.0, "y2 ramped up": 25.0, "y2 ends": 50.0}``."""
        marks: dict[str, int] = {}
        for task, curve in zip(self.tasks, self.curves, strict=True):
            active = [step for step in self.turns if curve.at(step) > 0]
            if not active:
                continue
            # A rise begins at its knot, where the task is still idle.
            marks[f"{task.name} starts"] = active[0] - (active[0] not in curve.steps)
            if (top := self._top(curve)) > active[0]:
                marks[f"{task.name} ramped up"] = top
            marks[f"{task.name} ends"] = next(
                (step for step in self.turns if step > active[-1]), self.length.steps
            )
        return {
            text: step / self.length.steps_per_epoch
            for text, step in marks.items()
            if 0 < step < self.length.steps
        }

    def last_start(self) -> float:
        """The epoch at which every task has been as active as it will ever be: on its way up it can still get better."""
        return max(self._top(curve) for curve in self.curves) / self.length.steps_per_epoch

    def never_active(self) -> list[str]:
        return [
            t.name
            for t, curve in zip(self.tasks, self.curves, strict=True)
            if not any(map(curve.at, self.turns))
        ]

    def _top(self, curve: Curve) -> int:
        """The first step of the run at which a curve is highest; 0 for a curve that stays at 0."""
        return max(self.turns, key=curve.at)


def _is_knot(knot: Any) -> bool:
    if isinstance(knot, str) or not isinstance(knot, Sequence) or len(knot) != 2:
        return False
    value = knot[1]
    return is_number(value) and 0 <= value <= 1
