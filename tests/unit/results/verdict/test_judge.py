"""The verdict rules on evidence made by hand: each kind, its borders, and what is missing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtl_runner.results.records.evidence import Evidence, StrategyEvidence
from mtl_runner.results.statistics.differences import TaskEffect
from mtl_runner.results.statistics.moderated import moderated_exceedance, variance_prior
from mtl_runner.results.statistics.paired import Paired, holm
from mtl_runner.results.verdict.answers import answer, hardly_explained, missing
from mtl_runner.results.verdict.judge import decide, verdicts
from mtl_runner.results.verdict.verdict import Verdict
from tests.support.builders import QUICK
from tests.unit.results.evidence_builders import data_of, evidence_of, strategy

EQUAL = strategy("fixed", "equal")
SWEEP = (strategy("fixed, a=2", "fixed", (-6, 4)), strategy("fixed, a=.5", "fixed", (5, -4)))


def judge(*strategies: StrategyEvidence, of: str = "s", margin: float = 0.02) -> Verdict:
    """Return the verdict on one of the strategies."""
    return next(v for v in verdicts(evidence_of(*strategies), margin) if v.strategy == of)


# The quantity


@QUICK
@given(factor=st.floats(1e-3, 1e3))
def test_the_unit_of_a_task_does_not_matter(factor: float) -> None:
    """Breaks if a task in millimetres outweighs one in metres."""

    def scaled(s: StrategyEvidence) -> StrategyEvidence:
        return replace(
            s,
            values={
                r: {**v, "a": {m: factor * x for m, x in v["a"].items()}}
                for r, v in s.values.items()
            },
        )

    s = strategy("s", "strategy", (4, -7))
    before, after = judge(EQUAL, s), judge(scaled(EQUAL), scaled(s))
    assert after.kind == before.kind
    assert after.versus_equal is not None
    assert before.versus_equal is not None
    assert after.versus_equal.mean == pytest.approx(before.versus_equal.mean)
    assert after.p_better == pytest.approx(before.p_better)


# The kinds


def test_no_difference_within_the_margin() -> None:
    """Breaks if a difference of no interest is called a gain or a loss, however sure it is."""
    for change in (0, 1, -1, 1.5, -1.5):
        verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", change))
        assert verdict.kind == "no difference"
        assert "s makes no difference: " in verdict.sentence
        assert "within ±2 %" in verdict.sentence


def test_helps_beyond_equal_and_the_best_fixed_weights() -> None:
    """Breaks if a real gain over every constant is not seen."""
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", -9))
    assert verdict.kind == "helps"
    assert verdict.fixed == "fixed, a=2"  # by its monitor
    assert verdict.sentence.startswith("s helps: 9 % better than equal weights (95 % interval: 8.8")
    assert "better than the best fixed weights (" in verdict.sentence
    assert verdict.sentence.endswith("8 seeds.")


def test_static_weights_suffice_if_the_best_fixed_ones_do_as_well() -> None:
    """Breaks if a method gets credit for what tuned constants give too."""
    verdict = judge(EQUAL, strategy("f", "fixed", -8), strategy("s", "strategy", -9))
    assert verdict.kind == "static weights suffice"
    assert verdict.sentence.startswith(
        "s helps, but static weights suffice: 9 % better than equal weights"
    )


def test_static_weights_suffice_only_where_it_was_shown() -> None:
    """Breaks if whatever was not shown to be better than constants is said to be no better."""
    noisy = replace(strategy("f", "fixed", -5, noise=20), monitor={"seed=0": 0.5})
    verdict = judge(EQUAL, noisy, strategy("s", "strategy", -9))
    assert verdict.versus_fixed is not None
    assert verdict.versus_fixed.low < -0.02 < verdict.versus_fixed.high
    assert verdict.kind == "better than equal weights"
    assert verdict.sentence.startswith(
        "s beats equal weights, undecided against fixed ones: 9 % better than equal weights ("
    )


def test_static_weights_suffice_if_the_frozen_twin_does_as_well() -> None:
    """Breaks if the twin, the method's own average as constants, is not asked."""
    twin = strategy("s, frozen", "twin", -8.5, twin_of="s")
    strategies = (EQUAL, *SWEEP, strategy("s", "strategy", -9), strategy("other", "strategy", -9))
    assert judge(*strategies, twin).kind == "static weights suffice"
    assert "its frozen twin" in judge(*strategies, twin).sentence
    assert judge(*strategies, twin, of="other").kind == "helps"
    assert judge(*strategies, strategy("s, frozen", "twin", -4, twin_of="s")).kind == "helps"
    unsure = strategy("s, frozen", "twin", -7, twin_of="s", noise=20)
    assert judge(*strategies, unsure).kind == "better than equal weights"
    assert (
        judge(EQUAL, strategy("s", "strategy", -9), twin).kind == "static weights suffice"
    )  # no sweep needed for that


