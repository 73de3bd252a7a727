"""When tasks are active: the ways to write a time, and what a schedule makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.schedule import Length, Schedule, Staged, parse_when
from tests.builders import QUICK, make_tasks

LENGTH = Length(epochs=40, steps_per_epoch=5)
TASKS = make_tasks(y1="regression", y2="classification")


def active(schedule: Schedule) -> list[list[int]]:
    """For each task the steps of the run at which it is active."""
    steps = range(schedule.length.steps)
    return [[step for step in steps if schedule.activation(step)[t]] for t in range(len(schedule.tasks))]


# Times


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        (0, 0),
        (3, 15),
        ("3", 15),
        ("3 epochs", 15),
        ("1 epoch", 5),
        (2.5, 12),
        ("0.2", 1),
        ("7 steps", 7),
        ("7steps", 7),
        ("1 step", 1),
        ("1e2 steps", 100),
        (" 25% ", 50),
        ("12.5%", 25),
        ("0%", 0),
        ("100%", 200),
        ("150%", 300),
        (1000, 5000),
    ],
)
def test_a_time_is_epochs_steps_or_a_share_of_the_run(when: object, steps: int) -> None:
    """Breaks if a task starts at another time than the one that was written."""
    assert parse_when(when, LENGTH, "schedule.start.y2") == steps


@QUICK
@given(epochs=st.integers(1, 500), per_epoch=st.integers(1, 500), share=st.integers(0, 100))
def test_the_three_ways_to_write_a_time_agree(epochs: int, per_epoch: int, share: int) -> None:
    """Breaks if epochs, steps and percent count differently."""
    length = Length(epochs, per_epoch)
    at = parse_when(f"{share}%", length, "key")
    assert parse_when(f"{at} steps", length, "key") == at
    assert parse_when(f"{share * epochs / 100} epochs", length, "key") == pytest.approx(at, abs=1)
    assert abs(at - share / 100 * epochs * per_epoch) <= 0.5
    assert parse_when(epochs, length, "key") == parse_when("100%", length, "key") == length.steps


@pytest.mark.parametrize(
    "when", ["soon", "", "%", "steps", "10 minutes", -1, "-3 steps", "-5%", True, None, "nan", "inf", [3], "10 % of it"]
)
def test_an_unreadable_time_is_an_error_that_names_key_value_and_ways(when: object) -> None:
    """Breaks if a misspelt time is read as some other time."""
    with pytest.raises(ConfigError) as error:
        parse_when(when, LENGTH, "schedule.start.y2")
    assert str(error.value) == (
        f"schedule.start.y2={when!r} is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
    )


# Schedules


def test_by_default_everyone_is_always_active() -> None:
    """Breaks if `schedule=all` leaves somebody out."""
    schedule = Schedule(TASKS, LENGTH)
    assert {schedule.activation(step) for step in range(LENGTH.steps)} == {(1.0, 1.0)}
    assert schedule.starts() == {}


def test_without_times_the_tasks_start_evenly_over_the_first_half() -> None:
    """Breaks if `schedule=staged` alone stages nothing, or leaves the last task too little time."""
    found = active(Staged(make_tasks(a="regression", b="regression", c="regression"), LENGTH))
    assert [steps[0] for steps in found] == [0, 50, 100]
    assert all(steps[-1] == 199 for steps in found)
    assert [steps[0] for steps in active(Staged(TASKS, LENGTH))] == [0, 100]
    assert active(Staged(TASKS[:1], LENGTH)) == [list(range(200))]


def test_a_task_is_active_from_its_start_on() -> None:
    """Breaks if a start is off by one step, or a task that is not named starts late."""
    assert active(Staged(TASKS, LENGTH, start={"y2": "30 steps"})) == [list(range(200)), list(range(30, 200))]


def test_a_task_is_idle_from_its_end_on() -> None:
    """Breaks if `until` is off by one step, or brings the default staging with it."""
    assert active(Staged(TASKS, LENGTH, until={"y1": 10})) == [list(range(50)), list(range(200))]


def test_start_and_until_make_a_window() -> None:
    """Breaks if the two cannot be combined, for one task or for a hand-over between two."""
    schedule = Staged(TASKS, LENGTH, start={"y2": "25%"}, until={"y2": "60 steps"})
    assert active(schedule) == [list(range(200)), list(range(50, 60))]
    assert active(Staged(TASKS, LENGTH, start={"y2": "50%"}, until={"y1": "50%"})) == [
        list(range(100)),
        list(range(100, 200)),
    ]


def test_a_start_after_the_end_of_the_run_never_comes() -> None:
    """Breaks if a reference run without a task cannot be made by its start."""
    assert active(Staged(TASKS, LENGTH, start={"y2": 1000})) == [list(range(200)), []]


def test_starts_and_ends_are_told_to_the_plots_in_epochs() -> None:
    """Breaks if the lines in the pictures stand at the wrong epoch, or at the borders of the picture."""
    schedule = Staged(TASKS, LENGTH, start={"y1": 0, "y2": "10 steps"}, until={"y1": "50%", "y2": "100%"})
    assert schedule.starts() == {"y2 starts": 2.0, "y1 ends": 20.0}
    assert Staged(TASKS, LENGTH, start={"y2": 41}).starts() == {}


def test_a_run_has_as_many_steps_as_epochs_times_steps() -> None:
    """Breaks if percentages are taken of the wrong whole."""
    assert LENGTH.steps == 200


# What it refuses


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"start": {"y3": 5}}, "schedule.start names the unknown task 'y3'; allowed: y1, y2."),
        ({"until": {"z": 5}}, "schedule.until names the unknown task 'z'; allowed: y1, y2."),
        ({"start": {"y1": 2, "y2": 3}}, "schedule: no task is active at step 0 (epoch 0); let at least one start there."),
        ({"until": {"y1": 10, "y2": "25%"}}, "no task is active at step 50 (epoch 10)"),
        ({"start": {"y2": 20}, "until": {"y1": 10}}, "no task is active at step 50 (epoch 10)"),
        ({"start": {"y2": "later"}}, "schedule.start.y2='later' is not a time"),
    ],
)
def test_a_schedule_that_cannot_be_says_why(times: dict[str, dict[str, object]], words: str) -> None:
    """Breaks if a typo starts nothing, or a run trains no task for a while without a word."""
    with pytest.raises(ConfigError) as error:
        Staged(TASKS, LENGTH, **times)
    assert words in str(error.value)
