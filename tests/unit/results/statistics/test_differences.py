"""The judged quantity: the log ratio of mean relative losses of paired runs, or of main metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.statistics.differences import (
    metric_differences,
    percentage,
    quantity,
    relative_changes,
    task_effects,
)
from mtl_runner.results.statistics.paired import Paired, paired, sign_flip
from tests.support.builders import QUICK
from tests.unit.results.evidence_builders import data_of, strategy

MIXED = {"a": "regression", "b": "classification"}


def pair(
    values: Mapping[str, Any], reference: Mapping[str, Any]
) -> tuple[StrategyEvidence, StrategyEvidence]:
    """Return a strategy and equal weights with these values."""
    return strategy("s", "strategy", values=values), strategy("fixed", "equal", values=reference)


def with_losses(*losses: tuple[float, float]) -> dict[str, Any]:
    """Return per seed the relative losses of two tasks, beside an rmse that tells the opposite."""
    return {
        f"seed={i}": {
            t: {"rmse": 1 / v, "loss": v, "relative_loss": v}
            for t, v in zip("ab", both, strict=True)
        }
        for i, both in enumerate(losses)
    }


def test_the_judged_number_is_the_log_ratio_of_mean_relative_losses() -> None:
    """Breaks if something else is judged than what was tuned for, or unpaired runs are compared."""
    s, equal = pair(
        with_losses((0.2, 0.4), (0.1, 0.1), (0.5, 0.5)), with_losses((0.3, 0.3), (0.1, 0.3))
    )
    data = data_of(equal, s)
    assert quantity(data) == "mean relative loss"
    assert relative_changes(data, s, equal) == pytest.approx(
        {"seed=0": 0.0, "seed=1": math.log(0.5)}, abs=1e-12
    )


@QUICK
@given(losses=st.lists(st.tuples(*[st.floats(1e-3, 10)] * 4), min_size=2, max_size=6))
def test_swapping_strategy_and_reference_changes_the_sign_alone(
    losses: list[tuple[float, float, float, float]],
) -> None:
    """Breaks if two strategies can both be worse than the other one."""
    s, equal = pair(
        with_losses(*[row[:2] for row in losses]), with_losses(*[row[2:] for row in losses])
    )
    for data in (
        data_of(equal, s),
        replace(data_of(equal, s), strategies=(replace(s, relative_loss={}), equal)),
    ):
        forth, back = relative_changes(data, s, equal), relative_changes(data, equal, s)
        assert forth == pytest.approx({r: -v for r, v in back.items()}, abs=1e-9)
        there, again = paired(forth.values()), paired(back.values())
        assert (there.mean, there.low) == pytest.approx((-again.mean, -again.high), abs=1e-9)
        assert (1 + percentage(there).mean) * (1 + percentage(again).mean) == pytest.approx(1)


def test_a_task_that_runs_away_on_one_seed_does_not_decide_alone() -> None:
    """Breaks if one error that is ten times larger outweighs nine seeds of gain."""
    changes = [math.log(0.7)] * 9 + [math.log(10)]
    assert percentage(paired(changes)).mean == pytest.approx(
        math.exp((9 * math.log(0.7) + math.log(10)) / 10) - 1
    )
    assert percentage(paired(changes)).mean < 0


def test_a_percentage_keeps_its_p_values_and_never_overflows() -> None:
    """Breaks if the test is of other numbers than the interval, or a huge interval crashes."""
    relative = percentage(Paired(math.log(0.98), -math.inf, 1e4, 3, 0.25, 0.5, -1e4, 1e4))
    assert relative == Paired(pytest.approx(-0.02), -1.0, math.inf, 3, 0.25, 0.5, -1.0, math.inf)
    assert math.isnan(percentage(paired([0.1])).low)


def test_without_relative_losses_main_metrics_are_judged() -> None:
    """Breaks if a task without trivial loss stops the verdict, or an accuracy counts backwards."""
    base = {
        "seed=0": {"a": {"rmse": 2.0, "mae": 9.0}, "b": {"accuracy": 0.5}},
        "seed=1": {"a": {"rmse": 4.0}, "b": {"accuracy": 0.8}},
    }
    values = {
        "seed=1": {"a": {"rmse": 3.0}, "b": {"accuracy": 0.9}},
        "seed=0": {"a": {"rmse": 2.2}, "b": {"accuracy": 0.6}},
    }
    s, equal = pair(values | {"seed=7": values["seed=0"]}, base)
    data = data_of(equal, s, tasks=MIXED)
    assert quantity(data) == "main metrics"
    expected = {
        "seed=0": (math.log(1.1) - math.log(1.2)) / 2,
        "seed=1": (math.log(0.75) - math.log(1.125)) / 2,
    }
    assert relative_changes(data, s, equal) == pytest.approx(expected)


def test_all_strategies_of_a_data_set_are_judged_by_the_same_quantity() -> None:
    """Breaks if equal and the best fixed weights are compared in different numbers."""
    s, equal = pair(with_losses((0.2, 0.4)), with_losses((0.3, 0.3)))
    without = strategy("t", "strategy", values=with_losses((0.2, 0.2)), relative_loss={})
    assert quantity(data_of(equal, s, without)) == "main metrics"
    assert quantity(data_of(equal, s, replace(without, role="single_task"))) == "mean relative loss"
    assert (
        quantity(data_of(equal, s, replace(without, relative_loss={"seed=0": 0.0})))
        == "main metrics"
    )


def test_a_starved_task_is_judged_by_its_loss() -> None:
    """Breaks if an F1 of 0 removes the very task that suffers."""
    starved = {"x": {"a": {"f1": 0.0, "loss": 4.0}}, "y": {"a": {"f1": 0.5, "loss": 2.0}}}
    s, equal = pair({r: {"a": {"f1": 0.9, "loss": 1.0}} for r in "xy"}, starved)
    data = data_of(equal, s, tasks={"a": "multilabel"})
    assert relative_changes(data, s, equal) == pytest.approx({"x": -math.log(4), "y": -math.log(2)})
    assert relative_changes(data, equal, s) == pytest.approx({"x": math.log(4), "y": math.log(2)})
    assert relative_changes(data, equal, equal) == {"x": 0.0, "y": 0.0}


def test_a_loss_that_is_not_positive_has_no_ratio() -> None:
    """Breaks if a loss of 0 crashes the comparison instead of leaving its seed out."""
    zero = {"x": {"a": {"rmse": 0.0, "loss": 0.0}}, "y": {"a": {"rmse": 1.0, "loss": 1.0}}}
    s, equal = pair({r: {"a": {"rmse": 1.0, "loss": 1.0}} for r in "xy"}, zero)
    assert relative_changes(data_of(equal, s, tasks={"a": "regression"}), s, equal) == {"y": 0.0}


def test_metric_differences_are_paired_and_adjusted_per_metric() -> None:
    """Breaks if unpaired means are compared, or p is adjusted over metrics, not strategies."""
    equal = strategy("fixed", "equal")
    s, t = strategy("s", "strategy", 5), strategy("t", "strategy", (0, -5))
    rows = {
        (r.strategy, r.task, r.metric): r.difference
        for r in metric_differences(data_of(equal, s, t, strategy("1", "single_task")))
    }
    differences = [s.values[r]["b"]["rmse"] - equal.values[r]["b"]["rmse"] for r in equal.values]
    difference = rows["s", "b", "rmse"]
    assert difference.mean == pytest.approx(sum(differences) / 8)
    assert difference.p == sign_flip(differences)
    assert difference.p_holm == 2 * difference.p
    assert {strategy for strategy, _, _ in rows} == {"s", "t"}
    assert metric_differences(data_of(s)) == []


def test_task_effects_are_means_over_the_seeds_that_both_have() -> None:
    """Breaks if a strategy that lacks a seed is compared with equal weights on all seeds."""
    values = {f"seed={i}": {"a": {"rmse": 1.0 + i}} for i in range(3)}
    s, equal = pair({"seed=0": {"a": {"rmse": 0.5}}, "seed=9": {"a": {"rmse": 9.0}}}, values)
    (effect,) = task_effects(data_of(equal, s, tasks={"a": "regression"}), s)
    assert (effect.metric, effect.equal, effect.strategy) == ("rmse", 1.0, 0.5)
    assert task_effects(data_of(s, tasks={"a": "regression"}), s) == []
