"""UW-O and UW-SO: uncertainty weighting whose sigma is the optimum of every batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.weighting import Uncertainty, UncertaintyAnalytic, UncertaintySoftmax
from tests.support.builders import (
    NO_DATA,
    QUICK,
    SGD,
    Point,
    assert_near,
    assert_same_bits,
    copy_state,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

losses_over_decades = st.lists(
    st.floats(-6, 6).map(lambda exponent: 10.0**exponent), min_size=3, max_size=3
)
TASKS = make_tasks(a="regression", b="classification", c="regression_l1")


# UW-O


@QUICK
@given(losses=losses_over_decades)
def test_gaussian_and_laplace_weights_are_b_over_the_loss(losses: list[float]) -> None:
    """Breaks if a regression's weight is not 1/2 (Gaussian noise) or 1 (Laplace) over its loss."""
    tasks = make_tasks(a="regression", b="regression_l1", c="regression")
    weights, objective = UncertaintyAnalytic(tasks).weigh(torch.tensor(losses))
    assert_near(weights * torch.tensor(losses), torch.tensor([0.5, 1.0, 0.5]), 1e-12)
    assert objective.item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("kind", "factor"),
    [("regression", 1), ("regression_l1", 1), ("classification", 2), ("multilabel", 2)],
)
def test_a_regression_weighs_what_it_does_in_uncertainty_at_its_optimum_a_classification_twice(
    kind: str, factor: int
) -> None:
    """Breaks if UW-O balances the kinds of tasks otherwise than documented."""
    tasks = make_tasks(a=kind, b="regression")
    for losses in (torch.tensor([3.0, 0.2]), torch.tensor([0.01, 50.0])):
        # It starts at the optimum of its first batch.
        at_optimum = Uncertainty(tasks, form="kendall", init="log_loss")
        ratio = UncertaintyAnalytic(tasks).weigh(losses)[0] / at_optimum.weigh(losses)[0]
        assert_near(ratio, torch.tensor([float(factor), 1.0]), 1e-12)


def test_a_loss_term_counts_as_a_square() -> None:
    """Breaks if loss terms, mostly sums of squares, weigh otherwise than in Uncertainty."""
    tasks = make_terms(a=lambda p: p.sum(), b=lambda p: p.sum())
    losses = torch.tensor([3.0, 0.2])
    assert_near(
        UncertaintyAnalytic(tasks).weigh(losses)[0], Uncertainty(tasks).weigh(losses)[0], 1e-12
    )


def test_the_objective_is_constant_and_yet_trains() -> None:
    """Breaks if the gradient flows through the divisor too: L / L has none."""
    tasks = make_terms(
        a=lambda p: (p - 3).square().sum() + 1, b=lambda p: 40 * (p - 3).square().sum() + 2
    )
    learner = make_learner(tasks, NO_DATA, model=Point(0.0), weighting=UncertaintyAnalytic(tasks))
    history = train(learner, NO_DATA, 800)
    assert_near(history.objective, torch.ones(800), 1e-12)
    assert_near(learner.model.point.detach(), torch.tensor([3.0]), 1e-3)


@pytest.mark.parametrize("factor", [1e-3, 0.08, 1e4])
def test_the_unit_of_a_loss_does_not_matter(factor: float) -> None:
    """Breaks if rescaling one task's loss changes what is learned."""
    tasks = make_tasks(a="regression_l1", b="classification")
    split, scaled = make_split(tasks), make_split(tasks)
    models = [make_mlp(tasks), make_mlp(tasks)]
    scaled.targets["a"] = factor * scaled.targets["a"]
    with torch.no_grad():  # the same outputs in the rescaled unit
        for parameter in models[1].heads[0].parameters():
            parameter.mul_(factor)
    original, rescaled = (
        train(
            make_learner(
                tasks, data, model=model, weighting=UncertaintyAnalytic(tasks), optimizer=SGD
            ),
            data,
            1,
        )
        for data, model in ((split, models[0]), (scaled, models[1]))
    )
    assert_near(
        rescaled.losses / original.losses, torch.tensor([[factor, 1.0]]), 1e-12 * max(1, factor)
    )
    assert_near(
        rescaled.weights / original.weights,
        torch.tensor([[1 / factor, 1.0]]),
        1e-12 * max(1, 1 / factor),
    )
    assert_near(
        copy_state(models[1].trunk.state_dict()), copy_state(models[0].trunk.state_dict()), 1e-13
    )


