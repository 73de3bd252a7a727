"""The ways to write a time, and the length of a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.errors import ConfigError
from tests.support.builders import QUICK

LENGTH = RunLength(epochs=40, steps_per_epoch=5)


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
    assert parse_time(when, LENGTH, "schedule.start.y2") == steps


@QUICK
@given(epochs=st.integers(1, 500), per_epoch=st.integers(1, 500), share=st.integers(0, 100))
def test_the_three_ways_to_write_a_time_agree(epochs: int, per_epoch: int, share: int) -> None:
    """Breaks if epochs, steps and percent count differently."""
    length = RunLength(epochs, per_epoch)
    at = parse_time(f"{share}%", length, "key")
    assert parse_time(f"{at} steps", length, "key") == at
    assert parse_time(f"{share * epochs / 100} epochs", length, "key") == pytest.approx(at, abs=1)
    assert abs(at - share / 100 * epochs * per_epoch) <= 0.5
    assert parse_time(epochs, length, "key") == parse_time("100%", length, "key") == length.steps


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
        parse_time(when, LENGTH, "schedule.start.y2")
    assert str(error.value) == (
        f"schedule.start.y2={when!r} is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
    )


def test_a_run_has_as_many_steps_as_epochs_times_steps() -> None:
    """Breaks if percentages are taken of the wrong whole."""
    assert LENGTH.steps == 200
