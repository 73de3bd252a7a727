"""The choice of a learning rate: neighbours of a lucky trial are heard."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study.smoothing import FAR, smoothed_choice
from tests.support.builders import QUICK

GRID = [10 ** (k / 3) for k in range(-3, 4)]


def test_a_lucky_trial_far_from_the_valley_is_not_chosen() -> None:
    """Breaks if one seed's luck chooses a learning rate whose neighbours are all worse."""
    monitors = [0.40, 0.53, 0.44, 0.41, 0.42, 0.45, 0.5]
    assert int(np.argmin(monitors)) == 0
    assert smoothed_choice(GRID, monitors) == 3


@QUICK
@given(best=st.integers(1, 5), steepness=st.floats(0.01, 0.3))
def test_without_noise_the_best_rate_is_chosen(best: int, steepness: float) -> None:
    """Breaks if smoothing by itself moves the choice within a symmetric valley."""
    monitors = [math.exp(steepness * (place - best) ** 2) for place in range(7)]
    near = min(best, 6 - best)
    low, high = best - near, best + near + 1
    assert smoothed_choice(GRID[low:high], monitors[low:high]) + low == best


def test_noise_costs_less_with_neighbours() -> None:
    """Breaks if the smoothed choice is further from the best rate than that of the least monitor."""
    random = np.random.default_rng(0)
    valley = 0.03 * np.arange(-3, 4) ** 2
    noisy = valley + random.normal(0, 0.05, (500, 7))
    smoothed = [valley[smoothed_choice(GRID, np.exp(row).tolist())] for row in noisy]
    assert np.mean(smoothed) < 0.6 * np.mean(valley[noisy.argmin(axis=1)])


@pytest.mark.parametrize("far", [math.inf, 1e6, 1.01 * FAR])
def test_what_is_far_from_the_valley_does_not_count(far: float) -> None:
    """Breaks if a learning rate is avoided because the next one explodes."""
    assert smoothed_choice(GRID[:4], [1.06, 1.03, 1.0, far]) == 2


def test_monitors_that_are_not_positive_are_not_smoothed() -> None:
    """Breaks if an accuracy, whose monitor is negative, has a logarithm."""
    assert smoothed_choice(GRID[:3], [-0.7, -0.9, -0.8]) == 1
    assert smoothed_choice(GRID[:3], [0.0, 1.0, 2.0]) == 0
    assert smoothed_choice(GRID[:2], [math.inf, math.inf]) == 0
