"""Models of torchvision: maps and features."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.models.backbones.make import make_network

pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_maps_end_in_its_features(name: str) -> None:
    """Breaks if a stage is left out of the maps; both ways start from the same last map."""
    network = make_network(name, "torchvision", (1, 32, 32), None).eval()
    images = torch.rand(2, 1, 32, 32)
    maps, features = network.maps(images)
    assert len({tuple(m.shape[2:]) for m in maps}) == len(maps)
    if name == "resnet18":
        torch.testing.assert_close(features, network(images))
