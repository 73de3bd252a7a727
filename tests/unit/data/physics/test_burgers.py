"""The solution of Burgers' equation by quadrature satisfies it; its viscosity can be found."""

from __future__ import annotations

import math

import pytest
import torch

from mtl_runner.data import Burgers, BurgersInverse
from mtl_runner.data.physics import burgers
from mtl_runner.data.physics.burgers import BurgersEquation
from mtl_runner.data.physics.domain import grid
from mtl_runner.errors import ConfigError
from mtl_runner.models import MLP, PinnMLP
from mtl_runner.tasks.task import Task
from tests.unit.data.physics.references import largest_error_of_rows, largest_residuals

SMALL = {"grid_lines": 9}
POINTS = grid((-1.0, 0.0), (1.0, 1.0), 21)


@pytest.mark.parametrize("viscosity", [0.01 / math.pi, 0.05])
def test_the_reference_satisfies_equation_and_boundary(viscosity: float) -> None:
    """Breaks if the transform or the quadrature is wrong: the shock's slope is 150."""
    residuals = largest_residuals(Burgers(viscosity=viscosity, n_initial=40, **SMALL))
    assert residuals["pde"] < 1e-8
    assert residuals["boundary"] < 1e-12


def test_more_nodes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the quadrature has not converged."""
    solution = BurgersEquation().exact(POINTS)["u"]
    monkeypatch.setattr(burgers, "NODES", 2 * burgers.NODES)
    # Weights of the outer nodes are 0 in double precision.
    assert (BurgersEquation().exact(POINTS)["u"] - solution).abs().max() < 1e-12


def test_the_start_is_a_sine_and_the_shock_stands_in_the_middle() -> None:
    """Breaks if the solution belongs to another start, or is not odd."""
    assert largest_error_of_rows(Burgers(n_initial=40, **SMALL)) < 1e-6
    solution = BurgersEquation().exact(POINTS)["u"].view(21, 21)
    start = -torch.sin(math.pi * POINTS.view(21, 21, 2)[:, 0, 0])
    assert (solution[:, 0] - start).abs().max() < 1e-12
    assert (solution + solution.flip(0)).abs().max() < 1e-12
    # The slope at the origin at t = 1.6037 / pi is -152.00516 (Basdevant et al., 1986).
    point = torch.tensor([[0.0, 1.6037 / math.pi]], dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(BurgersEquation().exact(point)["u"].sum(), point)
    assert abs(slope[0, 0].item() + 152.00516) < 1e-3


def test_the_true_viscosity_leaves_no_residual() -> None:
    """Breaks if the inverse problem asks for another number than the data have."""
    problem = BurgersInverse(n_measured=40, **SMALL)
    task = problem.tasks[1]
    model = PinnMLP([Task("u", size=1)], (2,), hidden=(4,), unknowns={"viscosity": 0.0031830989})
    metrics = {name: metric(model, None) for name, metric in task.term_metrics.items()}
    assert abs(metrics["viscosity"].item() - 0.01 / math.pi) < 1e-8
    assert metrics["viscosity_error"].item() < 1e-5
    assert task.directions == {
        "loss": False,
        "relative_loss": False,
        "viscosity": None,
        "viscosity_error": False,
    }


def test_noise_has_its_size() -> None:
    """Breaks if measurements are noisier or cleaner than they are said to be."""
    clean = BurgersInverse(n_measured=4000, **SMALL).splits["train"].targets["u"]
    noisy = BurgersInverse(n_measured=4000, noise=0.1, **SMALL).splits["train"].targets["u"]
    assert abs((noisy - clean).std().item() - 0.1) < 0.005


def test_a_model_without_an_unknown_is_told_so() -> None:
    """Breaks if an inverse problem without a number to learn ends in an AttributeError."""
    task = BurgersInverse(n_measured=8, **SMALL).tasks[1]
    tasks = [Task("u", size=1)]
    with pytest.raises(ConfigError) as error:
        task.term_metrics["viscosity"](MLP(tasks, (2,)), None)
    assert (
        str(error.value)
        == "The viscosity is unknown, and a MLP has no number to learn it; use model=pinn_mlp with model.unknowns.viscosity=0.1."
    )


def test_a_viscosity_that_is_too_small_is_refused() -> None:
    """Breaks if errors are measured against a reference that is no longer exact."""
    with pytest.raises(ConfigError) as error:
        Burgers(viscosity=0.001)
    assert (
        str(error.value)
        == "data.viscosity=0.001 is below 0.0016, where the reference is no longer exact; give a larger one."
    )
