"""The effect of a constant factor on a loss, or of another unit of a target, on training."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.update import PerTask
from mtl_runner.weighting import Fixed, Uncertainty
from tests.support.builders import (
    NO_DATA,
    QUICK,
    Point,
    assert_near,
    assert_same_bits,
    flat_parameters,
    losses_of,
    make_learner,
    make_split,
    make_tasks,
    make_terms,
    minimise,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")


# A constant factor on the loss ("0.08 x loss")


def trained(
    weight: float, optimizer: partial[torch.optim.Optimizer], steps: int = 200
) -> torch.Tensor:
    """Return the parameters of a small network that was trained with this weight on every loss."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    learner = make_learner(tasks, split, weighting=Fixed(tasks, weight), optimizer=optimizer)
    train(learner, split, steps)
    return flat_parameters(learner.model)


def test_adam_without_eps_ignores_a_power_of_two_to_the_last_bit() -> None:
    """Breaks if something between loss and optimizer depends on the absolute size of the loss."""
    adam = partial(torch.optim.Adam, lr=0.01, eps=0.0)
    assert_same_bits(trained(2.0**-4, adam), trained(1.0, adam))


@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adam, partial(torch.optim.AdamW, weight_decay=0.1)]
)
def test_adam_ignores_a_constant_factor_except_through_eps(
    optimizer: type[torch.optim.Optimizer],
) -> None:
    """Breaks if "0.08 x loss" has an effect under Adam or AdamW beyond the one of eps."""
    gaps = []
    for eps in (1e-8, 1e-12):
        adam = partial(optimizer, lr=0.001, eps=eps)
        gaps.append((trained(0.08, adam) - trained(1.0, adam)).abs().max().item())
    assert gaps[1] < 2e-9
    assert gaps[1] == pytest.approx(1e-4 * gaps[0], rel=0.01)


@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adam, partial(torch.optim.AdamW, weight_decay=0.1)]
)
def test_the_default_eps_is_nothing_beside_gradients_of_order_one(
    optimizer: type[torch.optim.Optimizer],
) -> None:
    """Breaks if a constant factor matters already where gradients are of ordinary size."""
    tasks = make_terms(a=lambda p: (p - 3).square().sum(), b=lambda p: (p + 5).abs().sum())
    points = []
    for weight in (0.08, 1.0):
        learner = make_learner(
            tasks,
            NO_DATA,
            model=Point(0.5, -0.5),
            weighting=Fixed(tasks, weight),
            optimizer=partial(optimizer, lr=0.01),
        )
        train(learner, NO_DATA, 200)
        points.append(flat_parameters(learner.model))
    assert_near(points[0], points[1], 8e-8)


def test_adam_with_l2_decay_is_changed_by_a_constant_factor() -> None:
    """Breaks if Adam's L2 term is scaled with the loss, or is decoupled as in AdamW."""
    adam = partial(torch.optim.Adam, lr=0.01, weight_decay=0.1)
    assert (trained(0.08, adam) - trained(1.0, adam)).abs().max() > 1e-2


def test_sgd_is_changed_by_a_constant_factor_and_restored_by_the_learning_rate() -> None:
    """Breaks if a weight is not a factor of the gradient."""
    plain = trained(1.0, partial(torch.optim.SGD, lr=0.01))
    assert (trained(0.08, partial(torch.optim.SGD, lr=0.01)) - plain).abs().max() > 1e-2
    assert_near(trained(0.08, partial(torch.optim.SGD, lr=0.01 / 0.08)), plain, 1e-12)


def test_fixed_weights_do_nothing_under_one_adam_per_task() -> None:
    """Breaks if per-task Adam is not invariant to the size of a task's loss."""
    tasks = make_tasks(a="regression", b="classification", c="multilabel")
    split = make_split(tasks)
    adam = partial(torch.optim.Adam, lr=0.01, eps=0.0)
    parameters = []
    for weights in ({}, {"a": 2.0**-10, "b": 2.0**7, "c": 0.5}):
        learner = make_learner(
            tasks, split, weighting=Fixed(tasks, weights), optimizer=adam, update=PerTask
        )
        train(learner, split, 30)
        parameters.append(flat_parameters(learner.model))
    assert_same_bits(parameters[1], parameters[0])


# Other units of a target: y -> c y


