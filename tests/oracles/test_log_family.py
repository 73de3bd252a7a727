"""The log family: methods with different objectives whose stationary points are the same.

At these points sum_t grad L_t / L_t = 0.
"""

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
    NO_DATA,
    SGD,
    Adam,
    Point,
    assert_near,
    gradients_of,
    losses_of,
    make_learner,
    make_linear,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    minimise,
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
# Not UW-O, the value of whose objective is constant.
WITH_A_VALUE = [pytest.param(make, id=name) for name, make in FAMILY.items() if name != "uw_o"]
STARTS = [(0.3, -0.7), (-2.0, 1.0), (3.0, 3.0)]


def opposed() -> list[Task]:
    """Return three convex losses of a point with sizes from 1 to 1000 and different minima."""
    return make_terms(
        a=lambda p: (p - 1).square().sum() + 0.5,
        b=lambda p: 100 * (p + 2).square().sum() + 700,
        c=lambda p: 0.1 * (p[0] - 4).square() + 0.2 * p[1].square() + 1,
    )


def residual(model: nn.Module, tasks: Sequence[Task]) -> float:
    """Return || sum_t grad L_t / L_t ||, after asserting that no single term is near 0."""
    gradients = gradients_of(model, tasks, NO_DATA) / losses_of(
        model, tasks, NO_DATA
    ).detach().unsqueeze(1)
    assert gradients.norm(dim=1).min() > 1e-2
    return gradients.sum(0).norm().item()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("make", WITH_A_VALUE)
def test_the_relative_gradients_cancel_at_convergence(
    make: Make, start: tuple[float, float]
) -> None:
    """Breaks if a method of the family does not end where the gradients of log L_t sum to zero."""
    tasks = opposed()
    model, weighting = Point(*start), make(tasks)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, NO_DATA)),
    )
    assert residual(model, tasks) < 1e-6


@pytest.mark.parametrize("start", STARTS)
def test_the_analytic_weights_end_at_the_same_balance(start: tuple[float, float]) -> None:
    """Breaks if UW-O does not move along the gradients of log L_t.

    Its objective has no value that a solver could minimise.
    """
    tasks = opposed()
    model = Point(*start)
    learner = make_learner(
        tasks,
        NO_DATA,
        model=model,
        weighting=UncertaintyAnalytic(tasks),
        optimizer=partial(torch.optim.SGD, lr=0.3),
    )
    train(learner, NO_DATA, 400)
    assert residual(model, tasks) < 1e-6


@pytest.mark.parametrize(
    "make",
    [
        Fixed,
        partial(UncertaintySoftmax, temperature=1.0),
        partial(Uncertainty, form="liebel", init=0.0),
    ],
)
def test_other_weightings_end_at_another_balance(make: Make) -> None:
    """Breaks if the facts above hold for every weighting, and so say nothing about this family."""
    tasks = opposed()
    model, weighting = Point(0.3, -0.7), make(tasks)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, NO_DATA)),
    )
    assert residual(model, tasks) > 1e-2


def test_a_linear_model_ends_at_the_same_balance_for_every_member() -> None:
    """Breaks if the methods of the family end at different models on data.

    The heads share their weights, so that the tasks pull at each other.
    """
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets["a"] *= 30

    class Tied(nn.Module):
        """A linear map whose output is the answer of both tasks."""

        def __init__(self) -> None:
            super().__init__()
            self.map = make_linear(tasks[:1])

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


# A consequence: the unit of a loss does not matter


@pytest.mark.parametrize("factor", [0.08, 1e3])
@pytest.mark.parametrize(
    "make", [LogSum, UncertaintyAnalytic, partial(Uncertainty, form="simplified", init="log_loss")]
)
def test_a_rescaled_loss_takes_the_same_path(make: Make, factor: float) -> None:
    """Breaks if the unit in which a loss is written changes a single step."""
    ends = []
    for scale in (1.0, factor):
        tasks = make_terms(
            a=lambda p, scale=scale: scale * ((p - 1).square().sum() + 0.5),
            b=lambda p: 9 * (p + 2).square().sum() + 7,
        )
        learner = make_learner(
            tasks, NO_DATA, model=Point(0.3, -0.7), weighting=make(tasks), optimizer=SGD
        )
        history = train(learner, NO_DATA, 100)
        ends.append(
            (learner.model.point.detach().clone(), history.weights * torch.tensor([scale, 1.0]))
        )
    # Uncertainty's Adam starts at the optimum, where gradients are rounding errors: 5e-11.
    assert_near(ends[1], ends[0], 1e-9)


@pytest.mark.parametrize("factor", [0.08, 1e3])
def test_a_rescaled_loss_takes_the_same_path_from_a_shifted_scale(factor: float) -> None:
    """Breaks if a factor c on the loss is not a shift of IMTL-L's s by -log c."""
    ends = []
    for scale in (1.0, factor):
        tasks = make_terms(
            a=lambda p, scale=scale: scale * ((p - 1).square().sum() + 0.5),
            b=lambda p: 9 * (p + 2).square().sum() + 7,
        )
        weighting = IMTLL(tasks, init={"a": -float(torch.tensor(scale).log())})
        learner = make_learner(
            tasks, NO_DATA, model=Point(0.3, -0.7), weighting=weighting, optimizer=SGD
        )
        train(learner, NO_DATA, 100)
        ends.append(learner.model.point.detach().clone())
    assert_near(ends[1], ends[0], 1e-12)


def test_the_geometric_mean_has_the_direction_of_the_sum_of_logarithms() -> None:
    """Breaks if the two gradients differ in more than their length.

    The gradient of the geometric mean G is G/T times that of sum log L.
    """
    tasks = make_tasks(a="regression", b="classification", c="regression_l1")
    split = make_split(tasks)
    losses = losses_of(make_mlp(tasks), tasks, split).detach()
    mean, total = GeometricMean(tasks), LogSum(tasks)
    assert_near(
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
    assert_near(ends[0], ends[1], 0)
    first = [
        nn.utils.parameters_to_vector(learner.model.parameters()).detach() for learner in adams
    ]
    # Adam's first step does not depend on the length of the gradient.
    assert_near(first[0], first[1], 1e-12)


def test_uncertainty_at_its_optimum_is_the_sum_of_logarithms() -> None:
    """Breaks if closed-form uncertainty without momentum, UW-O and sum log L train differently."""
    # With this kind the b of uncertainty weighting is 1.
    tasks = make_tasks(a="regression_l1", b="regression_l1")
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
    assert_near(ends[1], ends[0], 1e-11)
    assert_near(ends[2], ends[0], 1e-11)
