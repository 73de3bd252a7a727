"""The curves of a report: means over seeds, thinned out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.results.report.curves import (
    NUMBERS,
    POINTS,
    averaged,
    lines_for,
    points_for,
    quantities_of,
    rounded,
    thinned,
)
from tests.support.builders import QUICK
from tests.unit.results.run_builders import write_trained_run


def test_a_curve_is_the_mean_over_seeds_with_their_range(tmp_path: Path) -> None:
    """Breaks if the line is not the mean, or the band not what the seeds span."""
    seeds = [quantities_of(write_trained_run(tmp_path / str(seed), seed=seed)) for seed in range(3)]
    epochs, mean, low, high = averaged(seeds, 100)["loss"]["y1"]
    assert epochs == list(range(1, 21))
    for i, epoch in enumerate(epochs):
        values = [curves["loss"]["y1"][epoch] for curves in seeds]
        assert mean[i] == pytest.approx(sum(values) / 3, rel=1e-3)
        assert (low[i], high[i]) == (
            pytest.approx(min(values), rel=1e-3),
            pytest.approx(max(values), rel=1e-3),
        )


def test_a_curve_ends_where_most_seeds_have_stopped() -> None:
    """Breaks if a mean jumps because one seed of three trained on after the others had stopped."""
    runs = [{"loss": {"y": dict.fromkeys(range(1, end + 1), 1.0)}} for end in (5, 5, 9)]
    assert averaged(runs, 100)["loss"]["y"][0] == [1, 2, 3, 4, 5]


def test_a_diverged_seed_is_no_number() -> None:
    """Breaks if NaN or infinity reaches the page's JSON, which knows neither."""
    runs = [{"loss": {"y": {1: 1.0, 2: math.inf}}}, {"loss": {"y": {1: math.nan, 2: math.nan}}}]
    assert averaged(runs, 100)["loss"]["y"][1] == [1, None]


@QUICK
@given(st.integers(2, 50), st.integers(1, 500))
def test_thinning_keeps_the_ends_and_the_order(points: int, count: int) -> None:
    """Breaks if a thinned curve loses its last epoch, repeats one, or is longer than asked."""
    kept = thinned(range(count), points)
    assert len(kept) <= max(points, 1)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert kept == sorted(set(kept))


@pytest.mark.parametrize("strategies", [1, 8, 100, 10_000])
def test_all_curves_of_a_page_fit_its_size(strategies: int) -> None:
    """Breaks if a study with many strategies makes a page of a hundred megabytes."""
    tasks = 5
    drawn = min(strategies, lines_for(tasks))
    curves = 3 * drawn * (tasks + 1)
    assert POINTS[0] <= points_for(curves) <= POINTS[1]
    assert 4 * curves * points_for(curves) <= NUMBERS


def test_numbers_are_short() -> None:
    """Breaks if the page holds digits that no screen shows, or a number that JSON does not know."""
    assert rounded(1.23456) == 1.235
    assert (rounded(2.0), type(rounded(2.0))) == (2, int)
    assert rounded(math.inf) is None


def test_learned_weights_and_sigmas_come_from_training(tmp_path: Path) -> None:
    """Breaks if a quantity is read from the wrong split, or an empty column is a curve."""
    learned = quantities_of(write_trained_run(tmp_path / "u", "uncertainty"))
    assert {name: list(curves) for name, curves in learned.items()} == {
        "loss": ["y1", "y2"],
        "weight": ["y1", "y2"],
        "sigma": ["y1", "y2"],
        "relative": [""],
    }
    assert learned["sigma"]["y1"][3] ** 2 == pytest.approx(learned["loss"]["y1"][3])
    assert "sigma" not in quantities_of(write_trained_run(tmp_path / "f", "fixed"))
