"""Models of timm: features, and downloads that fail."""

from __future__ import annotations

import logging

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.make import make_network
from mtl_runner.models.backbones.shapes import map_shapes, vector_width

timm = pytest.importorskip("timm", reason="pip install 'mtl-runner[images,timm]'")
pytestmark = pytest.mark.images

SHAPE = (3, 32, 32)


def test_features_are_those_of_the_library() -> None:
    """Breaks if the pooled features are others than timm's own."""
    network = make_network("test_resnet", "timm", SHAPE, None).eval()
    images = torch.rand(2, *SHAPE)
    expected = timm.create_model("test_resnet", num_classes=0).eval()
    expected.load_state_dict(network.network.state_dict())
    torch.testing.assert_close(network(images), expected(images))
    maps, features = network.maps(images)
    torch.testing.assert_close(features, expected(images))
    torch.testing.assert_close(maps[-1].mean((2, 3)), features)
    shapes, width = map_shapes(network, SHAPE)
    assert width == vector_width(network, SHAPE) == features.shape[1]
    assert [shape[1] for shape in shapes] == sorted((s[1] for s in shapes), reverse=True)


def test_a_download_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a machine without network gets a traceback of its many tries."""

    def fail(*args: object, **options: object) -> None:
        raise OSError("Cannot reach the hub\nsecond line")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ConfigError) as error:
        make_network("resnet18", "timm", SHAPE, "pretrained")
    assert str(error.value) == (
        "model.weights=pretrained: the weights of 'resnet18' could not be downloaded (Cannot reach the hub); "
        "on a machine without network, bring the file from another one and give its path: model.weights=weights.safetensors."
    )


def test_the_tries_of_a_download_are_quiet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if the good sentence comes after fourteen lines of another library."""

    def fail(*args: object, **options: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("Cannot reach the hub")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ConfigError, match="could not be downloaded"):
        make_network("resnet18", "timm", SHAPE, "pretrained")
    assert "Retrying" not in caplog.text
