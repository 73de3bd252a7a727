"""Expected ranks under random preferences, compared with exact values and with sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mtl_runner.results.statistics.preferences import preference_ranks

losses = st.integers(-4, 4).map(lambda value: value / 4)


def test_two_strategies_share_the_preferences_at_their_border() -> None:
    """Breaks if the expectation is not over all preferences alike.

    The weighted losses are equal at w = 3/4: the first is better on the quarter above.
    """
    assert preference_ranks([[0.0, 3.0], [1.0, 0.0]]) == pytest.approx([1.75, 1.25])


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=5))
def test_the_exact_ranks_of_two_tasks_are_those_of_a_fine_grid(
    rows: list[tuple[float, float]],
) -> None:
    """Breaks if a pair of strategies that cross, tie or dominate has a wrong share."""
    w = (np.arange(2000) + 0.5) / 2000
    weighted = np.array(rows) @ np.stack([w, 1 - w])  # [strategies, preferences]
    expected = rankdata(weighted.round(12), axis=0).mean(axis=1)
    assert preference_ranks([list(row) for row in rows]) == pytest.approx(expected, abs=5e-3)


def test_three_tasks_agree_with_the_exact_share() -> None:
    """Breaks if preferences are not uniform on the simplex.

    With differences 1, 1 and -1 the second is better where w3 > 1/2: a quarter of the triangle.
    """
    first, second = preference_ranks([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    assert first == pytest.approx(1.25, abs=0.02)
    assert first + second == pytest.approx(3.0)


def test_a_strategy_that_is_best_on_all_tasks_is_first_for_everybody() -> None:
    """Breaks if a dominating strategy shares its rank."""
    for tasks in (1, 2, 3):
        assert preference_ranks([[1.0] * tasks, [0.5] * tasks, [2.0] * tasks]) == [2.0, 1.0, 3.0]


def test_a_strategy_without_a_number_is_not_ranked() -> None:
    """Breaks if a strategy without one task is ranked by the others."""
    first, second, third = preference_ranks([[1.0, 1.0], [math.nan, 0.0], [2.0, 2.0]])
    assert (first, third) == (1.0, 2.0)
    assert math.isnan(second)
    assert preference_ranks([]) == []
