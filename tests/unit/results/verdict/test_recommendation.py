"""Which strategy to use: it follows from the verdicts, or names single-task training."""

from __future__ import annotations

import pytest

from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence
from mtl_runner.results.verdict.judge import verdicts
from mtl_runner.results.verdict.recommendation import (
    Recommendation,
    recommend,
    versus_single_task,
)
from tests.unit.results.evidence_builders import data_of, evidence_of, strategy

EQUAL = strategy("fixed", "equal")
SWEEP = (strategy("fixed, a=2", "fixed", -1), strategy("fixed, a=.5", "fixed", 5))


def advice(*strategies: StrategyEvidence) -> Recommendation:
    """Return the recommendation on a data set of these strategies."""
    data = data_of(*strategies)
    advice = recommend(data, verdicts(evidence_of(*strategies), 0.02))
    assert advice is not None
    return advice


def test_what_helps_is_named_with_how_much_and_how_sure() -> None:
    """Breaks if the first line of a report does not say what to use."""
    use = advice(EQUAL, *SWEEP, strategy("s", "strategy", -9), strategy("t", "strategy", -15))
    assert (use.strategy, use.lead) == ("t", "Use t.")
    assert use.gain.startswith("It is 15 % better than equal weights (95 % interval: ")
    assert " and 14 % better than the best fixed weights (" in use.gain
    assert use.certainty == (
        "Shown by 8 paired seeds: more than 2 % better than equal weights and than the best fixed weights."
    )
    assert use.sharing == (
        "Whether sharing a model is worth it was not tried: add weighting=single_task."
    )
    assert use.sentences.startswith("Use t. It is 15 %")


def test_where_static_weights_suffice_these_are_named() -> None:
    """Breaks if a method is recommended that constants do as well as."""
    use = advice(EQUAL, strategy("f", "fixed", -10), strategy("s", "strategy", -10.5))
    assert use.lead == "Use constant weights: f."
    assert use.certainty.endswith("No method was shown to do better.")


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        ((), "Whether constant weights do as well was not tried."),
        (
            (strategy("f", "fixed", -5, noise=30),),
            "Whether constant weights do as well is undecided.",
        ),
    ],
)
def test_what_is_open_against_constants_is_told(
    fixed: tuple[StrategyEvidence, ...], words: str
) -> None:
    """Breaks if a gain over equal weights reads as one over all constant weights."""
    use = advice(EQUAL, *fixed, strategy("s", "strategy", -9))
    assert use.lead == "Use s."
    assert use.certainty.endswith(words)


def test_where_nothing_differs_equal_weights_stay() -> None:
    """Breaks if the luckiest of many equals is recommended."""
    use = advice(EQUAL, strategy("s", "strategy", -0.5), strategy("t", "strategy", 0.5))
    assert use.lead == "Keep equal weights."
    assert use.gain == "All others lie within 2 % of them."
    assert use.certainty == "Shown by 8 paired seeds."
    worse = advice(EQUAL, strategy("s", "strategy", 0, noise=30))
    assert worse.certainty == "With 8 seeds, s is undecided."


def test_a_leader_that_is_undecided_is_named_as_such() -> None:
    """Breaks if two seeds crown a strategy, or a reader does not learn what to try next."""
    two = [strategy("fixed", "equal", seeds=2), strategy("s", "strategy", -9, seeds=2)]
    use = advice(*two)
    assert use.lead == "Keep equal weights."
    assert use.gain.startswith("s leads: 9 % better than equal weights")
    assert use.certainty == "Not decided: 2 seeds may be chance; try 10 seeds."
    fails = advice(EQUAL, strategy("s", "strategy", -9, failed=[1]))
    assert fails.certainty == "Not decided: it is ahead, but failed in 1 of 8 runs."


def test_equal_weights_that_fail_are_not_recommended() -> None:
    """Breaks if what diverges in every second run is kept since nothing is compared with it."""
    use = advice(strategy("fixed", "equal", failed=range(4)), strategy("s", "strategy", -9))
    assert use.lead == "No strategy can be named."
    assert "equal weights failed in 4 of 8 runs" in use.certainty


@pytest.mark.parametrize(
    ("change", "noise", "words"),
    [
        (20, 1, "Sharing a model is worth it: s is 24 % better than single-task training ("),
        (-9, 1, "Sharing a model costs nothing: s is "),
        (-9, 40, "Whether sharing a model is worth it is undecided: s is "),
    ],
)
def test_sharing_is_judged_beside_single_task_training(
    change: float, noise: float, words: str
) -> None:
    """Breaks if a reader does not learn whether one model for all tasks is worth it."""
    alone = strategy("single_task", "single_task", change, noise=noise)
    use = advice(EQUAL, strategy("s", "strategy", -9), alone)
    assert use.lead == "Use s."
    assert use.sharing.startswith(words)


def test_single_task_training_is_named_where_it_is_best() -> None:
    """Breaks if a sweep in which sharing hurts recommends the least bad way to share."""
    alone = strategy("single_task", "single_task", -30)
    use = advice(EQUAL, strategy("s", "strategy", -9), alone)
    assert (use.strategy, use.lead) == ("single_task", "Train each task by itself (single_task).")
    assert use.gain.startswith(
        "Sharing a model hurts here: s is 30 % worse than single-task training"
    )
    assert use.sharing == "Of what shares a model, use s."
    few = [
        strategy("fixed", "equal", seeds=2),
        strategy("single_task", "single_task", -30, seeds=2),
    ]
    kept = advice(*few, strategy("s", "strategy", 0, seeds=2))
    assert kept.lead == "Keep equal weights."
    assert kept.sharing.startswith(
        "Whether sharing a model is worth it is undecided with 2 seeds: "
    )


def test_of_several_learning_rates_the_best_equal_weights_count() -> None:
    """Breaks if a strategy is named because equal weights at its own bad rate are worse still."""
    slow, fast = (("optimizer.lr", "0.1"),), (("optimizer.lr", "0.01"),)
    use = advice(
        strategy("fixed, lr=.1", "equal", 50, settings=slow),
        strategy("fixed, lr=.01", "equal", 0, settings=fast),
        strategy("s, lr=.1", "strategy", 20, settings=slow),
    )
    assert use.lead == "Keep equal weights: fixed, lr=.01."
    assert use.certainty == "At another setting equal weights do better still."


def test_without_equal_weights_there_is_no_recommendation() -> None:
    """Breaks if a sweep without the baseline gets an answer that rests on nothing."""
    s = strategy("s", "strategy", -9)
    assert recommend(data_of(s), verdicts(evidence_of(s), 0.02)) is None


def test_single_task_runs_that_failed_are_no_baseline() -> None:
    """Breaks if sharing is compared with the survivors of single-task training."""
    alone = strategy("single_task", "single_task", failed=range(4))
    data: DatasetEvidence = data_of(EQUAL, alone)
    assert versus_single_task(data, EQUAL) is None
