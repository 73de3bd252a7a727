"""A small shared encoder-decoder with one head per task, for images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import whole
from mtl_runner.tasks.task import Task

GROUPS = 4  # of the normalisation's channels


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each normalised over groups of channels (batch statistics would tie the rows, and a stack, together)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (channels, width):
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, width),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layers(inputs)
        return found


class UNet(nn.Module):
    """Encoder and decoder with skip connections (Ronneberger et al., MICCAI 2015), all shared; one small head per task.

    A task with an answer per pixel gets two 1x1 convolutions on the last feature map; one with an answer per image a linear
    layer on the mean of the deepest one.

    Args:
        tasks: the tasks; each head has ``task.size`` channels, or outputs. input_shape: ``(channels, H, W)``, any size: odd ones are padded
            on the way down and cut on the way up.
        width: channels of the first level, a multiple of 4; each level below has twice as many. depth: levels below the first.

    Shape: inputs ``[N, channels, H, W]`` -> ``{task: [N, size, H, W]}`` or ``{task: [N, size]}``. Raises ``ConfigError`` for other inputs,
    widths or depths.
    """

    def __init__(
        self, tasks: Sequence[Task], input_shape: Sequence[int], width: int = 16, depth: int = 3
    ) -> None:
        super().__init__()
        if isinstance(input_shape, dict) or len(input_shape) != 3:
            raise ConfigError(
                f"model=unet takes images of shape (channels, height, width); the inputs have shape {input_shape}; choose another model."
            )
        for name, value in (("width", width), ("depth", depth)):
            whole(value, f"model.{name}", 1)
        if width % GROUPS:
            raise ConfigError(f"model.width must be a multiple of {GROUPS}; found {width}.")
        channels, height, columns = input_shape
        if min(height, columns) < 2**depth:
            raise ConfigError(
                f"model.depth={depth} halves images of {height}x{columns} pixels to nothing; lower it."
            )
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            ConvBlock(before, after)
            for before, after in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            ConvBlock(after + before, before) for before, after in itertools.pairwise(widths)
        )
        mine = [task for task in tasks if task.has_target]
        self.names, self.dense = [task.name for task in mine], [bool(task.places) for task in mine]
        for task in mine:
            if task.places and tuple(task.places) != (height, columns):
                raise ConfigError(
                    f"model=unet answers at every pixel of its {height}x{columns} images, but task {task.name!r} wants {task.places}; resize its target."
                )
        if not any(self.dense):  # the way up serves nobody
            self.up = nn.ModuleList()
        # A list, not a ModuleDict: a task may be called "a.b".
        self.heads = nn.ModuleList(_head(task, width, widths[-1]) for task in mine)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        levels: list[Tensor] = []
        features = inputs
        for i, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2, ceil_mode=True) if i else features)
            levels.append(features)
        deepest = levels.pop()
        features = deepest
        for block in reversed(self.up):
            beside = levels.pop()
            wider = features.repeat_interleave(2, 2).repeat_interleave(2, 3)[
                :, :, : beside.shape[2], : beside.shape[3]
            ]
            features = block(torch.cat([wider, beside], 1))
        heads = zip(self.names, self.dense, self.heads, strict=True)
        return {
            name: head(features) if dense else head(deepest.mean((2, 3)))
            for name, dense, head in heads
        }


def _head(task: Task, width: int, deepest: int) -> nn.Module:
    if not task.places:
        return nn.Linear(deepest, task.size)
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, task.size, 1))
