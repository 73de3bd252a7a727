"""The run that the tests of this room speak of: 40 epochs of 5 steps, two tasks."""

from __future__ import annotations

from mtl_runner.schedule import Length, Schedule
from tests.support.builders import make_tasks

LENGTH = Length(epochs=40, steps_per_epoch=5)
TASKS = make_tasks(y1="regression", y2="classification")
THREE = make_tasks(a="regression", b="regression", c="regression")


def active(schedule: Schedule) -> list[list[int]]:
    """For each task the steps of the run at which it is active."""
    steps = range(schedule.length.steps)
    return [
        [step for step in steps if schedule.activation(step)[t]] for t in range(len(schedule.tasks))
    ]


def values(schedule: Schedule, task: int) -> list[float]:
    """How active a task is at every step of the run."""
    return [schedule.activation(step)[task] for step in range(schedule.length.steps)]
