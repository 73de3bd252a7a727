"""The run of these tests: 40 epochs of 5 steps, two or three tasks."""

from __future__ import annotations

from mtl_runner.schedule import RunLength, Schedule
from tests.support.builders import make_tasks

LENGTH = RunLength(epochs=40, steps_per_epoch=5)
TASKS = make_tasks(y1="regression", y2="classification")
THREE = make_tasks(a="regression", b="regression", c="regression")


def active(schedule: Schedule) -> list[list[int]]:
    """Return for each task the steps of the run at which it is active."""
    steps = range(schedule.length.steps)
    return [
        [step for step in steps if schedule.activation(step)[t]] for t in range(len(schedule.tasks))
    ]


def values(schedule: Schedule, task: int) -> list[float]:
    """Return how active a task is at every step of the run."""
    return [schedule.activation(step)[task] for step in range(schedule.length.steps)]
