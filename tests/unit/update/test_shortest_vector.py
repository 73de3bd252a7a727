"""The shortest vector in the hull of the gradients: as SciPy's, never uphill, hopeless cases."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.update.shortest_vector import COLUMNS, ShortestVector
from tests.support.builders import QUICK, assert_near
from tests.unit.update.aggregations import shortest_by_scipy

float64 = pytest.mark.usefixtures("float64")
counts = st.integers(2, 8)
seeds = st.integers(0, 10**6)
sizes = st.lists(st.floats(-2, 2), min_size=8, max_size=8)  # powers of ten
widths = st.sampled_from([3, 6, 40])
conflicts = st.floats(0, 1)


def rows_of(count: int, width: int, seed: int, powers: list[float], conflict: float) -> Tensor:
    """Return random rows; the second is the more opposed to the first the larger the conflict."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    rows[1] = (1 - conflict) * rows[1] - conflict * rows[0]
    return 10 ** torch.tensor(powers[:count]).unsqueeze(1) * rows


@float64
@QUICK
@given(count=counts, width=widths, seed=seeds, powers=sizes, conflict=conflicts)
def test_it_is_the_solution_of_the_quadratic_program(
    count: int, width: int, seed: int, powers: list[float], conflict: float
) -> None:
    """Breaks if the vector is another one, or longer, than the shortest one of the hull."""
    rows = rows_of(count, width, seed, powers, conflict)
    direction, expected = ShortestVector()(rows), shortest_by_scipy(rows)
    largest = rows.norm(dim=1).max()
    assert_near(direction / largest, expected / largest, 1e-6)
    assert direction.norm() <= expected.norm() + 1e-6 * largest


@float64
@QUICK
@given(count=counts, width=widths, seed=seeds, powers=sizes, conflict=conflicts)
def test_no_task_goes_uphill(
    count: int, width: int, seed: int, powers: list[float], conflict: float
) -> None:
    """Breaks if a row's product with the direction is negative by more than rounding."""
    rows = rows_of(count, width, seed, powers, conflict)
    products = rows @ ShortestVector()(rows)
    assert (products >= -1e-13 * rows.norm(dim=1) * rows.norm(dim=1).max()).all()


@float64
@QUICK
@given(count=counts, width=widths, seed=seeds, powers=sizes, conflict=conflicts)
def test_the_weights_are_shares(
    count: int, width: int, seed: int, powers: list[float], conflict: float
) -> None:
    """Breaks if a weight is negative or they do not sum to 1, but where the vector is 0."""
    weights = ShortestVector().weighting(rows_of(count, width, seed, powers, conflict))
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(1) or not weights.any()


@float64
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_two_rows_have_a_closed_form(size: float) -> None:
    """Breaks if the simplest case is not that of the paper's algorithm 1."""
    first, second = torch.tensor([1.0, 0.2, 0.0]), size * torch.tensor([-0.3, 1.0, 0.5])
    share = (second @ (second - first) / (first - second).square().sum()).clamp(0, 1)
    expected = torch.stack([share, 1 - share])
    assert_near(ShortestVector().weighting(torch.stack([first, second])), expected, 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_float32_gives_the_vector_of_float64(seed: int) -> None:
    """Breaks if the products of wide rows are summed in float32, which lets tasks go uphill."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, COLUMNS + 1000, generator=generator)
    rows[1] = 1e-3 * rows[1] - rows[0]  # nearly opposite
    rows[2] *= 100
    direction, expected = ShortestVector()(rows), shortest_by_scipy(rows)
    assert direction.dtype is torch.float32
    assert_near(direction.double() / rows[0].norm(), expected / rows[0].norm(), 1e-6)


def test_opposite_rows_give_exactly_nothing() -> None:
    """Breaks if what rounding leaves is a direction, of which Adam would make full steps."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1000, generator=generator)
    for rows in (torch.stack([row, -3.3 * row]), torch.stack([row, 0 * row, row])):
        assert not ShortestVector()(rows).any()
    inside = torch.randn(8, 3, generator=generator)  # of eight directions in space some surround 0
    inside = torch.cat([inside, -inside.sum(0, keepdim=True)])
    assert not ShortestVector()(inside).any()


def test_a_row_more_often_changes_nothing() -> None:
    """Breaks if the active set takes rows that depend on each other."""
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert_near(ShortestVector()(rows), torch.tensor([0.8, 0.4, 0.0]), 1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_task_that_diverged_gives_no_number(value: float) -> None:
    """Breaks if a NaN is hidden, or ends in a message of the solver."""
    rows = torch.eye(3)
    rows[1, 1] = value
    assert ShortestVector().weighting(rows).isnan().all()


@float64
def test_many_tasks_are_no_obstacle() -> None:
    """Breaks if the active-set method runs in a circle with many rows."""
    rows = torch.randn(60, 400, generator=torch.Generator().manual_seed(0)) + 0.2
    assert_near(ShortestVector()(rows), shortest_by_scipy(rows), 1e-9)
