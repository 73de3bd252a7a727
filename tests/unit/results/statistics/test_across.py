"""Strategies over several data sets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence
from mtl_runner.results.statistics.across import EQUAL, across_datasets
from mtl_runner.results.statistics.friedman import critical_difference
from tests.unit.results.evidence_builders import data_of, strategy


def dataset(*changes: float, **more: StrategyEvidence) -> DatasetEvidence:
    """Return a data set with equal weights and strategies that lie so far above them, in percent."""
    methods = [strategy(f"s{i}", "strategy", change) for i, change in enumerate(changes)]
    fixed = strategy("fixed a=2", "fixed", -50.0)
    return data_of(strategy("fixed (defaults)", "equal"), fixed, *methods, *more.values())


def test_ranks_and_changes_are_over_all_data_sets() -> None:
    """Breaks if a data set is left out, or one with large changes outweighs the others."""
    across = across_datasets([dataset(-10.0, 5.0), dataset(-10.0, -20.0), dataset(-10.0, 5.0)])
    assert across is not None
    assert [s.name for s in across.standings] == ["s0", EQUAL, "s1"]
    assert [s.rank for s in across.standings] == pytest.approx([4 / 3, 7 / 3, 7 / 3])
    assert across.test.critical_difference == critical_difference(3, 3)
    first, equal, second = across.standings
    assert first.change == pytest.approx(-0.1, abs=0.002)
    assert first.low <= first.change <= first.high < -0.09
    # Of 24 changes the middle half: two of -20 % and ten of 5 %.
    middle = math.expm1((2 * math.log(0.8) + 10 * math.log(1.05)) / 12)
    assert second.change == pytest.approx(middle, abs=0.003)
    assert (equal.change, equal.low, equal.high) == (0.0, 0.0, 0.0)


def test_fewer_than_three_of_either_say_nothing() -> None:
    """Breaks if a test is made of what cannot be tested."""
    data = dataset(-10.0, 5.0)
    assert across_datasets([data] * 2) is None
    assert across_datasets([dataset(-10.0)] * 3) is None
    assert across_datasets([data, data, dataset(-10.0)]) is None
    assert across_datasets([data] * 3) is not None


def test_a_strategy_that_failed_is_last_and_not_left_out() -> None:
    """Breaks if a strategy is ranked by the runs, or the data sets, that it survived."""
    lost = strategy("s2", "strategy", -30.0, failed=range(4))
    gone = strategy("s2", "strategy", values={}, trials=3, failed=range(3))
    refused = replace(strategy("s2", "strategy", values={}), refused={"seed=0": "no"})
    good = dataset(-10.0, 5.0, s2=strategy("s2", "strategy", -30.0))
    for failed in (lost, gone):
        across = across_datasets([good, good, dataset(-10.0, 5.0, s2=failed)])
        assert across is not None
        (standing,) = [s for s in across.standings if s.name == "s2"]
        assert standing.rank == pytest.approx((1 + 1 + 4) / 3)
    across = across_datasets([good, good, dataset(-10.0, 5.0, s2=refused)])
    assert across is not None
    assert "s2" not in [s.name for s in across.standings]


def test_failures_in_a_quarter_of_the_runs_leave_no_finite_mean() -> None:
    """Breaks if a strategy is praised for the runs that it survived."""
    gone = dataset(-10.0, 5.0, s2=strategy("s2", "strategy", values={}, failed=range(8)))
    across = across_datasets([gone] * 3)
    assert across is not None
    assert next(s for s in across.standings if s.name == "s2").change == math.inf
