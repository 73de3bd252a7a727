"""MTAN: masks of the shared network's blocks, against cases computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.models import MTAN, LeNetTrunk, MLPTrunk
from mtl_runner.models.mtan import AttentionMask
from mtl_runner.models.unet import doubled, halved
from mtl_runner.tasks.task import Task
from tests.unit.models.architectures import SHAPES, TASKS, batch, last_shared, owners, shapes

MIXED = [
    Task("depth", size=1, places=(6, 10)),
    Task("kind", "classification", size=3),
    Task("labels", "classification", size=4, places=(6, 10)),
]
IMAGE = (2, 6, 10)


@torch.no_grad()
def fix_mask(mask: nn.Module, logit: float) -> None:
    """Let a mask be the sigmoid of a number everywhere: 0.5 for 0, 0 and 1 for large ones."""
    normalisation = mask.layers[4]
    normalisation.weight.zero_()
    normalisation.bias.fill_(logit)


def conv_stages() -> nn.Sequential:
    """Return a network of two stages, each of two blocks, the second of which halves the image."""

    def block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1), nn.ReLU())

    return nn.Sequential(
        nn.Sequential(block(2, 4), block(4, 8)), nn.Sequential(block(8, 8, 2), block(8, 12))
    )


def test_a_mask_of_one_passes_the_shared_network_on_and_one_of_a_half_halves_it() -> None:
    """Breaks eq. 1 of the paper: the mask times the block's map.

    All masks of depth are 1, those of kind 1/2, of which only the last one counts; those of labels
    are 0, so that its head sees zeros.
    """
    model, images = MTAN(MIXED, IMAGE, width=4, depth=1), torch.randn(2, *IMAGE)
    for t, logit in enumerate((60.0, 0.0, -200.0)):
        for mask in (*model.masks[t], *model.up_masks[t]):
            fix_mask(mask, logit)
    levels = model.trunk.encoded(images)
    outputs = model(images)
    depth, kind, labels = model.heads
    torch.testing.assert_close(outputs["depth"], depth(model.trunk.decoded(levels)))
    torch.testing.assert_close(outputs["kind"], kind(levels[-1] / 2))
    torch.testing.assert_close(outputs["labels"], labels(torch.zeros(2, 4, 6, 10)))


def mask_by_hand(mask: AttentionMask, *maps: Tensor) -> Tensor:
    """Return a mask by its definition: g, ReLU, h, sigmoid, a pixel at a time."""
    g, norm_g, _, h, norm_h, _ = mask.layers
    pixels = torch.cat(maps, 1).movedim(1, -1)
    inner = norm_g((pixels @ g.weight[:, :, 0, 0].T + g.bias).movedim(-1, 1)).clamp(min=0)
    outer = norm_h((inner.movedim(1, -1) @ h.weight[:, :, 0, 0].T + h.bias).movedim(-1, 1))
    return 1 / (1 + torch.exp(-outer))


def test_masks_read_the_block_and_what_was_attended_before_it() -> None:
    """Breaks eq. 2 and 3 of the paper, written here once more for a U-Net of two levels.

    A task per pixel attends to the first level, the second, and the decoder's block.
    """
    torch.manual_seed(0)
    model, images = MTAN(MIXED, IMAGE, width=4, depth=1), torch.randn(2, *IMAGE)
    trunk = model.trunk
    u1, p1 = trunk.down[0].halves(images)
    assert torch.equal(p1, trunk.down[0](images))
    u2, p2 = trunk.down[1].halves(halved(p1))
    enlarged = doubled(p2, p1)
    p3 = trunk.up[0](torch.cat([enlarged, p1], 1))
    outputs = model(images)
    for t, task in enumerate(MIXED):
        first, second = model.masks[t]
        attended = mask_by_hand(first, u1) * p1
        handed = halved(model.links[0](attended))
        attended = mask_by_hand(second, u2, handed) * p2
        if task.places:
            (third,) = model.up_masks[t]
            handed = model.up_links[0](doubled(attended, p1))
            attended = mask_by_hand(third, enlarged, handed) * p3
        torch.testing.assert_close(outputs[task.name], model.heads[t](attended))


def test_the_network_and_the_links_are_shared_and_masks_and_heads_are_not() -> None:
    """Breaks strategies that look at shared parameters; the graph alone says who shares."""
    model = MTAN(MIXED, IMAGE, width=4, depth=2)
    split = batch(*IMAGE)
    split.targets.clear()
    split.targets.update(
        depth=torch.zeros(3, 1, 6, 10),
        kind=torch.zeros(3, dtype=torch.int64),
        labels=torch.zeros(3, 6, 10, dtype=torch.int64),
    )
    names = [task.name for task in MIXED]
    for name, served in owners(model, MIXED, split).items():
        kind, number = name.split(".")[:2]
        if kind in ("masks", "up_masks", "heads"):
            expected = {names[int(number)]}
        elif kind == "up_links" or name.startswith("trunk.up"):
            expected = {"depth", "labels"}
        else:
            expected = set(names)
        assert served == expected, name
    assert last_shared(model, MIXED, split) == ["trunk.down.2.layers.3.weight", "links.1.0.weight"]


def test_without_a_task_per_pixel_there_is_no_decoder() -> None:
    """Breaks if a decoder is trained by no task."""
    model = MTAN(TASKS, (2, 9, 7), width=4, depth=2)
    assert shapes(model, 2, 9, 7) == SHAPES
    assert not len(model.trunk.up)
    assert not len(model.up_links)
    outputs = model(torch.randn(2, 2, 9, 7))
    torch.stack([output.square().sum() for output in outputs.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_convolutional_stages_are_masked_before_their_last_block(size: tuple[int, int]) -> None:
    """Breaks `model.trunk` of stages, of the authors' form for ResNets, written here once more."""
    torch.manual_seed(0)
    model = MTAN(TASKS, (2, *size), trunk=lambda input_shape: conv_stages())
    images = torch.randn(3, 2, *size)
    first, second = model.trunk
    u1 = first[0](images)
    p1 = first[1](u1)
    u2 = second[0](p1)
    p2 = second[1](u2)
    outputs = model(images)
    for t, name in enumerate(("a.b", "label")):
        attended = mask_by_hand(model.masks[t][0], u1) * p1
        handed = halved(model.links[0](attended))
        attended = mask_by_hand(model.masks[t][1], u2, handed) * p2
        torch.testing.assert_close(outputs[name], model.heads[t](attended))
    for name, served in owners(
        model, [task for task in TASKS if task.has_target], batch(2, *size)
    ).items():
        assert (len(served) == 2) == (name.split(".")[0] in ("trunk", "links")), name


