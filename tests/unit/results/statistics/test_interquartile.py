"""Interquartile means, compared with scipy's trimmed mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from mtl_runner.results.statistics.interquartile import interquartile


@given(st.lists(st.lists(st.floats(-0.9, 9.0), min_size=1, max_size=5), min_size=1, max_size=12))
def test_the_interquartile_mean_is_scipys(changes: list[list[float]]) -> None:
    """Breaks if the summary is another mean than the one that it is called."""
    mean, low, high = interquartile(changes)
    pooled = np.log1p([value for values in changes for value in values])
    assert mean == pytest.approx(np.expm1(trim_mean(pooled, 0.25)), abs=1e-12)
    assert (mean, low, high) == interquartile(changes)
    assert low <= high
    if all(len(set(values)) == 1 for values in changes):
        assert (low, high) == pytest.approx((mean, mean))


def test_a_method_that_fails_in_a_quarter_of_its_runs_has_no_finite_mean() -> None:
    """Breaks if a method is ranked by the runs that it survived."""
    rare, often = [[0.1] * 5] * 9 + [[math.inf] * 5], [[0.1] * 5] * 2 + [[math.inf] * 5]
    assert interquartile(rare)[0] == pytest.approx(0.1)
    assert interquartile(often)[0] == math.inf


def test_every_problem_keeps_its_number_of_seeds() -> None:
    """Breaks if the bootstrap is not stratified: a problem could then be drawn more often."""
    low_and_high = [[0.1] * 5, [0.2] * 5]
    mean, low, high = interquartile(low_and_high)
    assert (low, high) == pytest.approx((mean, mean))


def test_nothing_has_no_mean() -> None:
    """Breaks if an empty board has a number."""
    assert all(map(math.isnan, interquartile([])))
