"""The smooth network of coordinates: outputs, features, unknown numbers, wrong options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models import PinnMLP
from mtl_runner.tasks.task import Task

TASKS = [
    Task("u", size=1),
    Task("p", size=2),
    Task("pde", "term", loss_term=lambda model, batch: torch.tensor(0.0)),
]


def test_it_has_a_head_per_output_and_none_for_terms() -> None:
    """Breaks if an equation gets an output that nobody trains."""
    outputs = PinnMLP(TASKS, (2,), hidden=(6, 5))(torch.zeros(3, 2))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "u": (3, 1),
        "p": (3, 2),
    }


def test_it_is_the_published_network() -> None:
    """Breaks if an activation, the features or the order of the layers is another one."""
    torch.manual_seed(0)
    model = PinnMLP(TASKS[:1], (2,), hidden=(4, 3), fourier=5, fourier_scale=2.0)
    points = torch.randn(7, 2)
    phases = 2 * math.pi * points @ model.frequencies  # type: ignore[operator]
    h = torch.cat([phases.sin(), phases.cos()], 1)
    first, _, second, _ = model.trunk
    for layer in (first, second):
        h = torch.tanh(h @ layer.weight.T + layer.bias)  # type: ignore[operator, union-attr]
    assert torch.allclose(model(points)["u"], model.heads[0](h), atol=1e-6)
    assert model.frequencies is not None
    assert not model.frequencies.requires_grad
    assert all(bool((layer.bias == 0).all()) for layer in (first, second))


def test_an_unknown_is_trained_by_its_logarithm() -> None:
    """Breaks if an unknown can become negative, or does not begin where it is told to."""
    model = PinnMLP(TASKS[:1], (2,), hidden=(4,), unknowns={"viscosity": 0.05, "speed": 3.0})
    assert abs(model.unknown("viscosity").item() - 0.05) < 1e-8
    model.unknown("speed").backward()
    assert abs(model.log_unknowns[1].grad.item() - 3.0) < 1e-6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"hidden": []},
            "model.hidden must be a list of at least one positive width, e.g. [50, 50]; found [].",
        ),
        (
            {"input_shape": (3, 8, 8)},
            "model=pinn_mlp takes points of some coordinates, [N, d]; these inputs have the shape (3, 8, 8), so choose another model, such as model=mlp.",
        ),
        ({"fourier": -1}, "model.fourier must be a whole number of at least 0; found -1."),
        ({"fourier_scale": 0}, "model.fourier_scale must be a positive number; found 0."),
        (
            {"unknowns": {"viscosity": -1.0}},
            "model.unknowns.viscosity must be a positive number, since its logarithm is trained; found -1.0.",
        ),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if an impossible option makes a network."""
    with pytest.raises(ConfigError) as error:
        PinnMLP(TASKS, **{"input_shape": (2,), **options})
    assert str(error.value) == sentence


def test_an_unknown_that_the_model_has_not_is_named() -> None:
    """Breaks if a residual that asks for another number ends in a KeyError."""
    with pytest.raises(ConfigError) as error:
        PinnMLP(TASKS, (2,)).unknown("viscosity")
    assert (
        str(error.value)
        == "The residual asks for the unknown 'viscosity', which the model does not have; give its first value, model.unknowns.viscosity=1."
    )
