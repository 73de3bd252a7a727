"""The answer for a data set: what was shown, and nothing more."""

from __future__ import annotations

import math
from dataclasses import replace

from mtl_runner.results.statistics.failures import Failures
from mtl_runner.results.verdict.answers import answer, basis, tuning_words
from mtl_runner.results.verdict.verdict import BETTER
from tests.unit.results.evidence_builders import data_of, strategy
from tests.unit.results.verdict.made_verdicts import verdict, versus

OPEN = versus(0.01, -0.2, 0.3)
BAD = versus(0.5, 0.3, 0.7)
SAME = versus(0.001, -0.01, 0.01)


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
        "Test split, last epoch, 8 to 10 paired seeds on one split of the data; a difference below 2 % counts as none. "
        "Judged by mean relative loss. Validation chose everything."
    )
    assert basis(judged[:1], "d", "val", "best").startswith(
        "Validation split, best epoch, 10 paired seeds on one split of the data; "
    )
    several = basis(judged[:1], "d", "test", "final", splits=10)
    assert several.startswith(
        "Test split, last epoch, 10 paired seeds over 10 splits of the data; "
    )
    assert basis([], "d", "test", "final") == ""


def test_a_study_says_how_far_learning_rates_move_results_beside_seeds() -> None:
    """Breaks if a reader cannot see that sparser tuning would have mattered more than seeds."""
    rates = [10 ** (-4 + i / 3) for i in range(7)]
    tuning = dict(zip(rates, (0.9, 0.8, 0.7, 0.5, 0.6, 0.8, 0.9), strict=True))
    monitors = {"seed=0": 0.49, "seed=1": 0.50, "seed=2": 0.51}
    tuned = [
        strategy(name, role, tuning=tuning, best_monitor=monitors)
        for name, role in (("equal", "equal"), ("dwa", "strategy"))
    ]
    assert tuning_words(data_of(*tuned)) == (
        "Tuning: which learning rates are tried, one per decade, moves the monitor by 20 %, seeds by 2 % "
        "(standard deviations, medians over 2 strategies)."
    )
    assert tuning_words(data_of(strategy("equal", "equal"))) == ""
