"""Backbones with heads: outputs, freezing, and answers per pixel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_runner import Task
from mtl_runner.errors import ConfigError
from mtl_runner.models import Backbone
from mtl_runner.models.backbone import Pyramid, options_to_rebuild
from mtl_runner.models.frozen_parts import frozen_for_a_time

pytest.importorskip("timm", reason="pip install 'mtl-runner[images,timm]'")
pytestmark = pytest.mark.images

TASKS = [Task("sort", "classification", size=3), Task("age", size=1)]
PIXELS = [
    Task("road", "classification", size=2, places=(32, 48)),
    Task("depth", "regression_l1", size=1, places=(32, 48)),
]


def test_the_pyramid_is_the_sum_of_enlarged_maps() -> None:
    """Breaks if a level is left out, or enlarged to a wrong size; checked by hand."""
    pyramid = Pyramid([1, 1], width=1)
    for layer in (*pyramid.lateral, pyramid.smooth[0]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        layer.weight.data[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1
    large, small = torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[[[10.0, 20], [30, 40]]]])
    result = pyramid([large, small])[0, 0]
    assert torch.equal(result[0], torch.tensor([10.0, 11, 22, 23]))
    assert torch.equal(result[3], torch.tensor([42.0, 43, 54, 55]))


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_tasks_of_images_and_of_pixels_live_on_one_network(library: str) -> None:
    """Breaks if a head gets the wrong features, or a parameter stays without a gradient."""
    name = {"timm": "test_resnet", "torchvision": "shufflenet_v2_x0_5"}[library]
    tasks = [*TASKS, *PIXELS] if library == "timm" else TASKS
    model = Backbone(tasks, (3, 32, 48), name=name, library=library, head=[8], width=8)
    outputs = model(torch.rand(2, 3, 32, 48))
    shapes = {name: tuple(output.shape) for name, output in outputs.items()}
    assert shapes["sort"] == (2, 3)
    assert shapes["age"] == (2, 1)
    if library == "timm":
        assert shapes["road"] == (2, 2, 32, 48)
        assert shapes["depth"] == (2, 1, 32, 48)
    torch.stack([output.sum() for output in outputs.values()]).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_layers_behind_the_maps_are_left_out_if_no_task_needs_them() -> None:
    """Breaks if answers per pixel alone end in 'no loss reaches the parameter'."""
    model = Backbone(PIXELS, (3, 32, 48), name="test_vit", library="timm", width=8)
    outputs = model(torch.rand(2, 3, 32, 48))
    torch.stack([output.sum() for output in outputs.values()]).sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert 0 < len(trained) < len(list(model.parameters()))


def test_frozen_parts_do_not_move() -> None:
    """Breaks if a frozen layer is trained, or its normalization still follows the batches."""
    model = Backbone(TASKS, (3, 32, 32), name="test_resnet", freeze=["conv1", "layer1"])
    network = model.network.network
    model.train()
    frozen = [m for m in network.layer1.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_mean.clone() for m in frozen]
    free = next(m for m in network.layer2.modules() if isinstance(m, nn.BatchNorm2d))
    free_before = free.running_mean.clone()
    model(torch.rand(4, 3, 32, 32))
    assert not any(p.requires_grad for p in network.layer1.parameters())
    assert all(torch.equal(m.running_mean, b) for m, b in zip(frozen, before, strict=True))
    assert not torch.equal(free.running_mean, free_before)
    everything = Backbone(TASKS, (3, 32, 32), name="test_resnet", freeze="all")
    assert {name.split(".")[0] for name, p in everything.named_parameters() if p.requires_grad} == {
        "heads"
    }


def test_impossible_parts_are_one_sentence() -> None:
    """Breaks if a typing mistake freezes nothing."""
    with pytest.raises(ConfigError, match=r"freeze names 'layer9', which is no part.*layer"):
        Backbone(TASKS, (3, 32, 32), name="test_resnet", freeze=["layer9"])
    with pytest.raises(ConfigError, match=r"must be null, all, a list of parts, e.g. \[conv1"):
        Backbone(TASKS, (3, 32, 32), name="test_resnet", freeze="layer1")
    with pytest.raises(ConfigError) as error:
        Backbone(TASKS, (3, 32, 32), name="test_resnet", freeze={"part": "all", "until": 1})
    assert (
        str(error.value)
        == "model.freeze knows parts and until, and no 'part'; write it as {parts: [conv1, bn1], until: 5 epochs}, where parts: all stands for all."
    )


def test_parts_are_frozen_until_a_step() -> None:
    """Breaks if a part is frozen for another time, or trains what nobody needs after it."""
    freeze = {"parts": ["conv1", "layer1"], "until": "2 steps"}
    model = Backbone(TASKS, (3, 32, 32), name="test_resnet", freeze=freeze)
    (parts,) = frozen_for_a_time(model)
    layer = model.network.network.layer1
    parts.until_step = 2
    for step, is_frozen in ((0, True), (1, True), (2, False)):
        parts.at_step(step)
        model.train()
        assert layer.training != is_frozen
        assert {p.requires_grad for p in layer.parameters()} == {not is_frozen}
    dense = Backbone(PIXELS, (3, 32, 48), name="test_vit", width=8, freeze={"until": 1})
    before = [p.requires_grad for p in dense.parameters()]
    assert not all(before)
    dense.frozen.until_step = 1
    dense.frozen.at_step(0)
    assert not any(p.requires_grad for p in dense.network.parameters())
    dense.frozen.at_step(1)
    assert [p.requires_grad for p in dense.parameters()] == before


def test_the_library_is_recorded() -> None:
    """Breaks if a run is loaded with another library, where both have a model of the name."""
    model = Backbone(TASKS, (3, 32, 32), name="test_resnet")
    assert options_to_rebuild(nn.Sequential(model)) == {"library": "timm"}
