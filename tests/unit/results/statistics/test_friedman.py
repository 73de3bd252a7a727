"""Friedman's test and Nemenyi's critical difference, compared with Demšar 2006 and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtl_runner.results.statistics.friedman import critical_difference, friedman

# Demšar, JMLR 7, 2006, table 5: {number of classifiers: (q at .05, q at .10)}.
TABLE_5 = {
    2: (1.960, 1.645),
    3: (2.343, 2.052),
    4: (2.569, 2.291),
    5: (2.728, 2.459),
    6: (2.850, 2.589),
    7: (2.949, 2.693),
    8: (3.031, 2.780),
    9: (3.102, 2.855),
    10: (3.164, 2.920),
}


@pytest.mark.parametrize("strategies", TABLE_5)
def test_critical_values_are_those_of_demsars_table(strategies: int) -> None:
    """Breaks if strategies are called different at another level than 5 %."""
    # Table 5 of the paper holds q; 6 N = k (k + 1) makes the critical difference equal to it.
    datasets, rest = divmod(strategies * (strategies + 1), 6)
    scale = math.sqrt(strategies * (strategies + 1) / (6 * max(1, datasets)))
    assert rest in (0, 2)
    for level, published in zip((0.05, 0.10), TABLE_5[strategies], strict=True):
        q = critical_difference(strategies, max(1, datasets), level) / scale
        assert q == pytest.approx(published, abs=0.0016)


def test_demsars_example() -> None:
    """Breaks if the critical difference is not the published one of 4 classifiers, 14 data sets."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize("ties", [False, True])
def test_p_is_that_of_friedmans_statistic(ties: bool) -> None:
    """Breaks if p is of another statistic than 12 N (sum R^2 - k (k + 1)^2 / 4) / (k (k + 1))."""
    rows = [[1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], [2.0, 1.0, 4.0, 3.0], [1.0, 2.0, 4.0, 3.0]]
    if ties:
        rows[0] = [1.0, 1.0, 3.0, 4.0]
    result, k, n = friedman(rows), 4, 4
    squares = sum(rank**2 for rank in result.ranks)
    statistic = 12 * n / (k * (k + 1)) * (squares - k * (k + 1) ** 2 / 4)
    # One tie of two takes 2^3 - 2 from the n k (k^2 - 1) that the statistic is divided by.
    statistic /= 1 - ties * 6 / (n * k * (k**2 - 1))
    assert result.p == pytest.approx(stats.chi2.sf(statistic, k - 1))
    assert result.datasets == n


@given(
    st.lists(st.lists(st.integers(0, 5).map(float), min_size=4, max_size=4), min_size=3, max_size=6)
)
def test_ranks_and_p_do_not_depend_on_the_scale_of_a_data_set(rows: list[list[float]]) -> None:
    """Breaks if a data set with large losses counts more than one with small losses."""
    scaled = [[10.0**i * (1 + value) for value in row] for i, row in enumerate(rows)]
    plain, other = friedman(rows), friedman(scaled)
    assert plain.ranks == other.ranks
    assert plain.p == pytest.approx(other.p)
    assert 0 <= plain.p <= 1


def test_strategies_that_fail_come_last() -> None:
    """Breaks if a strategy that failed on a data set is left out of its ranks."""
    assert friedman([[1.0, math.inf, 2.0], [1.0, math.inf, math.inf]]).ranks == (1.0, 2.75, 2.25)


def test_two_strategies_have_no_friedman_test() -> None:
    """Breaks if scipy's refusal reaches the user."""
    assert math.isnan(friedman([[1.0, 2.0]] * 3).p)
