"""Inputs are a tensor or several by name, and both are used in one way."""

from __future__ import annotations

import torch

from mtl_runner.data.inputs import InputTensors

SINGLE = torch.arange(10.0).view(5, 2)
NAMED = {"x": SINGLE, "image": torch.zeros(5, 1, 3, 4)}


def test_a_single_tensor_has_no_name() -> None:
    """Breaks code that treats all inputs alike, and code that asks for the one tensor."""
    assert list(InputTensors(SINGLE).tensors) == [""]
    assert InputTensors(SINGLE).single is SINGLE
    assert InputTensors(NAMED).single is None


def test_shape_and_numbers_are_those_of_one_row() -> None:
    """Breaks models, which are made for the shape of a row, and the size of evaluation slices."""
    assert InputTensors(SINGLE).shape == (2,)
    assert InputTensors(NAMED).shape == {"x": (2,), "image": (1, 3, 4)}
    assert InputTensors(SINGLE).numbers_per_row == 2
    assert InputTensors(NAMED).numbers_per_row == 2 + 12
    assert len(InputTensors(SINGLE)) == len(InputTensors(NAMED)) == 5
    assert InputTensors(NAMED).device == SINGLE.device


def test_a_function_of_every_tensor_keeps_the_form_of_the_inputs() -> None:
    """Breaks models with one input, which would get a dict, or with several, which would not."""
    single, named = (InputTensors(inputs).map(lambda x: x + 1) for inputs in (SINGLE, NAMED))
    assert torch.equal(single, SINGLE + 1)
    assert list(named) == ["x", "image"]
    assert torch.equal(named["x"], SINGLE + 1)
    assert torch.equal(InputTensors(NAMED).with_tensors({"x": SINGLE})["x"], SINGLE)