def test_equal_weights_may_be_the_best_fixed_ones() -> None:
    """Breaks if a sweep that has nothing better than equal weights counts as no sweep."""
    verdict = judge(EQUAL, strategy("f", "fixed", 4), strategy("s", "strategy", -9))
    assert (verdict.kind, verdict.fixed) == ("helps", "fixed")
    assert "no fixed weights did better than equal ones on validation" in verdict.sentence


def test_hurts_beyond_the_margin() -> None:
    """Breaks if a strategy that is clearly worse is not named."""
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", 5))
    assert verdict.kind == "hurts"
    assert "s hurts: 5 % worse than equal weights (95 % interval: 4.8" in verdict.sentence


def test_undecided_where_the_interval_crosses_the_margin() -> None:
    """Breaks if noise is taken for a result."""
    for change in (-2, 2, 3):
        verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", change, noise=20))
        assert verdict.kind == "undecided"
        assert verdict.sentence.startswith("s is undecided with 8 seeds: ")


def test_the_best_fixed_weights_show_at_best_that_they_beat_equal_ones() -> None:
    """Breaks if constants that beat equal weights go unsaid, or count as a method."""
    best = strategy("f", "fixed", -40)
    judged = verdicts(
        evidence_of(EQUAL, best, strategy("g", "fixed", 3), strategy("s", "strategy", -20))
    )
    assert {v.strategy: v.kind for v in judged} == {
        "f": "better than equal weights",
        "s": "static weights suffice",
    }
    assert judged[0].sentence.startswith("f (the best fixed weights) beat equal weights: ")
    assert "40 % better than equal weights" in judged[0].sentence


BORDERS = [
    (-0.02, 0.02, "no difference"),
    (-0.0200001, 0.0, "undecided"),
    (0.0, 0.0200001, "undecided"),
    (-0.05, -0.02, "undecided"),
    (-0.05, -0.0200001, "helps"),
    (0.02, 0.05, "undecided"),
    (0.0200001, 0.05, "hurts"),
    (0.0, 0.0, "no difference"),
]


@pytest.mark.parametrize(("low", "high", "kind"), BORDERS)
def test_the_borders(low: float, high: float, kind: str) -> None:
    """Breaks if an interval that only touches the margin counts as beyond it."""
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", -9))
    edge = Paired((low + high) / 2, low, high, 8, 0.01, low90=low, high90=high)
    p_hurts = 0.05 if low > 0.02 else 0.051
    assert decide(replace(verdict, versus_equal=edge, p_hurts=p_hurts)) == kind
    if kind == "helps":
        verdict = replace(verdict, versus_equal=edge, p_static=0.05)
        for against in ("versus_fixed", "versus_twin"):
            touching = {against: replace(edge, high=-0.02)}
            assert decide(replace(verdict, **touching)) == "better than equal weights"
            touching = {against: replace(edge, low=-0.02, high=0.0)}
            assert decide(replace(verdict, **touching)) == "better than equal weights"
            shown = {against: replace(edge, low=-0.0199999, high=0.0)}
            assert decide(replace(verdict, **shown)) == "static weights suffice"
        for p_value, other in (("p_helps", "better than equal weights"), ("p_better", "undecided")):
            assert decide(replace(verdict, **{p_value: 0.05})) == "helps"
            assert decide(replace(verdict, **{p_value: 0.051})) == other


@QUICK
@given(change=st.floats(-30, 30), noise=st.floats(0, 30), margin=st.floats(0.001, 0.1))
def test_verdicts_agree_with_their_intervals(change: float, noise: float, margin: float) -> None:
    """Breaks if difference, noise and margin give a kind that its own interval contradicts."""
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", change, noise=noise), margin=margin)
    assert verdict.versus_equal is not None
    low, high = verdict.versus_equal.low, verdict.versus_equal.high
    within = -margin <= verdict.versus_equal.low90 and verdict.versus_equal.high90 <= margin
    expected = {
        "no difference": within,
        "hurts": low > margin,
        "helps": high < -margin,
        "static weights suffice": high < -margin,
        "better than equal weights": high < -margin,
        "undecided": low <= margin and high >= -margin and not within,
    }
    assert expected[verdict.kind]


