"""Sparse sub-grids of a learning-rate grid."""

from __future__ import annotations

import math

import pytest

from mtl_runner.results.statistics.spread import median_spread, spread, sub_grids
from tests.unit.results.evidence_builders import strategy

RATES = [10 ** (-4 + i / 3) for i in range(7)]


def test_sub_grids_have_one_point_per_decade() -> None:
    """Breaks if the spread of sparse grids is taken over grids that nobody would try."""
    assert sub_grids({rate: float(i) for i, rate in enumerate(RATES)}) == [
        [0, 3, 6],
        [1, 4],
        [2, 5],
    ]
    assert sub_grids(dict.fromkeys([1e-3, 1e-2, 1e-1], 1.0)) == []
    assert sub_grids({}) == []


def test_rates_between_those_of_the_grid_are_left_out() -> None:
    """Breaks if the refinement near the best rate shifts later rates into another sub-grid."""
    tuning = {rate: float(i) for i, rate in enumerate(RATES)}
    tuning |= {10 ** (-1 - 5 / 6): 99.0, 10 ** (-2 - 1 / 12): 99.0}  # half and quarter steps
    wider = {**tuning, 10 ** (-5 / 3): 7.0, 10 ** (-4 / 3): 8.0}  # the grid went on
    for given in ((), tuple(RATES)):
        assert sub_grids(tuning, given) == [[0, 3, 6], [1, 4], [2, 5]]
        assert sub_grids(wider, given) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_the_grid_is_the_one_that_the_study_began_with() -> None:
    """Breaks if many refined rates are taken for the grid: their step would be the commonest."""
    fine = {10 ** (-3 + i / 12): 99.0 for i in range(1, 13) if i % 4}
    tuning = {rate: float(i) for i, rate in enumerate(RATES)} | fine
    assert sub_grids(tuning, RATES) == [[0, 3, 6], [1, 4], [2, 5]]


def test_a_rate_of_the_grid_that_failed_keeps_the_others_in_place() -> None:
    """Breaks if a diverged rate moves all later ones to another sub-grid."""
    tuning = {rate: float(i) for i, rate in enumerate(RATES) if i != 2}
    assert sub_grids(tuning, RATES) == [[0, 3, 6], [1, 4], [5]]


def test_both_spreads_are_standard_deviations() -> None:
    """Breaks if a spread is a range or a variance."""
    tuning = dict(zip(RATES, [0.9, 0.8, 0.7, 0.5, 0.6, 0.8, 0.9], strict=True))
    spreads = spread(
        strategy("s", "strategy", tuning=tuning, best_monitor={"x": 1.0, "y": 3.0, "z": math.nan})
    )
    assert spreads.grids == pytest.approx(0.1)  # of the best of each: .5, .6, .7
    assert spreads.seeds == pytest.approx(math.sqrt(2))


def test_the_spreads_of_several_strategies_are_shares_of_their_monitors() -> None:
    """Breaks if a strategy with large losses rules what is said of the tuning, or one without."""
    monitors = [0.9, 0.8, 0.7, 0.5, 0.6, 0.8, 0.9]
    made = [
        strategy(
            f"s{scale}",
            "strategy",
            tuning=dict(zip(RATES, (scale * value for value in monitors), strict=True)),
            best_monitor={"x": 0.4 * scale, "y": 0.6 * scale},
        )
        for scale in (1.0, 10.0, 100.0)
    ]
    spreads, count = median_spread([*made, strategy("untuned", "equal")])
    assert count == 3
    assert spreads.grids == pytest.approx(0.1 / 0.5)
    assert spreads.seeds == pytest.approx(0.1 * math.sqrt(2) / 0.5)
    assert median_spread([])[1] == 0
