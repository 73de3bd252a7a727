"""The methods of every schedule, and `schedule=all`."""

from __future__ import annotations

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.schedule import Alternate, Plateau, Ramp, Schedule, Staged
from mtl_runner.schedule.base import mapping_by_task
from tests.unit.schedule.runs import LENGTH, TASKS


def test_by_default_everyone_is_always_active() -> None:
    """Breaks if `schedule=all` leaves a task out."""
    schedule = Schedule(TASKS, LENGTH)
    assert {schedule.activation(step) for step in range(LENGTH.steps)} == {(1.0, 1.0)}
    assert schedule.epoch_marks() == {}
    assert schedule.never_active() == []
    assert schedule.last_start() == 0


def test_a_schedule_without_a_memory_has_nothing_to_save() -> None:
    """Breaks if a schedule of the user's own must write methods that it does not need."""
    schedule = Schedule(TASKS, LENGTH)
    schedule.observe(1, {"y1": 1.0, "y2": 2.0})
    assert schedule.state_dict() == {}
    schedule.load_state_dict({})
    assert schedule.activation(5) == (1.0, 1.0)


class Second(Schedule):
    """A user's schedule: the second task alone, from step 10 on."""

    def activation(self, step: int) -> tuple[float, ...]:
        return (0.0, float(step >= 10))


def test_steps_without_an_active_task_are_refused_within_the_run() -> None:
    """Breaks if a user's schedule cannot check itself, or a time after the run counts as idle."""
    schedule = Second(TASKS, LENGTH)
    schedule.refuse_idle([10, 199])
    with pytest.raises(ConfigError, match=r"no task is active at step 9 \(epoch 1\)"):
        schedule.refuse_idle([10, 9])

    class Never(Schedule):
        def activation(self, step: int) -> tuple[float, ...]:
            return (0.0, 0.0)

    Never(TASKS, LENGTH).refuse_idle([200, 1000])


def test_runs_stack_only_under_schedules_that_the_clock_alone_decides() -> None:
    """Breaks if replicas whose tasks start at different times are trained as one."""
    schedules = (Schedule, Staged, Ramp, Alternate)
    assert all(schedule(TASKS, LENGTH).can_stack for schedule in schedules)
    assert not Plateau(TASKS, LENGTH).can_stack
    assert not Alternate(TASKS, LENGTH, proportions=1).can_stack
    assert not Second(TASKS, LENGTH).can_stack, "nothing is known of a user's schedule"


def test_an_option_per_task_is_a_mapping_with_known_tasks() -> None:
    """Breaks if a misspelt task is ignored, or the error does not say how to write the option."""
    assert mapping_by_task(None, TASKS, "schedule.start", "{task: when}") == {}
    assert mapping_by_task({"y2": 3}, TASKS, "schedule.start", "{task: when}") == {"y2": 3}
    with pytest.raises(ConfigError, match=r"schedule\.start must be \{task: when\}; found 3"):
        mapping_by_task(3, TASKS, "schedule.start", "{task: when}")
    with pytest.raises(ConfigError, match=r"schedule\.start names the unknown task 'y3'"):
        mapping_by_task({"y3": 3}, TASKS, "schedule.start", "{task: when}")