# What is missing


def test_without_a_fixed_weight_sweep_nothing_helps() -> None:
    """Breaks if a method is praised that nobody held against tuned constants."""
    verdict = judge(EQUAL, strategy("s", "strategy", -9))
    assert verdict.kind == "better than equal weights"
    assert verdict.sentence.startswith("s beats equal weights, not compared with fixed ones: ")
    assert (
        "without a fixed-weight sweep nobody knows whether static weights suffice"
        in verdict.sentence
    )
    assert missing(data_of(EQUAL, strategy("s", "strategy")))[0].startswith(
        "No fixed-weight sweep: "
    )


def test_without_equal_weights_there_is_no_verdict() -> None:
    """Breaks if a missing baseline crashes the comparison, or another strategy takes its place."""
    s = strategy("s", "strategy", -9)
    verdict = judge(*SWEEP, s)
    assert (verdict.kind, verdict.versus_equal, verdict.equal) == ("undecided", None, "")
    assert verdict.sentence.startswith(
        "s is undecided with 8 seeds: there are no equal weights to compare with; "
    )
    assert (
        missing(data_of(s))[0]
        == "No verdict: add weighting=fixed to the sweep for the equal-weight baseline."
    )


def test_equal_weights_that_did_not_finish_say_why() -> None:
    """Breaks if a baseline that was in the sweep and failed is asked for."""

    def line(**fields: Any) -> str:
        equal = strategy("fixed", "equal", seeds=2, failed=[0, 1], **fields)
        return missing(data_of(strategy("s", "strategy", -9), equal))[0]

    start = "No verdict: no run with equal weights finished"
    refused = {"seed=0": "It needs 3 tasks; found 2."}
    assert line() == f"{start}; 2 runs failed: diverged."
    assert (
        line(failures={}, refused=refused) == f"{start}; 1 run failed: It needs 3 tasks; found 2."
    )
    assert line(failures={}, unfinished=("seed=0",)) == f"{start}."


def test_a_search_alone_has_no_baselines() -> None:
    """Breaks if a search is told to add equal weights to a sweep that cannot have them."""
    best = replace(strategy("fixed (search)", "fixed", seeds=1), tuning={0.01: 0.5})
    assert missing(data_of(best)) == [
        "No verdict: a search compares nothing; train its best weights and other strategies with the same fresh seeds, and give mtl-compare both directories."
    ]
    assert missing(data_of(best, EQUAL))[0].startswith("No delta-m: ")


def test_one_seed_decides_nothing() -> None:
    """Breaks if one lucky run is a result."""
    strategies = (
        strategy("fixed", "equal", seeds=1),
        strategy("f", "fixed", seeds=1),
        strategy("s", "strategy", -50, seeds=1),
    )
    verdict = judge(*strategies)
    assert verdict.kind == "undecided"
    assert verdict.sentence.startswith("s is undecided with 1 seed: ")
    assert "one pair, no interval)" in verdict.sentence
    assert "One seed says nothing about chance: add seed=range(0,10)." in missing(
        data_of(*strategies)
    )


@pytest.mark.parametrize("change", [0, -9, 9])
def test_two_seeds_settle_nothing(change: float) -> None:
    """Breaks if two runs that agree are enough to say that a method makes no difference."""

    def exactly(name: str, role: str, by: float, seeds: int) -> StrategyEvidence:
        return strategy(name, role, by, seeds=seeds, noise=0.01)

    few = judge(exactly("fixed", "equal", 0, 2), exactly("s", "strategy", change, 2))
    assert few.kind == "undecided"
    assert "fewer than 3 seeds settle nothing" in few.sentence
    enough = judge(exactly("fixed", "equal", 0, 3), exactly("s", "strategy", change, 3))
    assert enough.kind != "undecided"
    assert "2 seeds say too little about chance: add seed=range(0,10)." in missing(
        data_of(exactly("fixed", "equal", 0, 2), exactly("s", "strategy", change, 2))
    )


