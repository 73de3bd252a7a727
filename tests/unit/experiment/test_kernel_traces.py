"""The traces of neural tangent kernels, against Jacobians by plain autograd."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.data.physics.derivatives import derivatives
from mtl_runner.errors import ConfigError
from mtl_runner.experiment import kernel_traces as module
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.kernel_traces import kernel_traces
from mtl_runner.likelihood import Standard
from mtl_runner.models import MLP
from mtl_runner.models.pinn_mlp import PinnMLP
from mtl_runner.tasks.points import PointSet
from mtl_runner.tasks.task import Task
from tests.support.builders import INPUTS, assert_near, make_mlp, make_split, make_tasks

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="multilabel")


def by_autograd(model: nn.Module, split: Split, task: Task, rows: list[int]) -> Tensor:
    """Return the mean squared length of the gradients of a task's outputs for some rows."""
    lengths = []
    for output in model(split.inputs)[task.name][rows].flatten():
        gradients = torch.autograd.grad(
            output, list(model.parameters()), retain_graph=True, allow_unused=True
        )
        lengths.append(sum(g.square().sum() for g in gradients if g is not None))
    return torch.stack(lengths).mean()


@pytest.mark.parametrize("largest", [1, 500, 2**24])
def test_the_traces_are_those_of_the_jacobian(
    monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    """Breaks if an output, a row or a head is left out, also where memory is short."""
    monkeypatch.setattr(module, "LARGEST", largest)
    model, split = make_mlp(TASKS), make_split(TASKS)
    actual = kernel_traces(ForwardPass(model, Standard(TASKS)), split, TASKS)
    rows = list(range(len(split)))
    expected = torch.stack([by_autograd(model, split, task, rows) for task in TASKS])
    assert_near(actual, expected, 1e-10)


def test_rows_without_a_label_do_not_count() -> None:
    """Breaks if a missing label counts as an output, or a task without labels divides by 0."""
    tasks = [replace(task, missing=True) for task in make_tasks(a="regression", b="regression")]
    model, split = make_mlp(tasks), make_split(tasks)
    split.targets["a"][5:] = torch.nan
    split.targets["b"][:] = torch.nan
    actual = kernel_traces(ForwardPass(model, Standard(tasks)), split, tasks)
    assert_near(actual[0], by_autograd(model, split, tasks[0], list(range(5))), 1e-10)
    assert actual[1] == 0


def test_the_model_stays_as_it_is() -> None:
    """Breaks if a measurement moves random numbers, gradients or the mode of the model."""
    torch.manual_seed(0)
    model = MLP(TASKS, (INPUTS,), (8,), dropout=0.5)
    split, state = make_split(TASKS), torch.get_rng_state()
    forward_pass = ForwardPass(model, Standard(TASKS))
    first, second = (kernel_traces(forward_pass, split, TASKS) for _ in range(2))
    assert torch.equal(first, second)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def curvature(model: nn.Module, batch: Split) -> Tensor:
    """Return u_xx - u at some points, ``[N]``."""
    u, u_xx = derivatives(model, batch.inputs, "u", "u_xx", coordinates="xt")
    return u_xx - u


def test_of_an_equation_the_traces_are_those_of_its_residuals() -> None:
    """Breaks if ntk, made for equations, measures the boundary's outputs in their place."""

    def equation(model: nn.Module, batch: Split) -> Tensor:
        return curvature(model, batch).square().mean()

    equation.residuals = curvature  # type: ignore[attr-defined]
    equation.points = PointSet(lambda n, generator: torch.zeros(n, 2), n=1)  # type: ignore[attr-defined]
    tasks = [Task("u", size=1), Task("pde", "term", loss_term=equation)]
    torch.manual_seed(0)
    model = PinnMLP(tasks[:1], (2,), hidden=(5,))
    points = torch.randn(4, 2)
    batch = Split(torch.randn(3, 2), {"u": torch.zeros(3, 1)}, points={"pde": points})
    actual = kernel_traces(ForwardPass(model, Standard(tasks)), batch, tasks)
    assert_near(actual[0], by_autograd(model, batch, tasks[0], [0, 1, 2]), 1e-10)
    lengths = []
    for point in points:
        residual = curvature(model, Split(point[None], {}))
        # The last bias is in no derivative, but in u.
        gradients = torch.autograd.grad(residual.sum(), list(model.parameters()))
        lengths.append(sum(g.square().sum() for g in gradients))
    assert_near(actual[1], torch.stack(lengths).mean(), 1e-10)


class Branching(nn.Module):
    """A model that looks at the numbers of a row to decide what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"a": self.layer(inputs if inputs.sum().item() > 0 else -inputs)}


def test_a_model_that_cannot_be_taken_row_by_row_is_refused() -> None:
    """Breaks if torch's own words reach a user, or equal weights are trained instead."""
    tasks = make_tasks(a="regression")
    words = r"The weighting NTK takes the Jacobian of a model row by row, which torch\.func cannot do with this one \(.+\); choose another weighting\."
    with pytest.raises(ConfigError, match=words):
        kernel_traces(ForwardPass(Branching(), Standard(tasks)), make_split(tasks), tasks)
