"""Gates: weights of experts by softmax, and the mixtures that they make."""

from __future__ import annotations

import math

import pytest
import torch

from mtl_runner.errors import ModelError
from mtl_runner.models.gates import Gate, mixture, selector_rows, selector_width
from tests.unit.models.architectures import set_linear


def test_a_gate_is_the_softmax_of_a_linear_map() -> None:
    """Breaks the formula of MMoE and CGC: logits 0 and log 3 are weights 1/4 and 3/4."""
    gate = Gate((2,), experts=2)
    set_linear(gate.layer, [[0.0, 0.0], [math.log(3), 0.0]], [0.0, 0.0])
    weights = gate(torch.tensor([[1.0, 5.0], [0.0, 5.0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75], [0.5, 0.5]]))


def test_inputs_are_flattened_and_feature_maps_are_averaged() -> None:
    """Breaks gates on images, or makes those on feature maps as large as the maps."""
    assert selector_width((3, 4, 5)) == 60
    assert selector_width((3, 4, 5), is_input=False) == 3
    assert selector_width((7,), is_input=False) == 7
    maps = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert selector_rows(maps).tolist() == [[0, 1, 2, 3]]
    assert selector_rows(maps, is_pooled=True).tolist() == [[1.5]]
    assert tuple(Gate((3, 4, 5), 2, is_input=False)(torch.zeros(6, 3, 4, 5)).shape) == (6, 2)


def test_a_mixture_is_a_weighted_sum_in_every_pixel() -> None:
    """Breaks mixtures of feature maps: weights of another row, or along another dimension."""
    features, weights = torch.randn(2, 3, 4, 5, 6), torch.rand(2, 3)
    expected = torch.einsum("ne,nechw->nchw", weights, features)
    torch.testing.assert_close(mixture(weights, features), expected)


def test_numbers_of_words_have_their_sentence() -> None:
    """Breaks if a gate on whole numbers is an error of PyTorch's."""
    with pytest.raises(ModelError) as raised:
        Gate((4,), 2)(torch.ones(3, 4, dtype=torch.int64))
    assert str(raised.value) == (
        "Gates weigh experts by the inputs, which must be floating-point numbers; found inputs of type torch.int64."
    )