def test_a_method_that_cannot_run_on_the_problem_is_not_applicable() -> None:
    """Breaks if a method that needs three tasks hurts a problem of two, or a typing error does."""
    why = {f"seed={i}": "It needs at least 3 tasks; found 2." for i in range(8)}
    krum = strategy("krum", "strategy", failed=range(8), failures={}, refused=why)
    verdict = judge(EQUAL, krum, strategy("s", "strategy", -9), of="krum")
    assert verdict.kind == "not applicable"
    assert verdict.sentence == "krum is not applicable here: It needs at least 3 tasks; found 2."
    assert math.isnan(verdict.p_hurts)  # no hypothesis that the others are corrected for
    judged = verdicts(evidence_of(EQUAL, krum, strategy("s", "strategy", 9)), 0.02)
    assert answer(judged, "d") == "No strategy helps on d: s hurts. krum is not applicable."
    typo = strategy("s", "strategy", -9, failed=[3], failures={}, refused={"seed=3": "No seed."})
    partly = judge(EQUAL, typo)
    assert (partly.kind, partly.refused, partly.lost) == ("better than equal weights", 1, 0)
    assert "1 not run (No seed)" in partly.sentence
    given_up = strategy("t", "strategy", failed=range(8), failures={}, refused=why, trials=8)
    assert judge(EQUAL, given_up, of="t").kind == "not applicable"


def test_other_seeds_are_no_pairs() -> None:
    """Breaks if runs of different seeds are paired by their order."""
    s = strategy("s", "strategy", -9)
    verdict = judge(
        EQUAL, replace(s, values={f"seed={10 + i}": v for i, v in enumerate(s.values.values())})
    )
    assert verdict.kind == "undecided"
    assert "no run has a finished pair with equal weights on the same seed" in verdict.sentence


def test_a_failed_run_is_the_worst_result_not_a_missing_one() -> None:
    """Breaks if a strategy that diverges now and then is judged by its survivors."""
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", -9, failed=[3]))
    assert (verdict.kind, verdict.failed, verdict.lost) == ("undecided", 1, 1)
    assert "1 of 8 runs failed" in verdict.sentence
    assert judge(EQUAL, *SWEEP, strategy("s", "strategy", 0, failed=[3])).kind == "undecided"
    assert judge(EQUAL, *SWEEP, strategy("s", "strategy", 9, failed=[3])).kind == "hurts"


@pytest.mark.parametrize(("failed", "kind"), [(5, "undecided"), (6, "hurts"), (8, "hurts")])
def test_failures_are_compared_by_a_sign_test(failed: int, kind: str) -> None:
    """Breaks if divergence that may be chance hurts, or a method that always diverges does not."""
    verdict = judge(EQUAL, strategy("s", "strategy", -9, failed=range(failed)))
    assert (verdict.kind, verdict.lost) == (kind, failed)
    assert verdict.p_hurts == 2 / 2**failed
    assert (
        f"with {failed} seeds it alone failed, with 0 equal weights alone (sign test: p "
        in verdict.sentence
    )


def test_what_fails_is_told_by_its_failures() -> None:
    """Breaks if a method that hurts by its failures reads as better, or chance is blamed for them."""
    hurts = judge(EQUAL, strategy("s", "strategy", -9, failed=range(6)))
    assert hurts.sentence.startswith("s hurts: 6 of 8 runs failed; with 6 seeds it alone failed, ")
    assert "seeds it alone failed" not in hurts.sentence.split("; ", 2)[2]
    ahead = judge(EQUAL, strategy("s", "strategy", -9, failed=range(4)))
    assert (ahead.kind, ahead.p_better < 0.05) == ("undecided", True)
    assert "4 of 8 runs failed" in ahead.sentence
    assert "not sure enough" not in ahead.sentence
    worse = judge(EQUAL, strategy("s", "strategy", 9, failed=[3]))
    assert worse.sentence.startswith("s hurts: 9")


def test_hurts_is_corrected_for_the_number_of_strategies() -> None:
    """Breaks if twenty methods have twenty chances to hurt."""
    worse = strategy("s", "strategy", 3, noise=4.5)
    alone = judge(EQUAL, worse)
    assert alone.versus_equal is not None
    assert (alone.kind, alone.versus_equal.low > 0.02) == ("hurts", True)
    many = [strategy(f"t{i}", "strategy", 0) for i in range(20)]
    verdict = judge(EQUAL, worse, *many)
    assert verdict.kind == "undecided"
    assert "not sure enough among 21 strategies" in verdict.sentence


def test_a_seed_that_equal_and_fixed_weights_failed_too_is_no_loss() -> None:
    """Breaks if a method pays for data on which everything diverges."""
    equal = strategy("fixed", "equal", failed=[3])
    sweep = strategy("fixed, a=2", "fixed", -1, failed=[3])
    s = strategy("s", "strategy", -9, failed=[3])
    verdict = judge(equal, sweep, s)
    assert (verdict.kind, verdict.failed, verdict.lost) == ("helps", 1, 0)
    assert "; 1 of 8 runs failed; equal weights failed in 1 of 8 runs; " in verdict.sentence
    assert "the best fixed weights failed in 1 of 8 runs" in verdict.sentence
    assert judge(equal, *SWEEP, s).kind == "better than equal weights"  # fixed ones finished it