@pytest.mark.parametrize("loss", [0.0, 1e-13, -1.0])
def test_a_solved_task_weighs_nothing_and_leaves_the_others_alone(loss: float) -> None:
    """Breaks if a loss of 0 weighs infinitely and drowns the others."""
    weights, objective = UncertaintyAnalytic(TASKS).weigh(torch.tensor([loss, 0.5, 4.0]))
    assert weights[0] == 0
    assert_same_bits(
        weights[1:], UncertaintyAnalytic(TASKS).weigh(torch.tensor([7.0, 0.5, 4.0]))[0][1:]
    )
    assert objective.isfinite()


# UW-SO


@QUICK
@given(
    losses=st.lists(st.floats(0.01, 100), min_size=3, max_size=3), temperature=st.floats(0.1, 1e3)
)
def test_weights_are_the_softmax_of_the_inverse_losses(
    losses: list[float], temperature: float
) -> None:
    """Breaks if the weights are not the published ones, or do not sum to 1."""
    inverse = [1 / loss for loss in losses]
    exponentials = [math.exp((x - max(inverse)) / temperature) for x in inverse]
    expected = torch.tensor(exponentials) / sum(exponentials)
    weights, objective = UncertaintySoftmax(TASKS, temperature).weigh(torch.tensor(losses))
    assert_near(weights, expected, 1e-12)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-14)
    assert objective.item() == pytest.approx(float(expected @ torch.tensor(losses)))


@QUICK
@given(losses=st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
def test_a_high_temperature_gives_equal_weights(losses: list[float]) -> None:
    """Breaks if the temperature multiplies where it must divide."""
    assert_near(
        UncertaintySoftmax(TASKS, 1e12).weigh(torch.tensor(losses))[0],
        torch.full((3,), 1 / 3),
        1e-9,
    )


@QUICK
@given(order=st.permutations([0.3, 0.7, 2.0]))
def test_a_low_temperature_gives_all_to_the_smallest_loss(order: list[float]) -> None:
    """Breaks if the softmax is over the losses themselves, which gives all to the largest."""
    weights, _ = UncertaintySoftmax(TASKS, 1e-3).weigh(torch.tensor(order))
    assert_near(weights, torch.tensor([float(loss == 0.3) for loss in order]), 1e-12)


@pytest.mark.parametrize("loss", [0.0, -2.0])
def test_a_loss_of_zero_or_less_gets_all_the_weight_of_the_softmax(loss: float) -> None:
    """Breaks the sentence that a run with a negative loss says, or turns it into NaN."""
    weights, _ = UncertaintySoftmax(TASKS).weigh(torch.tensor([0.5, loss, 2.0]))
    assert_near(weights, torch.tensor([0.0, 1.0, 0.0]), 0)


def test_the_weights_of_the_softmax_are_constants_for_the_model() -> None:
    """Breaks if the gradient flows through the softmax, which would reward the easiest task."""
    losses = torch.tensor([0.5, 1.0, 3.0], requires_grad=True)
    (slope,) = torch.autograd.grad(UncertaintySoftmax(TASKS, 0.7)(losses), losses)
    inverse = 1 / losses.detach()
    assert_near(slope, (inverse / 0.7).exp() / (inverse / 0.7).exp().sum(), 1e-14)


def test_the_softmax_is_over_the_active_tasks() -> None:
    """Breaks if an idle task takes a share of the weight."""
    weights, _ = UncertaintySoftmax(TASKS).weigh(
        torch.tensor([0.5, 1e-3, 2.0]), active=only_active(0, 2)
    )
    alone, _ = UncertaintySoftmax(TASKS[:2]).weigh(torch.tensor([0.5, 2.0]))
    assert_same_bits(weights, torch.stack([alone[0], torch.tensor(0.0), alone[1]]))


def test_analytic_weights_of_the_active_tasks_keep_their_constants() -> None:
    """Breaks if a task is weighed by another task's kind when some are idle."""
    weights, _ = UncertaintyAnalytic(
        make_tasks(a="regression", b="regression", c="regression_l1")
    ).weigh(torch.tensor([4.0, 9.0, 8.0]), active=only_active(1, 2))
    assert_near(weights, torch.tensor([0.0, 0.5 / 9, 1 / 8]), 1e-14)


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, "hot", True, None])
def test_a_temperature_that_is_not_positive_is_refused(temperature: object) -> None:
    """Breaks if a typo divides by 0 or turns the preference round."""
    with pytest.raises(
        ConfigError, match=r"weighting\.temperature must be a positive number; found"
    ):
        UncertaintySoftmax(TASKS, temperature)  # type: ignore[arg-type]
