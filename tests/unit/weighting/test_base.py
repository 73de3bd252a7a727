"""The base class of all weightings, and any other module as a weighting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Uncertainty, Weighting, WrappedScalarizer
from tests.support.builders import assert_near, make_tasks, only_active

TASKS = [Task("a"), Task("b"), Task("c")]


# A weighting of the user's own


class SquareRoots(Weighting):
    """A user's objective of the losses alone."""

    def forward(self, losses: torch.Tensor, active: Active | None = None) -> torch.Tensor:
        return losses.sqrt().sum()


class Scaled(Weighting):
    """A user's weighting with a trained factor per task."""

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__(tasks)
        self.factors = nn.ParameterList(nn.Parameter(torch.tensor(2.0)) for _ in tasks)

    def forward(self, losses: torch.Tensor, active: Active | None = None) -> torch.Tensor:
        return torch.dot(torch.stack(self._parameters_of(self.factors, active)), losses)


def test_a_weight_is_the_slope_of_the_objective_and_0_for_idle_tasks() -> None:
    """Breaks if a user who writes one `forward` has to compute the weights, too."""
    losses = torch.tensor([4.0, 1.0, 0.25])
    weights, objective = SquareRoots(TASKS).weigh(losses, only_active(0, 1))
    assert weights.tolist() == [0.25, 0.5, 0.0]
    assert objective.item() == 3.0
    assert not weights.requires_grad
    assert not objective.requires_grad
    assert not losses.requires_grad


def test_trained_parameters_get_their_gradient_and_those_of_idle_tasks_none() -> None:
    """Breaks if an optimizer moves a parameter, or its clock, of a task that does not take part."""
    weighting = Scaled(TASKS)
    weighting.weigh(torch.tensor([4.0, 1.0, 0.25]))
    assert [p.grad.item() for p in weighting.factors] == [4.0, 1.0, 0.25]
    weighting.weigh(torch.tensor([3.0, 1.0, 0.25]), only_active(0, 1))
    assert [None if p.grad is None else p.grad.item() for p in weighting.factors] == [
        3.0,
        1.0,
        None,
    ]


class Shifted(Uncertainty):
    """A user's own objective on top of ours."""

    def forward(self, losses: torch.Tensor, active: Active | None = None) -> torch.Tensor:
        return super().forward(losses, active) + 100 * losses.sum()


def test_formulas_of_a_base_class_do_not_speak_for_another_objective() -> None:
    """Breaks if a subclass's forward is ignored, without a word."""
    weighting = Shifted(make_tasks(a="regression", b="regression"), init=0.0)
    weights, objective = weighting.weigh(torch.tensor([1.0, 2.0]))
    assert_near(weights, torch.tensor([100.5, 100.5]), 1e-12)
    assert objective.item() == pytest.approx(301.5)


# Any other module, such as TorchJD's scalarizers


def test_a_stateless_scalarizer_sees_only_the_active_tasks() -> None:
    """Breaks if an idle task's loss still weighs."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    weights, objective = WrappedScalarizer(TASKS, scalarization.Mean()).weigh(
        torch.tensor([1.0, 2.0, 30.0]), only_active(0, 1)
    )
    assert weights.tolist() == [0.5, 0.5, 0.0]
    assert float(objective) == 1.5


def test_the_weights_of_a_geometric_mean_are_its_gradient() -> None:
    """Breaks if what is logged is not d objective / d loss."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    losses = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)
    weights, objective = WrappedScalarizer(TASKS, scalarization.GeometricMean()).weigh(losses)
    assert torch.allclose(weights, objective / (3 * losses))


def test_a_stateful_scalarizer_trains_its_state_and_refuses_idle_tasks() -> None:
    """Breaks if the state of an idle task drifts."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    weighting = WrappedScalarizer(TASKS, scalarization.UW(3))
    weighting.weigh(torch.ones(3))
    assert all(p.grad is not None for p in weighting.parameters())
    with pytest.raises(
        ConfigError, match="UW keeps a state per task and cannot leave out the idle task 'c'"
    ):
        weighting.weigh(torch.ones(3), only_active(0, 1))


@pytest.mark.parametrize("name", ["DWA", "FAMO"])
def test_a_scalarizer_that_wants_calls_we_do_not_make_is_refused(name: str) -> None:
    """Breaks if DWA or FAMO silently stays at equal weights."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    module = scalarization.DWA() if name == "DWA" else scalarization.FAMO(3)
    with pytest.raises(
        ConfigError, match=rf"The weighting {name} wants its `\w+\(\)` called while training"
    ):
        WrappedScalarizer(TASKS, module)


def test_any_module_from_losses_to_a_scalar_will_do() -> None:
    """Breaks if a user's own module needs our base class."""

    class Largest(nn.Module):
        def forward(self, losses: torch.Tensor) -> torch.Tensor:
            return losses.max()

    assert WrappedScalarizer(TASKS, Largest()).weigh(torch.tensor([1.0, 3.0, 2.0]))[0].tolist() == [
        0.0,
        1.0,
        0.0,
    ]


@pytest.mark.parametrize(
    ("result", "complaint"),
    [(lambda x: x, r"shape \(3,\)"), (lambda x: x.sum().detach(), "detached from them")],
)
def test_a_weighting_that_returns_no_scalar_of_the_losses_is_named(
    result: Callable[[torch.Tensor], torch.Tensor], complaint: str
) -> None:
    """Breaks if a user's mistake ends in an error of autograd."""

    class Summary(nn.Module):
        def forward(self, losses: torch.Tensor) -> torch.Tensor:
            return result(losses)

    with pytest.raises(
        ConfigError, match=f"must return a scalar that depends on the losses .*{complaint}"
    ):
        WrappedScalarizer(TASKS, Summary()).weigh(torch.ones(3))
