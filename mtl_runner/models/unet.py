"""A small shared encoder-decoder with one head per task, for images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import whole_number
from mtl_runner.tasks.task import Task

GROUPS = 4  # of channels, each normalised by itself


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each normalised over groups of channels, each with a ReLU.

    Batch statistics would tie the rows of a batch, and the replicas of a stack, together.

    Args:
        channels: Channels of the input.
        width: Channels of the output, a multiple of 4.

    Example:
        >>> import torch
        >>> from mtl_runner.models.unet import ConvBlock
        >>> tuple(ConvBlock(3, 8)(torch.zeros(2, 3, 5, 7)).shape)
        (2, 8, 5, 7)
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_before in (channels, width):
            layers += [
                nn.Conv2d(channels_before, width, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, width),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a feature map ``[N, width, H, W]``."""
        features: Tensor = self.layers(inputs)
        return features

    def halves(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps after the first convolution and after the second."""
        middle = len(self.layers) // 2
        first: Tensor = self.layers[:middle](inputs)
        second: Tensor = self.layers[middle:](first)
        return first, second


class UNetTrunk(nn.Module):
    """Encoder and decoder with skip connections, from images to a feature map of the same size.

    Args:
        input_shape: ``(channels, height, width)`` of one image, any size.
        width: Channels of the first level, a multiple of 4; each level below has twice as many.
        depth: Number of levels below the first.

    Shape:
        Inputs ``[N, channels, H, W]``, features ``[N, width, H, W]``.

    Raises:
        ConfigError: If the inputs are not images, or an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner.models import UNetTrunk
        >>> tuple(UNetTrunk((3, 16, 24), width=4)(torch.zeros(2, 3, 16, 24)).shape)
        (2, 4, 16, 24)
    """

    def __init__(self, input_shape: Sequence[int], width: int = 16, depth: int = 3) -> None:
        super().__init__()
        if isinstance(input_shape, dict) or len(input_shape) != 3:
            raise ConfigError(
                f"model=unet takes images of shape (channels, height, width); the inputs have shape {input_shape}; choose another model."
            )
        for name, value in (("width", width), ("depth", depth)):
            whole_number(value, f"model.{name}", 1)
        if width % GROUPS:
            raise ConfigError(f"model.width must be a multiple of {GROUPS}; found {width}.")
        channels, image_height, image_width = input_shape
        if min(image_height, image_width) < 2**depth:
            raise ConfigError(
                f"model.depth={depth} halves images of {image_height}x{image_width} pixels to nothing; lower it."
            )
        self.widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            ConvBlock(channels_before, channels_after)
            for channels_before, channels_after in zip(
                [channels, *self.widths[:-1]], self.widths, strict=True
            )
        )
        self.up = nn.ModuleList(
            ConvBlock(below + level, level) for level, below in itertools.pairwise(self.widths)
        )

    def forward(self, inputs: Tensor) -> Any:
        """Return the decoder's feature map, ``[N, width, H, W]``."""
        return self.decoded(self.encoded(inputs))

    def encoded(self, inputs: Tensor) -> list[Tensor]:
        """Return the feature maps of the encoder, from the first level to the deepest."""
        levels: list[Tensor] = []
        for block in self.down:
            levels.append(block(halved(levels[-1]) if levels else inputs))
        return levels

    def decoded(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the decoder's feature map of the encoder's levels."""
        *skipped_maps, features = levels
        for block, skipped in zip(reversed(self.up), reversed(skipped_maps), strict=True):
            features = block(torch.cat([doubled(features, skipped), skipped], 1))
        return features


def halved(features: Tensor) -> Tensor:
    """Return a feature map of half the height and width: the maxima of 2x2 pixels."""
    return F.max_pool2d(features, 2, ceil_mode=True)


def doubled(features: Tensor, like: Tensor) -> Tensor:
    """Return a feature map of twice the height and width, cut to the size of another one."""
    height, width = like.shape[2:]
    return features.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width]


class UNet(UNetTrunk):
    """Shared encoder and decoder with skip connections (Ronneberger et al., MICCAI 2015).

    A task with an answer per pixel has a head of two 1x1 convolutions on the decoder's feature map;
    one with an answer per image has a linear layer on the mean of the encoder's deepest one.

    Args:
        tasks: The tasks; each head has ``task.size`` channels, or outputs.
        input_shape: ``(channels, height, width)`` of one image, any size: odd sides are padded on
            the way down and cut on the way up.
        width: Channels of the first level, a multiple of 4; each level below has twice as many.
        depth: Number of levels below the first.

    Shape:
        Inputs ``[N, channels, H, W]``, outputs ``{task: [N, size, H, W]}`` or
        ``{task: [N, size]}``.

    Raises:
        ConfigError: If the inputs are not images, an option is impossible, or a task's target has
            another height and width than the images.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import UNet
        >>> tasks = [Task("depth", size=1, places=(16, 24)), Task("kind", "classification", size=3)]
        >>> outputs = UNet(tasks, (3, 16, 24), width=4)(torch.zeros(2, 3, 16, 24))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'depth': (2, 1, 16, 24), 'kind': (2, 3)}
    """

    def __init__(
        self, tasks: Sequence[Task], input_shape: Sequence[int], width: int = 16, depth: int = 3
    ) -> None:
        super().__init__(input_shape, width, depth)
        pixels = tuple(input_shape[1:])
        supervised = [task for task in tasks if task.has_target]
        self.task_names = [task.name for task in supervised]
        self.dense = [bool(task.places) for task in supervised]
        for task in supervised:
            if task.places and tuple(task.places) != pixels:
                raise ConfigError(
                    f"model=unet answers at every pixel of its {pixels[0]}x{pixels[1]} images, but task {task.name!r} wants {task.places}; resize its target."
                )
        if not any(self.dense):  # the decoder would be trained by no task
            self.up = nn.ModuleList()
        # A list, not a ModuleDict: a task may be called "a.b".
        self.heads = nn.ModuleList(_head(task, width, self.widths[-1]) for task in supervised)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size, H, W]`` or ``[N, size]``."""
        levels = self.encoded(inputs)
        deepest = levels[-1]
        # Without a decoder, no task needs its map.
        features = self.decoded(levels) if len(self.up) else deepest
        heads = zip(self.task_names, self.dense, self.heads, strict=True)
        return {
            name: head(features) if dense else head(deepest.mean((2, 3)))
            for name, dense, head in heads
        }


def _head(task: Task, width: int, deepest_width: int) -> nn.Module:
    """Return convolutions for a task with an answer per pixel, else a linear layer."""
    if not task.places:
        return nn.Linear(deepest_width, task.size)
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, task.size, 1))