STAGES = "model=mtan masks the feature maps of convolutional stages, but stage"
INSTEAD = "leave model.trunk out for a U-Net."


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        (
            (64,),
            {},
            "model=mtan takes images of shape (channels, height, width); the inputs have shape (64,); choose another model.",
        ),
        ((1, 8, 8), {"width": 6}, "model.width must be a multiple of 4; found 6."),
        (
            (1, 12, 12),
            {"trunk": LeNetTrunk},
            f"{STAGES} 1 of model.trunk has 10 and 10 channels, not multiples of 4; {INSTEAD}",
        ),
        (
            (6,),
            {"trunk": MLPTrunk},
            f"{STAGES} 1 of model.trunk gives (128,), which is no feature map; {INSTEAD}",
        ),
        (
            (2, 8, 8),
            {"trunk": lambda shape: nn.Sequential(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)))},
            f"{STAGES} 1 of model.trunk makes (2, 4, 4) of (2, 8, 8) in its last module; {INSTEAD}",
        ),
        (
            (2, 8, 8),
            {"trunk": lambda shape: nn.Sequential(nn.Conv2d(2, 4, 1))},
            f"{STAGES} 1 of model.trunk has one module, but needs two or more; {INSTEAD}",
        ),
        (
            (2, 16, 16),
            {
                "trunk": lambda shape: nn.Sequential(
                    nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()),
                    nn.Sequential(nn.Conv2d(4, 4, 1, stride=4), nn.ReLU()),
                )
            },
            f"{STAGES} 2 of model.trunk makes (4, 4, 4) of (4, 16, 16), neither the same size nor half; {INSTEAD}",
        ),
    ],
)
def test_what_cannot_be_masked_has_its_sentence(
    shape: tuple[int, ...], options: dict[str, Any], sentence: str
) -> None:
    """Breaks if a trunk without feature maps is an error of PyTorch's."""
    with pytest.raises(ConfigError) as raised:
        MTAN(TASKS, shape, **options)
    assert str(raised.value) == sentence
