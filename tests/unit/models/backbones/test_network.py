"""Networks in general: their forward pass, and the sentences of what fails."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.models.backbones.network import first_line, not_downloaded
from tests.unit.models.backbones.networks import TwoMaps


def test_the_forward_pass_of_a_network_gives_its_features() -> None:
    """Breaks if a network that is called gives something else than vectors."""
    network, images = TwoMaps(), torch.rand(2, 3, 8, 8)
    assert torch.equal(network(images), network.features(images))
    assert network.record == {}


@pytest.mark.parametrize(
    ("error", "line"),
    [(OSError("No route.\nMore of it"), "No route"), (ValueError(), "ValueError")],
)
def test_the_error_of_a_library_is_part_of_one_sentence(error: Exception, line: str) -> None:
    """Breaks if a sentence of ours holds the lines of another library."""
    assert first_line(error) == line
    assert f"of 'resnet18' could not be downloaded ({line}); on a machine" in str(
        not_downloaded("resnet18", error)
    )
