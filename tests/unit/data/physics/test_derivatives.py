"""Partial derivatives of a model's outputs are those of calculus, and can be trained through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_runner.data import derivatives
from mtl_runner.errors import ConfigError
from mtl_runner.models import PinnMLP
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near


def field(points: Tensor) -> dict[str, Tensor]:
    """Return u = x^3 t^2 + sin(t) and long_name = x t."""
    x, t = points[:, :1], points[:, 1:]
    return {"u": x**3 * t**2 + t.sin(), "long_name": x * t}


POINTS = torch.tensor([[0.5, 2.0], [-1.5, 0.3], [2.0, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("u", lambda x, t: x**3 * t**2 + t.sin()),
        ("u_x", lambda x, t: 3 * x**2 * t**2),
        ("u_t", lambda x, t: 2 * x**3 * t + t.cos()),
        ("u_xx", lambda x, t: 6 * x * t**2),
        ("u_tx", lambda x, t: 6 * x**2 * t),
        ("u_xt", lambda x, t: 6 * x**2 * t),
        ("u_tt", lambda x, t: 2 * x**3 - t.sin()),
        ("u_xxt", lambda x, t: 12 * x * t),
        ("long_name", lambda x, t: x * t),
        ("long_name_t", lambda x, t: x + 0 * t),
    ],
)
def test_a_derivative_is_that_of_calculus(name: str, expected: object) -> None:
    """Breaks if an order, a coordinate or an output is mixed up with another."""
    (derivative,) = derivatives(field, POINTS, name, coordinates="xt")
    assert_near(derivative, expected(*POINTS.unbind(1)), 1e-13)  # type: ignore[operator]


def test_derivatives_come_in_the_order_in_which_they_are_wanted() -> None:
    """Breaks if asking for several at once gives other numbers than asking for each."""
    names = ("u_xx", "u", "long_name_x", "u_t", "u_x")
    together = derivatives(field, POINTS, *names, coordinates="xt")
    for name, derivative in zip(names, together, strict=True):
        assert_near(derivative, derivatives(field, POINTS, name, coordinates="xt")[0], 1e-14)


def test_a_residual_can_be_trained() -> None:
    """Breaks if the parameters get another gradient than plain autograd gives them."""
    torch.manual_seed(0)
    model = PinnMLP([Task("u", size=1)], (2,), hidden=(8, 8)).double()
    u, u_xx = derivatives(model, POINTS, "u", "u_xx", coordinates="xt")
    gradients = torch.autograd.grad((u_xx * u).square().mean(), list(model.trunk.parameters()))
    points = POINTS.clone().requires_grad_()
    by_hand = model(points)["u"][:, 0]
    (slope,) = torch.autograd.grad(by_hand.sum(), points, create_graph=True)
    (curvature,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
    loss = (curvature[:, 0] * by_hand).square().mean()
    expected = torch.autograd.grad(loss, list(model.trunk.parameters()))
    for gradient, plain in zip(gradients, expected, strict=True):
        assert_near(gradient, plain, 1e-12)


def test_an_unknown_output_is_named() -> None:
    """Breaks if a typo in a residual ends in a KeyError."""
    with pytest.raises(ConfigError) as error:
        derivatives(field, POINTS, "w_xx", coordinates="xt")
    assert (
        str(error.value)
        == "The residual asks for the output 'w', which the model does not have; allowed: long_name, u."
    )
