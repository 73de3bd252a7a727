"""The words of verdicts: readable numbers, and no claim that was not shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mtl_runner.results.statistics.differences import TaskEffect
from mtl_runner.results.statistics.failures import Failures
from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.verdict.sentences import (
    answer,
    basis,
    describe,
    describe_given_up,
    effects,
)
from mtl_runner.results.verdict.verdict import BETTER
from tests.unit.results.verdict.made_verdicts import verdict, versus

OPEN = versus(0.01, -0.2, 0.3)
BAD = versus(0.5, 0.3, 0.7)
SAME = versus(0.001, -0.01, 0.01)


WORDS = [
    (
        versus(-0.0799, -0.329, 0.17),
        "8 % better than equal weights (95 % interval: 33 % better to 17 % worse;",
    ),
    (
        versus(-0.72, -0.78, -0.65),
        "72 % better than equal weights (95 % interval: 65 to 78 % better;",
    ),
    (
        versus(2.25, 1.3, 3.19),
        "3.2 times the loss of equal weights (95 % interval: 2.3 to 4.2 times the loss;",
    ),
    (
        versus(0.9, 0.3, 1.6),
        "90 % worse than equal weights (95 % interval: 30 % worse to 2.6 times the loss;",
    ),
    (versus(1.99e-7, -1e-6, 1e-6), "the same as equal weights (95 % interval: the same;"),
    (
        versus(0.01, 0.0001, 0.02),
        "1 % worse than equal weights (95 % interval: the same to 2 % worse;",
    ),
    (
        versus(-0.4, -0.4012, -0.3988),
        "40 % better than equal weights (95 % interval: 39.9 to 40.1 % better;",
    ),
    (
        versus(-0.998, -0.999, -0.99),
        "99.8 % better than equal weights (95 % interval: 99 to 99.9 % better;",
    ),
]


@pytest.mark.parametrize(("equal", "words"), WORDS)
def test_differences_in_words(equal: Paired, words: str) -> None:
    """Breaks if an interval says `-17 to 32.9 %` better, or no difference `1.99e-05 %`."""
    assert f": {words} p 0.01, 0.02 after Holm)" in describe(verdict("s", "undecided", equal))


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


def test_the_answer_tells_what_hurts_and_what_is_open() -> None:
    """Breaks if the answer counts fixed weights as a method, or hides the number of seeds."""
    fixed = verdict("fixed a=2", "undecided", OPEN, "fixed")
    judged = [
        fixed,
        *(verdict(name, "hurts", BAD) for name in "uv"),
        *(verdict(name, "undecided", OPEN) for name in "st"),
    ]
    assert answer(judged, "d") == "On d, u and v hurt. With 10 seeds, s and t are undecided."
    lost = replace(
        verdict("w", "hurts", versus(math.nan, math.nan, math.nan, 0)),
        equal_failures=Failures(runs=10, lost=10),
        failed=10,
        seeds=0,
    )
    assert (
        answer([lost, verdict("s", "undecided", OPEN)], "d")
        == "On d, w failed. With 10 seeds, s is undecided."
    )
    assert answer([fixed, verdict("s", "no difference", SAME)], "d") == (
        "On d, s lies within 2 % of equal weights. With 10 seeds, the best fixed weights are undecided."
    )


def test_a_lead_without_a_sweep_of_fixed_weights_is_told() -> None:
    """Breaks if a clear gain over equal weights reads as if more seeds were needed."""
    lead = replace(verdict("s", BETTER, versus(-0.5, -0.6, -0.4)), fixed="")
    assert answer([lead], "d") == (
        "Weights matter on d: s beats equal weights by more than 2 %. Whether fixed weights do as well was not tried."
    )


def test_static_weights_suffice_claims_no_more_than_was_shown() -> None:
    """Breaks if a method loses to fixed weights where only its twin or domination decided."""
    good = versus(-0.5, -0.6, -0.4)
    judged = [
        verdict("fixed a=2", BETTER, good, "fixed"),
        verdict("s", "static weights suffice", good),
    ]
    assert answer(judged, "d") == (
        "Weights matter on d, but static ones suffice: s and the best fixed weights beat equal weights by more than 2 %. "
        "No method was shown to beat constant weights by as much."
    )


def test_what_a_verdict_rests_on() -> None:
    """Breaks if a reader cannot tell split, epoch, seeds, margin and quantity."""
    judged = [verdict("s", "hurts", BAD), verdict("t", "hurts", versus(0.5, 0.3, 0.7, 8))]
    assert basis(judged, "d", "test", "final") == (
        "Test split, last epoch, 8 to 10 paired seeds; a difference below 2 % counts as none. "
        "Judged by mean relative loss. Validation chose everything."
    )
    assert basis(judged[:1], "d", "val", "best").startswith(
        "Validation split, best epoch, 10 paired seeds; "
    )
    assert basis([], "d", "test", "final") == ""


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