def test_constants_that_fail_more_often_do_not_suffice() -> None:
    """Breaks if constants that lose seeds are as good as a method that finishes them."""
    fixed = strategy("f", "fixed", -9, failed=[3])
    assert judge(EQUAL, fixed, strategy("s", "strategy", -9)).kind == "better than equal weights"


def test_survivors_are_no_best_fixed_weights() -> None:
    """Breaks if two lucky runs of weights that diverge in six turn a right verdict into a wrong."""
    survivors = strategy("f", "fixed", -9, failed=range(6))
    verdict = judge(EQUAL, *SWEEP, survivors, strategy("s", "strategy", -9))
    assert (verdict.kind, verdict.fixed) == ("helps", "fixed, a=2")
    only = missing(data_of(EQUAL, survivors, strategy("s", "strategy")))
    assert only[0] == "Less than 80 % of the runs finished, so not compared with: f."


def test_survivors_are_no_equal_weights_and_no_twin() -> None:
    """Breaks if losses are compared with those of equal weights or a twin that mostly diverge."""
    equal = strategy("fixed", "equal", failed=range(6))
    verdict = judge(equal, *SWEEP, strategy("s", "strategy", 9))
    assert verdict.kind == "undecided"
    few = "equal weights failed in 6 of 8 runs, too many to compare with the others"
    assert few in verdict.sentence
    twin = strategy("s, frozen", "twin", -9, twin_of="s", failed=range(6))
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", -9), twin)
    assert (verdict.kind, verdict.versus_twin) == ("helps", None)
    assert "its frozen twin failed in 6 of 8 runs, too many" in verdict.sentence


def test_several_settings_of_equal_weights_are_each_its_own_baseline() -> None:
    """Breaks if a strategy is compared with equal weights at another learning rate."""
    low, high = (("optimizer.lr", "0.01"),), (("optimizer.lr", "0.1"),)
    strategies = (
        strategy("equal, lr=.01", "equal", -20, settings=low),
        strategy("equal, lr=.1", "equal", 0, settings=high),
        strategy("f, lr=.01", "fixed", -29, settings=low),
        strategy("f, lr=.1", "fixed", -1, settings=high),
        strategy("s, lr=.1", "strategy", -9, settings=high),
        strategy("s, lr=1", "strategy", -9, settings=(("optimizer.lr", "1"),)),
    )
    verdict = judge(*strategies, of="s, lr=.1")
    assert (verdict.kind, verdict.equal, verdict.fixed) == ("helps", "equal, lr=.1", "f, lr=.1")
    assert judge(*strategies, of="f, lr=.01").equal == "equal, lr=.01"
    assert judge(*strategies, of="s, lr=1").versus_equal is None
    lines = missing(data_of(*strategies))
    assert lines[0].startswith("Equal weights were trained at several settings: ")
    assert lines[1] == (
        "No verdict on s, lr=1: no run with equal weights finished at the same settings."
    )


def test_an_unfinished_run_only_lowers_the_number_of_seeds() -> None:
    """Breaks if a sweep that was interrupted condemns a strategy."""
    verdict = judge(EQUAL, *SWEEP, strategy("s", "strategy", -9, seeds=7, unfinished=("seed=7",)))
    assert verdict.kind == "helps"
    assert "1 not finished; 7 seeds." in verdict.sentence


def test_a_strategy_that_a_study_gave_up_hurts() -> None:
    """Breaks if a method of which every trial diverges is not judged, or is only undecided."""
    five = {f"{i}_x": "The loss became nan in epoch 1." for i in range(5)}
    lost = strategy("gradnorm", "strategy", seeds=0, failures=five, trials=5)
    verdict = judge(EQUAL, *SWEEP, lost, of="gradnorm")
    assert (verdict.kind, verdict.failed, verdict.lost, verdict.seeds) == ("hurts", 5, 5, 0)
    assert (
        verdict.sentence
        == "gradnorm failed: none of its 5 trials finished (The loss became nan in epoch 1)."
    )
    assert "gradnorm failed" in answer(verdicts(evidence_of(EQUAL, lost)), "d")
    killed = strategy("gradnorm", "strategy", seeds=0, unfinished=("0_x",), trials=1)
    assert judge(EQUAL, killed, of="gradnorm").kind == "undecided"
    assert judge(*SWEEP, lost, of="gradnorm").kind == "undecided"


