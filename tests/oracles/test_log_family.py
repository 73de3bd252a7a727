"""The log family: methods with different objectives that stand still at the same points, where sum grad L_t / L_t = 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.tasks.task import Task
from mtl_runner.weighting import (
    IMTLL,
    Fixed,
    GeometricMean,
    LogSum,
    Uncertainty,
    UncertaintyAnalytic,
    UncertaintySoftmax,
    Weighting,
)
from tests.support.builders import (
    NOTHING,
    SGD,
    Adam,
    Point,
    gradients_of,
    linear,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    minimise,
    near,
    terms,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

Make = Callable[[Sequence[Task]], Weighting]

FAMILY: dict[str, Make] = {
    "simplified": partial(Uncertainty, form="simplified", init=0.0),
    "jde": partial(Uncertainty, form="jde", init=0.0),
    "kendall": partial(Uncertainty, form="kendall", init=0.0),  # of tasks with the same b
    "log_sum": LogSum,
    "geometric_mean": GeometricMean,
    "imtl_l": IMTLL,
    "uw_o": UncertaintyAnalytic,
}
WITH_A_VALUE = [
    pytest.param(make, id=name) for name, make in FAMILY.items() if name != "uw_o"
]  # uw_o's is constant
STARTS = [(0.3, -0.7), (-2.0, 1.0), (3.0, 3.0)]


def opposed() -> list[Task]:
    """Three convex losses of a point with sizes from 1 to 1000, whose minima lie apart."""
    return terms(
        a=lambda p: (p - 1).square().sum() + 0.5,
        b=lambda p: 100 * (p + 2).square().sum() + 700,
        c=lambda p: 0.1 * (p[0] - 4).square() + 0.2 * p[1].square() + 1,
    )


def residual(model: nn.Module, tasks: Sequence[Task]) -> float:
    """|| sum_t grad L_t / L_t ||, after making sure that it is a balance of forces and not a common minimum."""
    gradients = gradients_of(model, tasks, NOTHING) / losses_of(
        model, tasks, NOTHING
    ).detach().unsqueeze(1)
    assert gradients.norm(dim=1).min() > 1e-2
    return gradients.sum(0).norm().item()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("make", WITH_A_VALUE)
def test_the_relative_gradients_cancel_at_convergence(
    make: Make, start: tuple[float, float]
) -> None:
    """Breaks if a method of the family ends elsewhere than where the gradients of log L_t sum to zero."""
    tasks = opposed()
    model, weighting = Point(*start), make(tasks)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, NOTHING)),
    )
    assert residual(model, tasks) < 1e-6


@pytest.mark.parametrize("start", STARTS)
def test_the_analytic_weights_end_at_the_same_balance(start: tuple[float, float]) -> None:
    """Breaks if UW-O, whose objective has no value to minimise, moves along anything but the gradients of log L_t."""
    tasks = opposed()
    model = Point(*start)
    learner = make_learner(
        tasks,
        NOTHING,
        model=model,
        weighting=UncertaintyAnalytic(tasks),
        optimizer=partial(torch.optim.SGD, lr=0.3),
    )
    train(learner, NOTHING, 400)
    assert residual(model, tasks) < 1e-6


@pytest.mark.parametrize(
    "make",
    [
        Fixed,
        partial(UncertaintySoftmax, temperature=1.0),
        partial(Uncertainty, form="liebel", init=0.0),
    ],
)
def test_the_balance_is_not_that_of_just_any_weighting(make: Make) -> None:
    """Breaks if the facts above hold for every weighting, and so say nothing about these."""
    tasks = opposed()
    model, weighting = Point(0.3, -0.7), make(tasks)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, NOTHING)),
    )
    assert residual(model, tasks) > 1e-2


def test_a_linear_model_ends_at_the_same_balance_for_every_member() -> None:
    """Breaks if the family parts on data: heads share one weight, so that the tasks pull at each other."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets["a"] *= 30

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = linear(tasks[:1])

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return dict.fromkeys("ab", self.map(inputs)["a"])

    ends = []
    for make in (make for name, make in FAMILY.items() if name != "uw_o"):
        model, weighting = Tied(), make(tasks)
        minimise(
            [*model.parameters(), *weighting.parameters()],
            lambda model=model, weighting=weighting: weighting(losses_of(model, tasks, split)),
        )
        losses = losses_of(model, tasks, split).detach()
        relative = gradients_of(model, tasks, split) / losses.unsqueeze(1)
        assert relative.norm(dim=1).min() > 1e-2
        assert relative.sum(0).norm() < 1e-6
        ends.append(losses)
    assert len(ends) == 6


