"""Networks by name: what is refused, and what is not opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.make import check_network, make_network
from mtl_runner.models.backbones.weights import without_first_weights

timm = pytest.importorskip("timm", reason="pip install 'mtl-runner[images,timm]'")
models = pytest.importorskip("torchvision.models", reason="pip install 'mtl-runner[images]'")
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


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("timm", "test_convnext"),
        ("timm", "test_efficientnet"),
        ("timm", "test_resnet"),
        ("timm", "test_vit"),
        ("timm", "mobilenetv3_small_050"),
        ("torchvision", "mobilenet_v3_small"),
        ("torchvision", "resnet18"),
    ],
)
def test_a_file_of_the_whole_network_fits(tmp_path: Path, library: str, name: str) -> None:
    """Breaks if a library's classifier is taken for a part of another network."""
    full = (
        timm.create_model(name, num_classes=5, **({"img_size": 32} if "vit" in name else {}))
        if library == "timm"
        else models.get_model(name, num_classes=5)
    )
    torch.save(full.state_dict(), tmp_path / "weights.pt")
    network = make_network(name, library, SHAPE, str(tmp_path / "weights.pt"))
    loaded, tensors = network.network.state_dict(), full.state_dict()
    assert all(torch.equal(value, tensors[key]) for key, value in loaded.items())
    assert len(tensors) > len(loaded)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_file_of_a_deeper_network_is_refused(tmp_path: Path, library: str) -> None:
    """Breaks if half a resnet34 is trained as a resnet18, with a line that nobody reads."""
    full = timm.create_model("resnet34") if library == "timm" else models.get_model("resnet34")
    torch.save(full.state_dict(), tmp_path / "w34.pt")
    with pytest.raises(
        ConfigError,
        match=r"holds 96 tensors more than the backbone and a classifier, such as 'layer1\.2\.\S*'; it looks like another network than model\.name=resnet18\.",
    ):
        make_network("resnet18", library, SHAPE, str(tmp_path / "w34.pt"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("resnet19", "auto", None), r"model\.name=resnet19 is no model of timm; did you mean"),
        (("resnet19", "torchvision", None), r"is no model of torchvision that classifies images"),
        (("resnet18", "tim", None), r"model\.library"),
        (("resnet18", "auto", "none.pt"), r"model\.weights='none\.pt' is not a file"),
        (("resnet18", "auto", 5), r"model\.weights must be null, a file, or pretrained"),
        ((None, "auto", None), r"model\.name must be the name of a backbone"),
    ],
)
def test_options_are_checked_without_data(options: tuple[Any, ...], sentence: str) -> None:
    """Breaks if a mistyped name is told only after all images have been read."""
    with pytest.raises(ConfigError, match=sentence):
        check_network(*options)
    assert check_network("resnet18", "auto", "pretrained") == "timm"
    assert check_network("google/vit", "auto", None) == "huggingface"