def converged(factor: float, form: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Let two losses pull at one point until convergence.

    Args:
        factor: The unit of the first target, whose loss has the factor squared.
        form: A form of uncertainty weighting, or ``"fixed"`` for equal weights.

    Returns:
        The point, the weighted losses ``[2]`` and the s ``[2]``.
    """
    tasks = make_terms(
        a=lambda p: factor**2 * ((p - 1).square().sum() + 3), b=lambda p: (p + 1).square().sum() + 5
    )
    weighting = Fixed(tasks) if form == "fixed" else Uncertainty(tasks, form=form, init=0.0)
    model = Point(0.1, -0.2)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, NO_DATA)),
    )
    losses = losses_of(model, tasks, NO_DATA).detach()
    weights, _ = weighting.weigh(losses)
    s = (
        torch.stack([p.detach().clone() for p in weighting.parameters()])
        if form != "fixed"
        else torch.zeros(2)
    )
    return flat_parameters(model), weights * losses, s


@QUICK
@given(exponent=st.floats(-2, 2))
@pytest.mark.parametrize("form", ["kendall", "simplified", "jde"])
def test_the_unit_of_a_target_does_not_matter_to_uncertainty_weighting(
    form: str, exponent: float
) -> None:
    """Breaks if the balance between tasks depends on metres or millimetres."""
    factor = 10.0**exponent
    point, weighted, s = converged(1.0, form)
    other_point, other_weighted, other_s = converged(factor, form)
    assert_near(other_point, point, 1e-6)
    # As far as the solver converges; exactly in the test below.
    assert_near(other_weighted, weighted, 1e-8)
    assert_near(other_s - s, torch.tensor([2 * math.log(factor), 0.0]), 1e-6)


@pytest.mark.parametrize("weighting", ["fixed", "liebel"])
def test_the_unit_of_a_target_matters_to_fixed_weights_and_to_liebel(weighting: str) -> None:
    """Breaks if the documented dependence on units is gone, and so the formula is another one."""
    point, weighted, _ = converged(1.0, weighting)
    other_point, other_weighted, _ = converged(10.0, weighting)
    assert (other_point - point).abs().max() > 0.1
    assert (other_weighted - weighted).abs().max() > 0.1


@QUICK
@given(exponent=st.floats(-3, 3))
@pytest.mark.parametrize(("kind", "shift"), [("regression", 2.0), ("regression_l1", 1.0)])
@pytest.mark.parametrize("solver", ["gradient", "closed_form"])
def test_rescaling_a_target_moves_log_variance_by_two_log_c(
    solver: str, kind: str, shift: float, exponent: float
) -> None:
    """Breaks if s is not log sigma^2 (for L1: log b), or sigma does not have the target's unit."""
    factor = 10.0**exponent
    tasks = make_tasks(a=kind)
    split = make_split(tasks)
    results = []
    for c in (1.0, factor):
        weighting = Uncertainty(tasks, solver=solver)
        loss = tasks[0].loss(
            {"a": torch.zeros_like(split.targets["a"])}, {"a": c * split.targets["a"]}
        )
        weights, _ = weighting.weigh(loss.reshape(1))
        results.append(
            (weighting.log_variance[0].item(), (weights * loss).item(), weighting.sigmas()[0])
        )
    assert results[1][0] - results[0][0] == pytest.approx(shift * math.log(factor), abs=1e-9)
    assert results[1][1] == pytest.approx(results[0][1], abs=3e-10)
    assert results[1][2] == pytest.approx(factor * results[0][2])


# A constant factor inside the objective (the 1/2 of the Gaussian)


@QUICK
@given(start=st.floats(-3, 3), seed=st.integers(0, 5))
def test_the_factor_a_only_renames_sigma(start: float, seed: int) -> None:
    """Breaks if the 1/2 that papers write or leave out before the loss changes what is trained."""
    # In Kendall's form a is 1/2 for the first and 1 for the second; b is 1/2 for both.
    with_half, without_half = make_tasks(a="regression"), make_tasks(a="classification")
    losses = 1 + torch.rand(50, generator=torch.Generator().manual_seed(seed))
    trajectories = []
    for tasks, s in ((with_half, start), (without_half, start + math.log(2))):
        weighting = Uncertainty(tasks, init=s)
        own_optimizers = OwnOptimizers(weighting, torch.optim.Adam)
        weights = []
        for loss in losses:
            weights.append(weighting.weigh(loss.reshape(1))[0])
            own_optimizers.step()
        trajectories.append(torch.cat(weights))
    assert_near(trajectories[1], trajectories[0], 1e-12 * math.exp(-start + 1))


def test_a_factor_on_the_whole_objective_does_not_move_its_minimum() -> None:
    """Breaks if simplified and jde, of which one is half the other, disagree about the optimum."""
    assert_near(converged(1.0, "jde")[0], converged(1.0, "simplified")[0], 1e-7)
    assert_near(converged(1.0, "jde")[2], converged(1.0, "simplified")[2], 1e-7)
    assert_near(2 * converged(1.0, "jde")[1], converged(1.0, "simplified")[1], 1e-9)
