"""The judged quantity: the log ratio of mean relative losses of paired runs, and what stands in for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.results.differences import percentage, quantity, relative_changes
from mtl_runner.results.evidence import StrategyEvidence
from mtl_runner.results.paired import Paired, paired
from tests.support.builders import QUICK
from tests.unit.results.evidences import data_of, strategy

MIXED = {"a": "regression", "b": "classification"}


def pair(mine: Any, theirs: Any) -> tuple[StrategyEvidence, StrategyEvidence]:
    return strategy("s", "strategy", values=mine), strategy("fixed", "equal", values=theirs)


def with_losses(*losses: tuple[float, float]) -> dict[str, Any]:
    """Per seed the relative losses of two tasks, beside an rmse that says the opposite."""
    return {
        f"seed={i}": {
            t: {"rmse": 1 / v, "loss": v, "relative_loss": v}
            for t, v in zip("ab", both, strict=True)
        }
        for i, both in enumerate(losses)
    }


def test_the_judged_number_is_the_log_ratio_of_mean_relative_losses() -> None:
    """Breaks if something else is judged than what the settings were tuned for, or unpaired runs are compared."""
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
        with_losses(*[each[:2] for each in losses]), with_losses(*[each[2:] for each in losses])
    )
    for data in (
        data_of(equal, s),
        replace(data_of(equal, s), strategies=(replace(s, relative_loss={}), equal)),
    ):
        forth, back = relative_changes(data, s, equal), relative_changes(data, equal, s)
        assert forth == pytest.approx({r: -v for r, v in back.items()}, abs=1e-9)
        one, other = paired(list(forth.values())), paired(list(back.values()))
        assert (one.mean, one.low) == pytest.approx((-other.mean, -other.high), abs=1e-9)
        assert (1 + percentage(one).mean) * (1 + percentage(other).mean) == pytest.approx(1)


def test_a_task_that_runs_away_on_one_seed_does_not_decide_alone() -> None:
    """Breaks if one error that is ten times larger outweighs nine seeds of gain."""
    changes = [math.log(0.7)] * 9 + [math.log(10)]
    assert percentage(paired(changes)).mean == pytest.approx(
        math.exp((9 * math.log(0.7) + math.log(10)) / 10) - 1
    )
    assert percentage(paired(changes)).mean < 0


def test_a_percentage_keeps_its_p_values_and_never_overflows() -> None:
    """Breaks if the test is of other numbers than the interval, or an absurd interval crashes the report."""
    found = percentage(Paired(math.log(0.98), -math.inf, 1e4, 3, 0.25, 0.5))
    assert found == Paired(pytest.approx(-0.02), -1.0, math.inf, 3, 0.25, 0.5)
    assert math.isnan(percentage(paired([0.1])).low)


def test_without_relative_losses_main_metrics_are_judged() -> None:
    """Breaks if a task without a trivial loss stops the verdict, or an accuracy counts with the wrong sign."""
    base = {
        "seed=0": {"a": {"rmse": 2.0, "mae": 9.0}, "b": {"accuracy": 0.5}},
        "seed=1": {"a": {"rmse": 4.0}, "b": {"accuracy": 0.8}},
    }
    mine = {
        "seed=1": {"a": {"rmse": 3.0}, "b": {"accuracy": 0.9}},
        "seed=0": {"a": {"rmse": 2.2}, "b": {"accuracy": 0.6}},
    }
    s, equal = pair(mine | {"seed=7": mine["seed=0"]}, base)
    data = data_of(equal, s, tasks=MIXED)
    assert quantity(data) == "main metrics"
    expected = {
        "seed=0": (math.log(1.1) - math.log(1.2)) / 2,
        "seed=1": (math.log(0.75) - math.log(1.125)) / 2,
    }
    assert relative_changes(data, s, equal) == pytest.approx(expected)


def test_all_strategies_of_a_data_set_are_judged_by_the_same_quantity() -> None:
    """Breaks if equal weights and the best fixed weights are compared with a method in different numbers."""
    s, equal = pair(with_losses((0.2, 0.4)), with_losses((0.3, 0.3)))
    other = strategy("t", "strategy", values=with_losses((0.2, 0.2)), relative_loss={})
    assert quantity(data_of(equal, s, other)) == "main metrics"
    assert quantity(data_of(equal, s, replace(other, role="single_task"))) == "mean relative loss"
    assert (
        quantity(data_of(equal, s, replace(other, relative_loss={"seed=0": 0.0}))) == "main metrics"
    )


def test_a_starved_task_is_judged_by_its_loss() -> None:
    """Breaks if an F1 of 0, under equal weights or under the strategy, removes the very task that suffers."""
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