def test_every_data_set_has_the_margin_of_its_study() -> None:
    """Breaks if the margin of one study judges another one, or outweighs the user's."""
    sets = [
        replace(data_of(EQUAL, strategy("s", "strategy", 5)), name=n, margin=m)
        for n, m in (("x", 0.1), ("y", None))
    ]
    evidence = Evidence("final", "test", tuple(sets))
    assert [(v.margin, v.kind) for v in verdicts(evidence)] == [
        (0.1, "no difference"),
        (0.02, "hurts"),
    ]
    assert {v.margin for v in verdicts(evidence, 0.03)} == {0.03}


# The numbers beside it


def test_the_effect_on_every_task_stands_beside_the_verdict() -> None:
    """Breaks if one task pays for another and the verdict does not tell."""
    verdict = judge(EQUAL, strategy("s", "strategy", (-20, 10), seeds=7, noise=0))
    # The seeds that both have.
    mean = sum(EQUAL.values[f"seed={i}"]["a"]["rmse"] for i in range(7)) / 7
    assert verdict.effects == (
        TaskEffect("a", "rmse", pytest.approx(mean), pytest.approx(0.8 * mean)),
        TaskEffect("b", "rmse", pytest.approx(10 * mean), pytest.approx(11 * mean)),
    )
    assert verdict.quantity == "mean relative loss"
    assert judge(*SWEEP, strategy("s", "strategy")).effects == ()


def test_p_values_are_those_of_t_tests_at_the_margin_corrected_over_the_strategies() -> None:
    """Breaks if ten strategies have ten chances at .05, or the points of the sweep count too."""
    members = (EQUAL, *SWEEP, strategy("s", "strategy", -9), strategy("t", "strategy", -2.5))
    judged = {v.strategy: v for v in verdicts(evidence_of(*members))}
    assert list(judged) == ["fixed, a=2", "s", "t"]

    def log_ratios(s: StrategyEvidence, reference: StrategyEvidence) -> list[float]:
        return [math.log(s.relative_loss[r] / reference.relative_loss[r]) for r in s.values]

    def raw(s: StrategyEvidence, reference: StrategyEvidence) -> float:
        border = math.log1p(-0.02)
        test = stats.ttest_1samp(log_ratios(s, reference), border, alternative="less")
        return float(test.pvalue)

    fixed, s, t = members[1], members[3], members[4]
    # Of a strategy beside equal weights with the variance that the others inform.
    prior = variance_prior([log_ratios(x, EQUAL) for x in (fixed, s, t)])

    def versus_equal(x: StrategyEvidence) -> float:
        return moderated_exceedance([-r for r in log_ratios(x, EQUAL)], -math.log1p(-0.02), prior)

    # Of three fixed weights, equal ones included, the judged runs chose the best.
    p_values = [min(1.0, 3 * versus_equal(fixed)), versus_equal(s), versus_equal(t)]
    assert [v.p_better for v in judged.values()] == pytest.approx(holm(p_values))
    helps = [max(versus_equal(x), raw(x, fixed)) for x in (s, t)]
    assert [judged["s"].p_helps, judged["t"].p_helps] == pytest.approx(holm(helps))
    no_better = stats.ttest_1samp(log_ratios(t, fixed), math.log1p(-0.02), alternative="greater")
    raw_static = max(versus_equal(t), float(no_better.pvalue))
    assert judged["t"].p_static <= min(1.0, 2 * raw_static) + 1e-12
    assert {v.family for v in judged.values()} == {3}


def test_a_gain_is_corrected_for_the_number_of_strategies() -> None:
    """Breaks if twenty methods have twenty chances to help."""
    good = strategy("s", "strategy", -5, noise=12)
    alone = judge(EQUAL, good)
    assert alone.versus_equal is not None
    assert (alone.kind, alone.versus_equal.high < -0.02) == ("better than equal weights", True)
    verdict = judge(EQUAL, good, *[strategy(f"t{i}", "strategy", 0) for i in range(20)])
    assert (verdict.kind, verdict.p_better > 0.05) == ("undecided", True)
    assert "not sure enough among 21 strategies" in verdict.sentence


