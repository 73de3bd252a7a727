"""Sum of logarithms and geometric mean: their weights, their invariances, and a loss of 0."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.weighting import GeometricMean, LogSum, Weighting
from mtl_runner.weighting.base import TINY
from tests.support.builders import QUICK, assert_near, assert_same_bits, make_tasks, only_active
from tests.unit.weighting.autograd import by_autograd

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
positive_losses = st.lists(
    st.floats(-4, 4).map(lambda exponent: 10.0**exponent), min_size=3, max_size=3
)


@QUICK
@given(losses=positive_losses)
def test_the_weights_of_the_sum_of_logarithms_are_the_inverse_losses(losses: list[float]) -> None:
    """Breaks if the objective is not sum log L."""
    weights, objective = LogSum(TASKS).weigh(torch.tensor(losses))
    assert_near(weights * torch.tensor(losses), torch.ones(3), 1e-12)
    assert objective.item() == pytest.approx(math.log(math.prod(losses)), abs=1e-12)


@QUICK
@given(losses=positive_losses)
def test_the_geometric_mean_is_the_root_of_the_product(losses: list[float]) -> None:
    """Breaks if the objective or its gradient is not that of the T-th root of the product."""
    weights, objective = GeometricMean(TASKS).weigh(torch.tensor(losses))
    values = torch.tensor(losses, requires_grad=True)
    root = values.prod() ** (1 / 3)
    assert_near(objective / root.detach(), torch.tensor(1.0), 1e-12)
    assert_near(weights / torch.autograd.grad(root, values)[0], torch.ones(3), 1e-11)


@QUICK
@given(losses=positive_losses)
def test_torchjds_geometric_mean_agrees(losses: list[float]) -> None:
    """Breaks if ours differs from TorchJD's where both are defined."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    values = torch.tensor(losses, requires_grad=True)
    (expected,) = torch.autograd.grad(scalarization.GeometricMean()(values), values)
    assert_near(GeometricMean(TASKS).weigh(values.detach())[0] / expected, torch.ones(3), 1e-12)


@QUICK
@given(losses=positive_losses, factor=st.floats(0.01, 100))
@pytest.mark.parametrize("kind", [LogSum, GeometricMean])
def test_the_unit_of_a_loss_does_not_change_the_balance(
    kind: type[Weighting], losses: list[float], factor: float
) -> None:
    """Breaks if rescaling a loss changes the ratios of the weighted losses, which are all 1."""
    values = torch.tensor(losses)
    scaled = values * torch.tensor([factor, 1.0, 1.0])
    for losses_in_unit in (values, scaled):
        weighted_losses = kind(TASKS).weigh(losses_in_unit)[0] * losses_in_unit
        assert_near(weighted_losses / weighted_losses[0], torch.ones(3), 1e-12)


@pytest.mark.parametrize("edge", [TINY, TINY / 2, 0.0, -1.0, math.nan, math.inf])
def test_the_formula_of_the_sum_of_logarithms_is_its_derivative(edge: float) -> None:
    """Breaks if the logged weights are not those of the objective, also where losses end."""
    values = torch.tensor([edge, 0.3, 7.0])
    expected_weights, expected_objective, _ = by_autograd(LogSum(TASKS), values, None)
    weights, objective = LogSum(TASKS).weigh(values)
    assert_near(weights, expected_weights, 1e-15)
    torch.testing.assert_close(objective, expected_objective, equal_nan=True)


@pytest.mark.parametrize("kind", [LogSum, GeometricMean])
def test_only_the_active_tasks_count(kind: type[Weighting]) -> None:
    """Breaks if an idle task's loss enters the product, or its place the root's degree."""
    weights, objective = kind(TASKS).weigh(torch.tensor([2.0, 1e6, 8.0]), active=only_active(0, 2))
    alone, expected = kind(TASKS[:2]).weigh(torch.tensor([2.0, 8.0]))
    assert_same_bits(weights, torch.stack([alone[0], torch.tensor(0.0), alone[1]]))
    assert_same_bits(objective, expected)
    assert objective.item() == pytest.approx(4.0 if kind is GeometricMean else math.log(16.0))


def test_a_negative_loss_stops_all_tasks_of_the_geometric_mean() -> None:
    """Breaks the warning of negative losses."""
    assert (GeometricMean(TASKS).weigh(torch.tensor([-1.0, 0.5, 4.0]))[0] < 1e-3).all()


@pytest.mark.parametrize("solved", [0.0, 1e-13, -2.0])
@pytest.mark.parametrize("kind", [LogSum, GeometricMean])
def test_a_solved_task_counts_as_the_floor_and_gets_no_gradient(
    kind: type[Weighting], solved: float
) -> None:
    """Breaks if a loss of 0 makes the objective minus infinity and all weights NaN."""
    weights, objective = kind(TASKS).weigh(torch.tensor([solved, 0.5, 4.0]))
    floor, expected = kind(TASKS).weigh(torch.tensor([1e-12, 0.5, 4.0]))
    assert_same_bits(objective, expected)
    assert weights[0] == 0
    assert_same_bits(weights[1:], floor[1:])
