"""Networks by name: what is refused, and what is not opened."""

from __future__ import annotations

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.make import make_network
from mtl_runner.models.backbones.weights import without_first_weights

pytest.importorskip("timm", reason="pip install 'mtl-runner[images,timm]'")
pytestmark = pytest.mark.images

SHAPE = (3, 32, 32)


@pytest.mark.parametrize("name", ["hf-hub:owner/model", "local-dir:/etc", "../resnet", "a.b.c"])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_names_that_would_open_something_are_refused(name: str, library: str) -> None:
    """Breaks if the name of a model in somebody's best.pt can download or open a folder."""
    with pytest.raises(ConfigError, match="is not the name of an architecture"):
        make_network(name, library, SHAPE, None)


def test_unknown_names_are_told_with_the_nearest() -> None:
    """Breaks if a typing mistake ends in an error of a library."""
    with pytest.raises(
        ConfigError, match=r"model\.name=resnet19 is no model of timm; did you mean"
    ):
        make_network("resnet19", "auto", SHAPE, None)
    with pytest.raises(ConfigError, match="is no model of torchvision that classifies images"):
        make_network("fcn_resnet50", "torchvision", SHAPE, None)
    with pytest.raises(ConfigError, match=r"takes images, .*the data give inputs of shape \(5,\)"):
        make_network("resnet18", "timm", (5,), None)


def test_no_weights_are_read_while_a_run_is_loaded() -> None:
    """Breaks if a recorded path is opened, or a download is tried, by ``load``."""
    with without_first_weights():
        make_network("test_resnet", "timm", SHAPE, "/no/such/file.pt")
        make_network("test_resnet", "timm", SHAPE, "pretrained")
