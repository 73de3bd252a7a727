"""ResNets as trunks of the architectures: stages, masks, experts, and the errors."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models import MTAN, PLE, CrossStitch, MMoE, ResNetTrunk
from mtl_runner.models.trunk import make_trunks
from tests.unit.models.architectures import SHAPES, TASKS, batch, last_shared, owners, shapes

IMAGE = (1, 33, 32)


@pytest.fixture(scope="module")
def timm() -> Any:
    """Return timm, which is an extra; skip without it."""
    return pytest.importorskip("timm", reason="timm is not installed")


@pytest.mark.parametrize("name", ["resnet18", "resnet26"])
def test_the_stages_are_the_network(timm: Any, tmp_path: Path, name: str) -> None:
    """Breaks the features, or the weights of a file: timm's own way is the reference."""
    network = timm.create_model(name, pretrained=False, in_chans=1).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    trunk = ResNetTrunk(IMAGE, name, str(tmp_path / "weights.pt")).eval()
    images = torch.randn(2, *IMAGE)
    torch.testing.assert_close(trunk(images), network.forward_features(images))
    features = images
    sizes = []
    for stage in trunk.stages():
        features = stage(features)
        sizes.append(features.shape[2])
    assert sizes == [9, 5, 3, 2]


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    "make_model",
    [
        MTAN,
        partial(MMoE, experts=2),
        pytest.param(partial(PLE, levels=4), marks=pytest.mark.long),
        pytest.param(CrossStitch, marks=pytest.mark.long),
    ],
)
def test_every_architecture_takes_it(make_model: Any) -> None:
    """Breaks `model/trunk=resnet`."""
    assert shapes(make_model(TASKS, IMAGE, trunk=ResNetTrunk).eval(), *IMAGE) == SHAPES


@pytest.mark.usefixtures("timm")
def test_mtan_masks_the_last_block_of_each_stage() -> None:
    """Breaks the authors' form of MTAN for ResNets, and what the tasks share in it."""
    model = MTAN(TASKS, IMAGE, trunk=ResNetTrunk)
    tasks = [task for task in TASKS if task.has_target]
    for name, served in owners(model, tasks, batch(*IMAGE)).items():
        assert (len(served) == 2) == (name.split(".")[0] in ("trunk", "links")), name
    network_weight, link_weight = last_shared(model, tasks, batch(*IMAGE))
    assert network_weight.endswith("conv2.weight")
    assert link_weight == "links.2.0.weight"


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("shape", "name", "sentence"),
    [
        (
            (64,),
            "resnet18",
            "model.name=resnet18 takes images, one tensor [rows, channels, height, width]; the data give inputs of shape (64,).",
        ),
        (
            IMAGE,
            "convnext_atto",
            "model.name=convnext_atto is no ResNet, whose stages are layer1 to layer4; use e.g. resnet18 or resnet50.",
        ),
    ],
)
def test_another_network_has_its_sentence(shape: Any, name: str, sentence: str) -> None:
    """Breaks if a wrong name is an error of timm's."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        ResNetTrunk(shape, name)


def test_without_timm_there_is_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a missing extra is a traceback, or the sentence names an option of the backbone."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"^model\.trunk\.name=resnet18 needs timm, .*timm"):
        make_trunks(ResNetTrunk, IMAGE, 1)