def test_fixed_weights_chosen_by_the_judged_runs_pay_for_the_choice() -> None:
    """Breaks if the luckiest of twelve constants is called better, or a study's choice pays too."""
    lucky = strategy("f", "fixed", -5, noise=12)
    others = [strategy(f"g{i}", "fixed", 30) for i in range(11)]
    assert judge(EQUAL, lucky, of="f").kind == "better than equal weights"
    chosen = judge(EQUAL, lucky, *others, of="f")
    assert (chosen.kind, chosen.p_better > 0.05) == ("undecided", True)
    tuned = [replace(s, tuned=1.0 + i) for i, s in enumerate([lucky, EQUAL, *others])]
    assert judge(*tuned, of="f").kind == "better than equal weights"


def test_a_study_chooses_the_best_fixed_weights_by_its_tuning() -> None:
    """Breaks if the weights that are luckiest in the judged runs are the reference."""
    f = replace(strategy("f", "fixed", -9), tuned=0.7)
    g = replace(strategy("g", "fixed", 3), tuned=0.6)
    s = strategy("s", "strategy", -9)
    assert judge(replace(EQUAL, tuned=0.8), f, g, s).fixed == "g"
    assert judge(EQUAL, f, g, s).fixed == "f"  # equal weights were not tuned: no study


def test_no_difference_is_shown_by_two_one_sided_tests() -> None:
    """Breaks if equivalence asks for a 95 % interval, or is said of a 90 % one that crosses."""
    verdict = judge(EQUAL, strategy("s", "strategy", 1.5, noise=3))
    equal = verdict.versus_equal
    assert equal is not None
    assert equal.low90 > equal.low
    assert equal.high90 < 0.02 < equal.high
    assert verdict.kind == "no difference"
    assert "(90 % interval: " in verdict.sentence
    crossing = replace(verdict, versus_equal=replace(equal, high90=0.0200001))
    assert decide(crossing) == "undecided"


@QUICK
@given(changes=st.lists(st.floats(-12, 12), min_size=1, max_size=6), noise=st.floats(0.5, 20))
def test_no_claim_stands_beside_a_large_p_value(changes: list[float], noise: float) -> None:
    """Breaks if "helps" or "hurts" can stand beside a corrected p-value above .05."""
    members = [strategy(f"s{i}", "strategy", c, noise=noise) for i, c in enumerate(changes)]
    for v in verdicts(evidence_of(EQUAL, *SWEEP, *members)):
        p = {
            "helps": v.p_helps,
            "static weights suffice": v.p_static,
            "better than equal weights": v.p_better,
            "hurts": v.p_hurts,
        }.get(v.kind, 0.0)
        assert p <= 0.05


def test_delta_m_is_taken_of_the_best_single_task_runs_of_each_task() -> None:
    """Breaks if delta-m has another reference than tuned single-task training."""
    first = strategy(
        "single, lr=1", "single_task", (0, 50), validation={"seed=0": {"a": 1.0, "b": 3.0}}
    )
    second = strategy(
        "single, lr=2", "single_task", (50, 0), validation={"seed=0": {"a": 3.0, "b": 1.0}}
    )
    verdict = judge(EQUAL, first, second, strategy("s", "strategy", (10, 20)))
    assert verdict.delta_m == pytest.approx(15, abs=0.3)
    assert verdict.delta_m_task == pytest.approx(15, abs=0.3)
    assert math.isnan(judge(EQUAL, strategy("s", "strategy")).delta_m)
    assert (
        "No delta-m: add weighting=single_task to the sweep for the single-task baseline."
        in missing(data_of(EQUAL))
    )


def test_spread_and_cost_stand_beside_the_verdict() -> None:
    """Breaks if the spread of sparse learning-rate grids or the cost of a method is lost."""
    rates = [1e-4, 2.15e-4, 4.64e-4, 1e-3, 2.15e-3, 4.64e-3, 1e-2]
    tuning = dict(zip(rates, [0.9, 0.8, 0.7, 0.5, 0.6, 0.8, 0.9], strict=True))
    verdict = judge(
        EQUAL,
        strategy(
            "s",
            "strategy",
            5,
            tuning=tuning,
            seconds={"seed=0": 1.0, "seed=1": 3.0},
            backward_passes=2.0,
        ),
    )
    assert verdict.spread.grids == pytest.approx(0.1)  # of .5, .6, .7
    assert verdict.spread.seeds == 0
    assert (verdict.seconds, verdict.backward_passes) == (2.0, 2.0)
    assert math.isnan(
        judge(EQUAL, strategy("s", "strategy", 5, tuning={1e-3: 0.5, 1e-2: 0.4})).spread.grids
    )


