"""The sentence on one strategy: its verdict, its numbers, and what is missing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mtl_runner.results.statistics.differences import TaskEffect
from mtl_runner.results.verdict.answers import basis
from mtl_runner.results.verdict.sentences import describe, describe_given_up, effects
from tests.unit.results.verdict.made_verdicts import verdict, versus

BAD = versus(0.5, 0.3, 0.7)


def test_metrics_have_no_loss() -> None:
    """Breaks if a sentence names a loss where main metrics were compared."""
    judged = replace(verdict("s", "hurts", versus(2.25, 1.3, 3.19)), quantity="main metrics")
    assert (
        "3.2 times the error of equal weights (95 % interval: 2.3 to 4.2 times the error;"
        in describe(judged)
    )
    assert "Judged by the log ratios of the main metrics." in basis([judged], "d", "val", "final")


def test_the_best_fixed_weights_are_named_once() -> None:
    """Breaks if every line repeats a long name."""
    assert describe(verdict("fixed a=2", "hurts", BAD, "fixed")).startswith(
        "fixed a=2 (the best fixed weights) hurt: 50 % worse"
    )
    line = describe(replace(verdict("s", "hurts", BAD), versus_fixed=versus(0.2, 0.1, 0.3)))
    assert "20 % worse than the best fixed weights (95 % interval: 10 to 30 % worse)" in line
    assert "a=2" not in line


def test_effects_go_from_equal_weights_to_the_strategy() -> None:
    """Breaks if a gain of the mean hides which task paid for it."""
    rows = (
        TaskEffect("a", "accuracy", 0.80634, 0.969),
        TaskEffect("b", "rmse", 4.344, 10.38),
        TaskEffect("c", "f1", math.nan, 1.0),
    )
    judged = replace(verdict("s", "helps", BAD), effects=rows)
    assert effects(judged) == "From equal weights: a accuracy 0.806 to 0.969, b rmse 4.34 to 10.4."
    assert effects(verdict("s", "helps", BAD)) == ""


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        (1, "s failed: its only trial did not finish (out of memory)."),
        (3, "s failed: none of its 3 trials finished (out of memory)."),
    ],
)
def test_a_strategy_that_was_given_up_has_its_reason(trials: int, sentence: str) -> None:
    """Breaks if the sentence repeats the full stop of the reason, or counts one as several."""
    judged = replace(verdict("s", "hurts", None), trials=trials, reason="out of memory.")
    assert describe_given_up(judged) == sentence
