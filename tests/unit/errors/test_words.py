"""Numbers of things and times in sentences."""

from __future__ import annotations

import pytest

from mtl_runner.errors.words import counted, duration


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "run", "0 runs"),
        (1, "epoch", "1 epoch"),
        (2, "strategy", "2 strategies"),
        (1, "strategy", "1 strategy"),
        (34765, "parameter", "34,765 parameters"),
    ],
)
def test_a_noun_follows_its_number(number: int, noun: str, words: str) -> None:
    """Breaks if a user reads of 1 epochs."""
    assert counted(number, noun) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.994, "0.99 s"),
        (7, "7 s"),
        (9.96, "10 s"),
        (89, "89 s"),
        (91, "2 min"),
        (5399, "90 min"),
        (5401, "1.5 h"),
        (129500, "36.0 h"),
        (129700, "1.5 days"),
    ],
)
def test_a_time_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    """Breaks if a study of a few seconds is said to take 0 minutes."""
    assert duration(seconds) == words
