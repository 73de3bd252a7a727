"""Networks of the three libraries: features, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner import Task
from mtl_runner.errors import ConfigError
from mtl_runner.models import Backbone
from mtl_runner.models.backbone_networks import make_network, map_shapes, vector_width
from mtl_runner.models.backbone_weights import without_first_weights

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


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_maps_end_in_its_features(name: str) -> None:
    """Breaks if a stage is left out of the maps; both ways start from the same last map."""
    network = make_network(name, "torchvision", (1, 32, 32), None).eval()
    images = torch.rand(2, 1, 32, 32)
    maps, features = network.maps(images)
    assert len({tuple(m.shape[2:]) for m in maps}) == len(maps)
    if name == "resnet18":
        torch.testing.assert_close(features, network(images))


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


def test_no_weights_are_read_while_a_run_is_loaded() -> None:
    """Breaks if a recorded path is opened, or a download is tried, by ``load``."""
    with without_first_weights():
        make_network("test_resnet", "timm", SHAPE, "/no/such/file.pt")
        make_network("test_resnet", "timm", SHAPE, "pretrained")


def test_an_encoder_of_hugging_face_is_made_again_from_its_config(tmp_path: Path) -> None:
    """Breaks if ``load`` needs the folder of the encoder, or makes another network."""
    transformers = pytest.importorskip("transformers", reason="pip install 'mtl-runner[hf]'")
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    tasks = [Task("sort", "classification", size=3)]
    shape = {"input_ids": (5,), "attention_mask": (5,)}
    model = Backbone(tasks, shape, name=str(tmp_path / "encoder"), weights="pretrained").eval()
    saved = transformers.BertModel.from_pretrained(tmp_path / "encoder").eval()
    words = {
        "input_ids": torch.tensor([[1, 2, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0]]),
    }
    torch.testing.assert_close(model.network(words), saved(**words).pooler_output)
    options = model.rebuild_options
    assert options["library"] == "huggingface"
    with without_first_weights():
        again = Backbone(tasks, shape, name="/not/there", **options).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(words), model(words))
    with without_first_weights(), pytest.raises(ConfigError, match="was not recorded"):
        Backbone(tasks, shape, name="/not/there", library="huggingface")