# What follows from it: the unit of a loss does not matter


@pytest.mark.parametrize("factor", [0.08, 1e3])
@pytest.mark.parametrize(
    "make", [LogSum, UncertaintyAnalytic, partial(Uncertainty, form="simplified", init="log_loss")]
)
def test_a_rescaled_loss_takes_the_same_path(make: Make, factor: float) -> None:
    """Breaks if the unit in which a loss is written changes a single step."""
    ends = []
    for scale in (1.0, factor):
        tasks = terms(
            a=lambda p, scale=scale: scale * ((p - 1).square().sum() + 0.5),
            b=lambda p: 9 * (p + 2).square().sum() + 7,
        )
        learner = make_learner(
            tasks, NOTHING, model=Point(0.3, -0.7), weighting=make(tasks), optimizer=SGD
        )
        history = train(learner, NOTHING, 100)
        ends.append(
            (learner.model.point.detach().clone(), history.weights * torch.tensor([scale, 1.0]))
        )
    near(
        ends[1], ends[0], 1e-9
    )  # uncertainty's Adam begins at its optimum, with gradients of rounding errors: 5e-11


@pytest.mark.parametrize("factor", [0.08, 1e3])
def test_a_rescaled_loss_takes_the_same_path_from_a_shifted_scale(factor: float) -> None:
    """Breaks if IMTL-L's scale is not a unit of the loss: a factor c is a shift of s by -log c."""
    ends = []
    for scale in (1.0, factor):
        tasks = terms(
            a=lambda p, scale=scale: scale * ((p - 1).square().sum() + 0.5),
            b=lambda p: 9 * (p + 2).square().sum() + 7,
        )
        weighting = IMTLL(tasks, init={"a": -float(torch.tensor(scale).log())})
        learner = make_learner(
            tasks, NOTHING, model=Point(0.3, -0.7), weighting=weighting, optimizer=SGD
        )
        train(learner, NOTHING, 100)
        ends.append(learner.model.point.detach().clone())
    near(ends[1], ends[0], 1e-12)


def test_the_geometric_mean_goes_the_way_of_the_sum_of_logarithms() -> None:
    """Breaks if the two differ in more than the length of the step: its gradient is G/T times that of sum log L."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1")
    split = make_split(tasks)
    losses = losses_of(make_mlp(tasks), tasks, split).detach()
    mean, total = GeometricMean(tasks), LogSum(tasks)
    near(
        mean.weigh(losses)[0] / total.weigh(losses)[0],
        losses.prod().pow(1 / 3).expand(3) / 3,
        1e-13,
    )
    adams = [
        make_learner(
            tasks, split, weighting=weighting, optimizer=partial(torch.optim.Adam, lr=0.01, eps=0.0)
        )
        for weighting in (mean, total)
    ]
    ends = [train(learner, split, 1).losses[-1] for learner in adams]
    near(ends[0], ends[1], 0)
    first = [
        nn.utils.parameters_to_vector(learner.model.parameters()).detach() for learner in adams
    ]
    near(first[0], first[1], 1e-12)  # Adam's first step knows no length


def test_uncertainty_at_its_optimum_is_the_sum_of_logarithms() -> None:
    """Breaks if closed-form uncertainty without memory, UW-O and the sum of logarithms are not one method."""
    tasks = make_tasks(a="regression_l1", b="regression_l1")  # b = 1
    split = make_split(tasks)
    ends = []
    for weighting in (
        LogSum(tasks),
        UncertaintyAnalytic(tasks),
        Uncertainty(tasks, form="simplified", solver="closed_form", momentum=0.0),
    ):
        learner = make_learner(tasks, split, weighting=weighting, optimizer=Adam)
        history = train(learner, split, 30)
        ends.append((history.losses, history.weights))
    near(ends[1], ends[0], 1e-11)
    near(ends[2], ends[0], 1e-11)
