"""TorchJD's scalarizers and any other module as a weighting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Foreign
from tests.support.builders import some

TASKS = [Task("a"), Task("b"), Task("c")]


def test_a_stateless_scalarizer_sees_only_the_active_tasks() -> None:
    """Breaks if an idle task's loss still weighs."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    weights, objective = Foreign(TASKS, scalarization.Mean()).weigh(
        torch.tensor([1.0, 2.0, 30.0]), some(0, 1)
    )
    assert weights.tolist() == [0.5, 0.5, 0.0]
    assert float(objective) == 1.5


def test_the_weights_of_a_geometric_mean_are_its_gradient() -> None:
    """Breaks if what is logged is not d objective / d loss."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    losses = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)
    weights, objective = Foreign(TASKS, scalarization.GeometricMean()).weigh(losses)
    assert torch.allclose(weights, objective / (3 * losses))


def test_a_stateful_scalarizer_trains_its_state_and_refuses_idle_tasks() -> None:
    """Breaks if the state of an idle task drifts."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    weighting = Foreign(TASKS, scalarization.UW(3))
    weighting.weigh(torch.ones(3))
    assert all(p.grad is not None for p in weighting.parameters())
    with pytest.raises(
        ConfigError, match="UW keeps a state per task and cannot leave out the idle task 'c'"
    ):
        weighting.weigh(torch.ones(3), some(0, 1))


@pytest.mark.parametrize("name", ["DWA", "FAMO"])
def test_a_scalarizer_that_wants_calls_we_do_not_make_is_refused(name: str) -> None:
    """Breaks if DWA or FAMO silently stays at equal weights."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    module = scalarization.DWA() if name == "DWA" else scalarization.FAMO(3)
    with pytest.raises(
        ConfigError, match=rf"The weighting {name} wants its `\w+\(\)` called while training"
    ):
        Foreign(TASKS, module)


def test_any_module_from_losses_to_a_scalar_will_do() -> None:
    """Breaks if a user's own module needs our base class."""

    class Largest(nn.Module):
        def forward(self, losses: torch.Tensor) -> torch.Tensor:
            return losses.max()

    assert Foreign(TASKS, Largest()).weigh(torch.tensor([1.0, 3.0, 2.0]))[0].tolist() == [
        0.0,
        1.0,
        0.0,
    ]


@pytest.mark.parametrize(
    ("result", "said"),
    [(lambda x: x, r"shape \(3,\)"), (lambda x: x.sum().detach(), "detached from them")],
)
def test_a_weighting_that_returns_no_scalar_of_the_losses_is_named(
    result: Callable[[torch.Tensor], torch.Tensor], said: str
) -> None:
    """Breaks if a user's mistake ends in an error of autograd."""

    class Mine(nn.Module):
        def forward(self, losses: torch.Tensor) -> torch.Tensor:
            return result(losses)

    with pytest.raises(
        ConfigError, match=f"must return a scalar that depends on the losses .*{said}"
    ):
        Foreign(TASKS, Mine()).weigh(torch.ones(3))