def test_a_task_that_outweighs_the_others_is_told() -> None:
    """Breaks if a method that halves one loss is called worse for another task without a word."""
    s = strategy("s", "strategy", (-50, 120))  # relative losses .25 and 1.1 where both are .5
    judged = verdicts(evidence_of(EQUAL, strategy("f", "fixed", 3), s))
    verdict = judged[-1]
    assert (verdict.kind, verdict.tasks_better, verdict.tasks) == ("hurts", 1, 2)
    assert verdict.geometric is not None
    assert verdict.geometric.mean == pytest.approx(math.sqrt(0.5 * 2.2) - 1, abs=1e-3)
    assert not verdict.criteria_disagree  # both say worse
    t = strategy("t", "strategy", (-70, 80))
    disagreeing = judge(EQUAL, t, of="t")
    assert (disagreeing.kind, disagreeing.criteria_disagree) == ("hurts", True)
    assert (
        "; by the geometric mean over tasks 27 % better than equal weights (95 % interval: "
        in disagreeing.sentence
    )
    assert ", and better in 1 of 2 tasks; " in disagreeing.sentence
    assert "The criteria disagree on t: the geometric mean over tasks" in answer([disagreeing], "d")
    undecided = replace(disagreeing, kind="undecided")
    assert not undecided.criteria_disagree


def test_an_optimizer_is_not_called_a_weighting() -> None:
    """Breaks if the gain of an Adam per task is taken for one of weights."""
    adam = strategy("per_task_adam", "strategy", -9, is_optimizer=True)
    words = "it is an optimizer for every task, and no weighting"
    assert words in judge(EQUAL, adam, of="per_task_adam").sentence
    assert words not in judge(EQUAL, strategy("s", "strategy", -9)).sentence
    idle = strategy("per_task_adam", "strategy", 0, is_optimizer=True)
    assert words not in judge(EQUAL, idle, of="per_task_adam").sentence


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (0.5, ""),
        (0.9, "a mean relative loss of 0.9, where 1 is the trivial predictor: a margin of 2 % is 18 % of what is explained."),
        (1.1, "Equal weights are no better than the trivial predictor"),
    ],
)  # fmt: skip
def test_a_margin_that_hides_what_is_explained_is_told(loss: float, words: str) -> None:
    """Breaks if 2 % of the loss is called nothing where all methods explain a tenth of it."""
    equal = replace(EQUAL, relative_loss=dict.fromkeys(EQUAL.values, loss))
    line = hardly_explained(data_of(equal, strategy("s", "strategy")), 0.02)
    assert words in line
    assert bool(words) == bool(line)


# The answer


def test_the_answer_for_a_data_set() -> None:
    """Breaks if the first sentence of a report contradicts its verdicts."""

    def answer_on(*strategies: StrategyEvidence) -> str:
        return answer(verdicts(evidence_of(EQUAL, *strategies)), "d")

    good, same, bad = (
        strategy("s", "strategy", -9),
        strategy("t", "strategy", 0),
        strategy("u", "strategy", 9),
    )
    fair = strategy("f", "fixed", -1)
    assert (
        answer_on(fair, good, same)
        == "Weighting matters on d: s beats equal and the best fixed weights by more than 2 %."
    )
    assert answer_on(strategy("f", "fixed", -9), good).startswith(
        "Weights matter on d, but static ones suffice: s and the best fixed weights beat equal weights"
    )
    assert answer_on(good) == (
        "Weights matter on d: s beats equal weights by more than 2 %. Whether fixed weights do as well was not tried."
    )
    unsure = replace(strategy("f", "fixed", -5, noise=20), monitor={"seed=0": 0.5})
    assert answer_on(unsure, good) == (
        "Weights matter on d: s beats equal weights by more than 2 %. No method was shown to beat constant weights by as much. "
        "Whether constant weights do as well as a method is undecided."
    )
    assert answer_on(strategy("f", "fixed", -9), same) == (
        "Weights matter on d: the best fixed weights beat equal weights by more than 2 %. No method was shown to beat constant weights by as much."
    )
    assert answer_on(fair, same).startswith(
        "Weighting makes no difference on d: t and the best fixed weights lie within 2 %"
    )
    assert (
        answer_on(same, bad)
        == "No strategy helps on d: u hurts; t lies within 2 % of equal weights."
    )
    wild = strategy("v", "strategy", 0, noise=20)
    assert (
        answer_on(same, wild)
        == "On d, t lies within 2 % of equal weights. With 8 seeds, v is undecided."
    )
    assert (
        answer([], "d")
        == "No verdict on d: there are no equal weights, or nothing to compare with them."
    )
