"""Weights on the simplex: the projection, and how weights move."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.update.aggregators import aggregate
from mtl_runner.update.simplex import SimplexWeights, onto_simplex
from tests.support.builders import QUICK, assert_near

pytestmark = pytest.mark.usefixtures("float64")

vectors = st.lists(st.floats(-5, 5), min_size=1, max_size=6)


class Moving(SimplexWeights):
    """Weights that are moved by the test itself."""

    def __call__(self, batches, tasks, whole_sums):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def by_bisection(vector: Tensor) -> Tensor:
    """Return the projection by a search for the number that is taken off every entry."""
    low, high = vector.min() - 1, vector.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (vector - middle).clamp(min=0).sum() > 1 else (low, middle)
    return (vector - low).clamp(min=0)


@QUICK
@given(entries=vectors)
def test_the_projection_is_the_nearest_point_of_the_simplex(entries: list[float]) -> None:
    """Breaks if weights are negative, do not sum to 1, or a nearer point is left out."""
    vector = torch.tensor(entries)
    point = onto_simplex(vector)
    assert (point >= 0).all()
    assert_near(point.sum(), torch.tensor(1.0), 1e-12)
    assert_near(point, by_bisection(vector), 1e-9)
    assert_near(onto_simplex(point), point, 1e-15)


def test_what_is_not_finite_stays_so() -> None:
    """Breaks if a task that has diverged gets weights as if nothing were wrong."""
    assert onto_simplex(torch.tensor([0.5, torch.nan, 0.1])).isnan().all()


def test_weights_begin_equal_and_an_idle_task_keeps_its_own() -> None:
    """Breaks if a change of the active tasks loses a weight, or moves one of an idle task."""
    moving, like = Moving(tasks=4), torch.zeros(1)
    all_tasks, some = torch.arange(4), torch.tensor([0, 2])
    assert_near(moving.moved(all_tasks, like, torch.zeros_like), torch.full((4,), 0.25), 0)
    moving.moved(all_tasks, like, lambda weights: torch.tensor([0.3, 0.1, -0.1, -0.3]))
    before = moving.weights
    assert before is not None
    assert_near(
        before, torch.tensor([0.55, 0.35, 0.15, 0.0]) - torch.tensor([0.05 / 3] * 3 + [0]), 1e-12
    )
    active = moving.moved(some, like, torch.zeros_like)
    assert_near(active.sum(), torch.tensor(1.0), 1e-12)
    assert moving.weights is not None
    assert_near(moving.weights[[1, 3]], before[[1, 3]], 0)
    assert_near(moving.weights[some], active, 0)
    assert_near(active[0] - active[1], before[0] - before[2], 1e-12)


@pytest.mark.parametrize("size", [1.0, 1e8, 1e16, 1e30])
def test_the_projection_of_large_entries_is_on_the_simplex(size: float) -> None:
    """Breaks if large gradients round all weights to 0, so that nothing shared is trained."""
    vector = size * torch.tensor([-3.0, -1.0, -2.0])
    assert onto_simplex(vector).sum() == 1
    assert onto_simplex(vector)[1] >= onto_simplex(vector)[0]
    rows = size * torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    for method in ("moco", "modo"):
        assert aggregate(method, rows).norm() > 0
