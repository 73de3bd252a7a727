"""Means and t-intervals, compared with scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtl_runner.results.statistics.intervals import exceedance, interval
from tests.support.builders import QUICK

numbers = st.floats(-1e6, 1e6)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_the_interval_is_scipys(count: int) -> None:
    """Breaks if the 95 % interval of a mean of few seeds is not Student's, to 1e-12."""
    values = np.random.default_rng(count).normal(3, 0.5, size=count)
    result = interval(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert (result.low, result.high) == (
        pytest.approx(low, rel=1e-12, abs=0),
        pytest.approx(high, rel=1e-12, abs=0),
    )
    assert result.mean == pytest.approx(values.mean(), rel=1e-12, abs=0)


@QUICK
@given(values=st.lists(numbers, min_size=2, max_size=12))
def test_the_interval_is_students_t_at_any_scale(values: list[float]) -> None:
    """Breaks if the error bars are wrong for values of any scale."""
    result = interval(values)
    assert result.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-6)
    assert result.count == len(values)
    error = stats.sem(values)
    if error > 1e-6 * max(map(abs, values)):
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert result.low == pytest.approx(low, rel=1e-6, abs=1e-6)
        assert result.high == pytest.approx(high, rel=1e-6, abs=1e-6)
        assert result.high - result.low == pytest.approx(high - low, rel=1e-6)


def test_one_value_has_a_mean_and_no_interval() -> None:
    """Breaks if a single seed pretends to know its spread."""
    result = interval([3.5])
    assert (result.mean, result.count) == (3.5, 1)
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert math.isnan(result.high - result.low)


def test_equal_values_have_an_interval_of_width_zero() -> None:
    """Breaks if identical seeds look uncertain or undefined."""
    same = interval([2.0, 2.0, 2.0])
    assert same.low == same.high == 2


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_failed_runs_do_not_enter_the_mean(unknown: float) -> None:
    """Breaks if one diverged seed turns the whole row of a comparison into NaN."""
    assert interval([1.0, unknown, 3.0]) == interval([1.0, 3.0])


def test_no_value_at_all_is_nan() -> None:
    """Breaks if a strategy of which every run failed crashes the comparison."""
    result = interval([])
    assert math.isnan(result.mean)
    assert result.count == 0


@pytest.mark.parametrize("border", [-0.3, 0.0, 0.4])
def test_exceedance_is_scipys_one_sided_t_test(border: float) -> None:
    """Breaks if the p-value is two-sided, or says the opposite of the interval."""
    values = np.random.default_rng(1).normal(0.3, 0.5, size=7).tolist()
    expected = stats.ttest_1samp(values, border, alternative="greater").pvalue
    assert exceedance(values, border) == pytest.approx(expected)
    assert (exceedance(values, border) < 0.025) == (interval(values).low > border)
    assert exceedance([*values, math.nan], border) == pytest.approx(expected)


def test_exceedance_of_values_that_do_not_differ() -> None:
    """Breaks if runs that are the same with every seed divide by zero, or one run proves it."""
    assert exceedance([0.5, 0.5], 0.4) == 0
    assert exceedance([0.5, 0.5], 0.5) == 1
    assert exceedance([0.5], 0.4) == 1
    assert exceedance([], 0.4) == 1
