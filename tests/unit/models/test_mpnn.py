"""The message-passing network: what does not change its outputs, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.models import MPNN
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")

SHAPE = {"numbers": (5,), "positions": (5, 3)}
TASKS = [Task("mu", size=1), Task("homo", size=2)]


def molecules() -> dict[str, Tensor]:
    """Return two molecules, of four and of three atoms."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.tensor([[6, 8, 1, 1, 0], [7, 1, 9, 0, 0]])
    positions = torch.randn(2, 5, 3, generator=generator) * (numbers > 0).unsqueeze(2)
    return {"numbers": numbers, "positions": positions}


@pytest.fixture
def model() -> MPNN:
    """Return a small network."""
    torch.manual_seed(0)
    return MPNN(TASKS, SHAPE, width=8, layers=2, gaussians=6)


def assert_same_answers(model: MPNN, inputs: dict[str, Tensor]) -> None:
    """Assert that the outputs are those of the molecules as they were."""
    expected = model(molecules())
    for name, output in model(inputs).items():
        assert_near(output, expected[name], 1e-10)


def test_moving_turning_and_mirroring_changes_nothing(model: MPNN) -> None:
    """Breaks the invariance to the place and orientation of a molecule."""
    inputs = molecules()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    for turned in (turn, -turn):
        moved = inputs["positions"] @ turned + torch.tensor([1.0, 2.0, 3.0])
        assert_same_answers(model, {**inputs, "positions": moved})


def test_renumbering_changes_nothing_and_neither_does_filling_up(model: MPNN) -> None:
    """Breaks the invariance to the order of the atoms, or lets an empty place be an atom."""
    inputs = molecules()
    order = torch.tensor([4, 2, 0, 3, 1])
    assert_same_answers(model, {name: tensor[:, order] for name, tensor in inputs.items()})
    longer = {
        "numbers": torch.nn.functional.pad(inputs["numbers"], (0, 3)),
        "positions": torch.nn.functional.pad(inputs["positions"], (0, 0, 0, 3), value=0.7),
    }
    assert_same_answers(model, longer)


def test_distances_and_elements_change_the_outputs(model: MPNN) -> None:
    """Breaks if no message says where an atom is, or what it is."""
    inputs, expected = molecules(), model(molecules())["mu"]
    for change in (
        {"positions": 1.2 * inputs["positions"]},
        {"numbers": torch.where(inputs["numbers"] == 1, 9, inputs["numbers"])},
    ):
        assert ((model({**inputs, **change})["mu"] - expected).abs() > 1e-6).all()


def test_gradients_are_finite_and_reach_every_parameter(model: MPNN) -> None:
    """Breaks training: the distance of an atom to itself is 0, where a root has no slope."""
    inputs = molecules()
    inputs["positions"].requires_grad_()
    sum(output.square().sum() for output in model(inputs).values()).backward()
    for tensor in (inputs["positions"], *model.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"input_shape": (64,)},
            "model=mpnn takes molecules, inputs `numbers` and `positions`, but the data give one tensor; use data=qm9 data.features=graph.",
        ),
        ({"input_shape": {"a": (3,)}}, "model=mpnn takes molecules, inputs `numbers` and"),
        ({"width": 0}, "model.width must be a whole number of at least 1; found 0."),
        ({"layers": 0}, "model.layers must be a whole number of at least 1; found 0."),
        ({"gaussians": 1}, "model.gaussians must be a whole number of at least 2; found 1."),
        ({"cutoff": -1}, "model.cutoff must be a positive number; found -1."),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks the sentence about an option."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        MPNN(TASKS, **{"input_shape": SHAPE, **options})
