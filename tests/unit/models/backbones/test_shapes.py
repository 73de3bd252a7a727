"""The shapes of features and maps, found by one pass."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.shapes import map_shapes, vector_width
from tests.unit.models.backbones.networks import TwoMaps


def test_shapes_are_those_of_a_pass_that_leaves_no_trace() -> None:
    """Breaks if heads are made for other features, or the network stays in evaluation mode."""
    network = TwoMaps()
    state = torch.get_rng_state()
    assert vector_width(network, (3, 8, 8)) == 5
    assert map_shapes(network, (3, 8, 8)) == ([(4, 4, 4), (5, 2, 2)], 5)
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)


def test_inputs_that_a_network_does_not_take_are_one_sentence() -> None:
    """Breaks if the error of a library's layer reaches the user."""
    with pytest.raises(ConfigError) as error:
        vector_width(TwoMaps(), (1, 8, 8))
    assert str(error.value).startswith("The backbone does not take inputs of shape (1, 8, 8) (")
    assert str(error.value).endswith("choose another size (data.size) or model.name.")
    assert "\n" not in str(error.value)
