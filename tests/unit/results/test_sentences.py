"""The words of verdicts: numbers that a reader takes in at once, and nothing claimed that was not shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mtl_runner.results.differences import TaskEffect
from mtl_runner.results.paired import Paired
from mtl_runner.results.sentences import answer, basis, describe, effects
from mtl_runner.results.spread import Spread
from mtl_runner.results.verdict import Verdict


def versus(mean: float, low: float, high: float, count: int = 10) -> Paired:
    return Paired(mean, low, high, count, 0.01, 0.02)


def verdict(strategy: str, kind: str, equal: Paired | None, role: str = "strategy") -> Verdict:
    return Verdict(
        data="d",
        strategy=strategy,
        role=role,
        kind=kind,
        sentence="",
        margin=0.02,
        equal="equal",
        fixed="fixed a=2",
        versus_equal=equal,
        versus_fixed=None,
        versus_twin=None,
        dominated=math.nan,
        seeds=10,
        failed=0,
        lost=0,
        unfinished=0,
        delta_m=math.nan,
        delta_m_task=math.nan,
        spread=Spread(math.nan, math.nan),
        seconds=1.0,
        backward_passes=1.0,
        quantity="mean relative loss",
    )


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
    """Breaks if an interval says `-17 to 32.9 %` better, a difference `225 % worse`, or none at all `1.99e-05 %`."""
    assert f": {words} p 0.01, 0.02 after Holm)" in describe(verdict("s", "undecided", equal))


def test_metrics_have_no_loss() -> None:
    """Breaks if a sentence names a loss where main metrics were compared."""
    found = replace(verdict("s", "hurts", versus(2.25, 1.3, 3.19)), quantity="main metrics")
    assert (
        "3.2 times the error of equal weights (95 % interval: 2.3 to 4.2 times the error;"
        in describe(found)
    )
    assert "Judged by the log ratios of the main metrics." in basis([found], "d", "val", "final")


def test_the_best_fixed_weights_are_named_once() -> None:
    """Breaks if every line repeats a long name."""
    assert describe(verdict("fixed a=2", "hurts", BAD, "fixed")).startswith(
        "fixed a=2 (the best fixed weights) hurt: 50 % worse"
    )
    line = describe(replace(verdict("s", "hurts", BAD), versus_fixed=versus(0.2, 0.1, 0.3)))
    assert "20 % worse than the best fixed weights (95 % interval: 10 to 30 % worse)" in line
    assert "a=2" not in line


def test_the_answer_tells_what_hurts_and_what_is_open() -> None:
    """Breaks if the answer says `failed` of what did not fail, counts fixed weights as a method, or hides how many seeds there are."""
    fixed = verdict("fixed a=2", "undecided", OPEN, "fixed")
    found = [
        fixed,
        *(verdict(name, "hurts", BAD) for name in "uv"),
        *(verdict(name, "undecided", OPEN) for name in "st"),
    ]
    assert answer(found, "d") == "On d, u and v hurt. With 10 seeds, s and t are undecided."
    lost = replace(
        verdict("w", "hurts", versus(math.nan, math.nan, math.nan, 0)), lost=10, failed=10, seeds=0
    )
    assert (
        answer([lost, verdict("s", "undecided", OPEN)], "d")
        == "On d, w failed. With 10 seeds, s is undecided."
    )
    assert answer([fixed, verdict("s", "no difference", SAME)], "d") == (
        "On d, s lies within 2 % of equal weights. With 10 seeds, the best fixed weights are undecided."
    )


def test_a_lead_without_a_sweep_of_fixed_weights_is_said() -> None:
    """Breaks if a clear gain over equal weights reads as if more seeds were needed."""
    lead = replace(verdict("s", "undecided", versus(-0.5, -0.6, -0.4)), fixed="")
    assert (
        answer([lead], "d")
        == "On d, s beats equal weights; whether fixed weights do as well was not tried."
    )


def test_static_weights_suffice_claims_no_more_than_was_shown() -> None:
    """Breaks if a method is said to lose to fixed weights where only its twin or domination decided."""
    good = versus(-0.5, -0.6, -0.4)
    found = [
        verdict("fixed a=2", "static weights suffice", good, "fixed"),
        verdict("s", "static weights suffice", good),
    ]
    assert answer(found, "d") == (
        "Weights matter on d, but static ones suffice: s and the best fixed weights beat equal weights by more than 2 %. "
        "No method was shown to beat constant weights by as much."
    )


def test_what_a_verdict_rests_on() -> None:
    """Breaks if a reader cannot tell split, epoch, seeds, margin and quantity."""
    found = [verdict("s", "hurts", BAD), verdict("t", "hurts", versus(0.5, 0.3, 0.7, 8))]
    assert basis(found, "d", "test", "final") == (
        "Test split, last epoch, 8 to 10 paired seeds; a difference below 2 % counts as none. "
        "Judged by mean relative loss. Validation chose everything."
    )
    assert basis(found[:1], "d", "val", "best").startswith(
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
    found = replace(verdict("s", "helps", BAD), effects=rows)
    assert effects(found) == "From equal weights: a accuracy 0.806 to 0.969, b rmse 4.34 to 10.4."
    assert effects(verdict("s", "helps", BAD)) == ""
