"""The ways to write a time, and what every schedule has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.schedule import Length, Schedule, parse_when
from tests.support.builders import QUICK
from tests.unit.schedule.runs import LENGTH, TASKS


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
    "when",
    [
        "soon",
        "",
        "%",
        "steps",
        "10 minutes",
        -1,
        "-3 steps",
        "-5%",
        True,
        None,
        "nan",
        "inf",
        [3],
        "10 % of it",
    ],
)
def test_an_unreadable_time_is_an_error_that_names_key_value_and_ways(when: object) -> None:
    """Breaks if a misspelt time is read as some other time."""
    with pytest.raises(ConfigError) as error:
        parse_when(when, LENGTH, "schedule.start.y2")
    assert str(error.value) == (
        f"schedule.start.y2={when!r} is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
    )


def test_a_run_has_as_many_steps_as_epochs_times_steps() -> None:
    """Breaks if percentages are taken of the wrong whole."""
    assert LENGTH.steps == 200


def test_by_default_everyone_is_always_active() -> None:
    """Breaks if `schedule=all` leaves somebody out."""
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
