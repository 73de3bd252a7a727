"""Fronts against an analytic one and by counting, and the clouds of resampled seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.statistics.pareto import front, hypervolume, nondominated
from tests.support.builders import QUICK
from tests.unit.results.evidence_builders import data_of, strategy

grid = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=7)


def test_the_hypervolume_of_fonseca_and_fleming() -> None:
    """Breaks if the volume is not the published one of this concave front (n = 20, reference 1)."""
    x = np.linspace(-1, 1, 400_001) / math.sqrt(20)  # the Pareto set: all coordinates equal
    points = np.stack(
        [
            1 - np.exp(-20 * (x - 1 / math.sqrt(20)) ** 2),
            1 - np.exp(-20 * (x + 1 / math.sqrt(20)) ** 2),
        ],
        axis=1,
    )
    assert nondominated(points[::2000]).all()
    assert hypervolume(points, (1, 1)) == pytest.approx(0.3421156, abs=5e-6)


@QUICK
@given(points=grid, reference=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_the_hypervolume_counts_dominated_cells(
    points: list[tuple[int, int]], reference: tuple[int, int]
) -> None:
    """Breaks if overlaps count twice, or points beyond the reference count at all."""
    cells = [(i, j) for i in range(reference[0]) for j in range(reference[1])]
    assert hypervolume(np.array(points), reference) == sum(
        any(x <= i and y <= j for x, y in points) for i, j in cells
    )


@QUICK
@given(points=grid)
def test_the_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    """Breaks if a dominated point is on the front, a tie is not, or dominated points add volume."""
    keep = nondominated(np.array(points))
    for point, kept in zip(points, keep, strict=True):
        assert kept == (
            not any(q != point and q[0] <= point[0] and q[1] <= point[1] for q in points)
        )
    assert hypervolume(np.array(points)[keep], (9, 9)) == hypervolume(np.array(points), (9, 9))


def test_what_is_not_a_number_is_on_no_front() -> None:
    """Breaks if a failed strategy is shown as unbeaten, or beats others."""
    points = np.array([[math.nan, 0.0], [1.0, 1.0]])
    assert nondominated(points).tolist() == [False, True]
    assert hypervolume(points, (2, 2)) == 1
    assert hypervolume(np.empty((0, 2)), (1, 1)) == 0


def test_a_data_sets_front() -> None:
    """Breaks if the front, its reference (the trivial predictor) or its volume is wrong."""
    data = data_of(
        strategy("fixed", "equal"),
        strategy("fixed, a=2", "fixed", (-20, 20), noise=0),
        strategy("fixed, b=2", "fixed", (20, -20), noise=0),
        strategy("bad", "strategy", (30, 30), noise=0),
        strategy("good", "strategy", (-20, -20), noise=0),
        strategy("single", "single_task", -50),
    )
    plane = front(data)
    assert plane is not None
    assert (plane.metric, plane.reference) == ("relative_loss", (1.0, 1.0))
    assert plane.means["good"] == pytest.approx((0.4, 0.4))
    assert "single" not in plane.means
    assert plane.front == ["good"]
    assert plane.fixed_front == ["fixed, a=2", "fixed", "fixed, b=2"]
    assert plane.volume.value == pytest.approx(0.6 * 0.6)
    assert plane.fixed_volume.value == pytest.approx(
        hypervolume(np.array([(0.4, 0.6), (0.5, 0.5), (0.6, 0.4)]), (1, 1))
    )
    assert plane.volume.low == pytest.approx(plane.volume.high)


def test_clouds_are_resampled_means() -> None:
    """Breaks if a cloud does not spread as the mean over seeds does, or differs per call."""
    data = data_of(strategy("s", "strategy", noise=20))
    plane = front(data)
    assert plane is not None
    assert repr(plane) == repr(front(data))  # NaN is not equal to NaN
    values = [v["a"]["relative_loss"] for v in data.strategies[0].values.values()]
    cloud = np.array(plane.clouds["s"])
    assert cloud[:, 0].mean() == pytest.approx(
        np.mean(values), abs=3 * np.std(values) / math.sqrt(8 * len(cloud))
    )
    assert cloud[:, 0].std() == pytest.approx(np.std(values) / math.sqrt(8), rel=0.15)
    assert plane.volume.low < plane.volume.value < plane.volume.high


def test_without_a_trivial_predictor_the_reference_is_recorded() -> None:
    """Breaks if loss terms crash the front, or a strategy lies behind the reference."""

    def terms(name: str, role: str, loss: float) -> StrategyEvidence:
        return strategy(
            name,
            role,
            values={f"seed={s}": {t: {"loss": loss + s} for t in "ab"} for s in range(3)},
        )

    plane = front(
        data_of(
            terms("fixed", "equal", -4.0),
            terms("s", "strategy", 6.0),
            tasks={"a": "term", "b": "term"},
        )
    )
    assert plane is not None
    assert plane.metric == "loss"
    assert plane.reference == pytest.approx((8.0, 8.0))
    assert plane.volume.value == pytest.approx(121)


def test_one_seed_has_a_front_and_no_cloud() -> None:
    """Breaks if a single seed pretends to a cloud."""
    plane = front(
        data_of(strategy("fixed", "equal", seeds=1), strategy("s", "strategy", 3, seeds=1))
    )
    assert plane is not None
    assert plane.clouds == {"fixed": [], "s": []}
    assert math.isnan(plane.volume.low)


def test_only_two_tasks_have_a_plane() -> None:
    """Breaks if three tasks are drawn as two."""
    assert front(data_of(strategy("fixed", "equal"), tasks={"a": "regression"})) is None
    assert front(data_of(strategy("single", "single_task"))) is None
