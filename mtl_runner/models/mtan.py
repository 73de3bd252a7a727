"""One shared network, of which each task attends to parts by masks of its own: MTAN."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.models.heads import make_head
from mtl_runner.models.trunk import TrunkFactory, make_trunks, shape_after, stages_of
from mtl_runner.models.unet import GROUPS, ConvBlock, UNetTrunk, doubled, halved
from mtl_runner.tasks.task import Task


class AttentionMask(nn.Module):
    """Two 1x1 convolutions, normalised over groups of channels, from feature maps to a mask.

    Args:
        channels: Channels of all feature maps that it sees together.
        width: Channels of the mask, a multiple of 4.

    Shape:
        Feature maps ``[N, ..., H, W]``, mask ``[N, width, H, W]`` of numbers between 0 and 1.

    Example:
        >>> import torch
        >>> from mtl_runner.models.mtan import AttentionMask
        >>> tuple(AttentionMask(5, 4)(torch.zeros(2, 3, 8, 8), torch.zeros(2, 2, 8, 8)).shape)
        (2, 4, 8, 8)
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.GroupNorm(GROUPS, width),
            nn.Sigmoid(),
        )

    def forward(self, *features: Tensor) -> Tensor:
        """Return the mask of some feature maps of the same pixels."""
        mask: Tensor = self.layers(torch.cat(features, 1))
        return mask


class MTAN(nn.Module):
    r"""A multi-task attention network: a shared network and, per task, masks of its blocks.

    **Source:** Liu, Johns & Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019,
    eq. 1 to 3, `arXiv:1803.10704 <https://arxiv.org/abs/1803.10704>`__.

    .. math:: \hat a_i^{(j)} = a_i^{(j)} \odot p^{(j)}, \qquad
        a_i^{(j)} = h_i^{(j)}\Bigl(g_i^{(j)}\bigl(\bigl[u^{(j)};
        f^{(j)}(\hat a_i^{(j-1)})\bigr]\bigr)\Bigr)

    where

    - :math:`p^{(j)}` is the feature map of the shared network behind block j,
    - :math:`u^{(j)}` is a map before it: in the encoder the one behind the block's first part, in
      the decoder the enlarged one that enters the block,
    - :math:`g_i` and :math:`h_i` are 1x1 convolutions of task i, behind which come a ReLU and a
      sigmoid, so that the mask :math:`a_i` lies between 0 and 1,
    - :math:`f^{(j)}` is a 3x3 convolution that all tasks share, followed by pooling in the encoder
      and preceded by enlarging in the decoder. The first block has no attended map before it.

    The shared network is a :class:`UNet`'s, where tasks with an answer per pixel attend to encoder
    and decoder and those with an answer per image to the encoder; or a trunk of convolutional
    stages, each in two modules or more: :math:`u` is the map before the last module, as in the
    authors' code for ResNets.

    **Departs from the paper:** groups of channels are normalised instead of batches, as in
    :class:`UNet`, whose skip connections the paper's SegNet does not have; heads are two 1x1
    convolutions.

    **When it helps:** dense tasks on images that share much but not all; it adds little to the
    parameters of the shared network.

    Args:
        tasks: The tasks.
        input_shape: ``(channels, height, width)`` of one image.
        width: Channels of the U-Net's first level, a multiple of 4.
        depth: Number of levels of the U-Net below the first.
        trunk: Makes another network of convolutional stages; None: the U-Net.

    Shape:
        Inputs ``[N, channels, H, W]``, outputs ``{task: [N, size, H, W]}`` or
        ``{task: [N, size]}``.

    Raises:
        ConfigError: If the inputs are not images, an option is impossible, or the trunk does not
            consist of convolutional stages.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import MTAN
        >>> tasks = [Task("depth", size=1, places=(16, 24)), Task("kind", "classification", size=3)]
        >>> outputs = MTAN(tasks, (3, 16, 24), width=4)(torch.zeros(2, 3, 16, 24))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'depth': (2, 1, 16, 24), 'kind': (2, 3)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        width: int = 16,
        depth: int = 3,
        trunk: TrunkFactory | None = None,
    ) -> None:
        super().__init__()
        supervised = [task for task in tasks if task.has_target]
        self.task_names = [task.name for task in supervised]
        self.up_masks = nn.ModuleList()
        self.up_links = nn.ModuleList()
        if trunk is None:
            self.trunk: nn.Module = _unet(input_shape, width, depth)
            self.dense = [bool(task.places) for task in supervised]
            widths = befores = self.trunk.widths
            head_shapes = [
                (width, *input_shape[1:]) if dense else (widths[-1], 1, 1) for dense in self.dense
            ]
            if any(self.dense):
                self._make_decoder(widths)
            else:  # the decoder would be trained by no task
                self.trunk.up = nn.ModuleList()
        else:
            (self.trunk,) = make_trunks(trunk, input_shape, 1)
            self.dense = [False] * len(supervised)
            befores, maps = _maps_of_stages(self.trunk, input_shape)
            widths = [shape[0] for shape in maps]
            head_shapes = [maps[-1]] * len(supervised)
        # What each task's mask sees of a block, and what the block before hands over.
        handed = [0, *befores[1:]]
        self.masks = nn.ModuleList(
            nn.ModuleList(
                AttentionMask(before + link, after)
                for before, link, after in zip(befores, handed, widths, strict=True)
            )
            for _ in supervised
        )
        self.links = nn.ModuleList(
            _convolution(before, link) for before, link in zip(widths[:-1], handed[1:], strict=True)
        )
        self.heads = nn.ModuleList(
            make_head(task, shape) for task, shape in zip(supervised, head_shapes, strict=True)
        )

    def _make_decoder(self, widths: Sequence[int]) -> None:
        """Make the masks and links of the decoder, from the first level down."""
        pairs = list(itertools.pairwise(widths))
        self.up_links = nn.ModuleList(_convolution(below, level) for level, below in pairs)
        self.up_masks = nn.ModuleList(
            nn.ModuleList(AttentionMask(below + level, level) for level, below in pairs)
            if dense
            else nn.ModuleList()
            for dense in self.dense
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size, H, W]`` or ``[N, size]``."""
        blocks = self._blocks(inputs)
        attended = [self._attended(masks, blocks) for masks in self.masks]
        if any(self.dense):
            decoder = self._decoder_blocks([after for _, after in blocks])
            for t, masks in enumerate(self.up_masks):
                if self.dense[t]:
                    attended[t] = self._attended_above(masks, decoder, attended[t])
        return {
            name: head(features)
            for name, head, features in zip(self.task_names, self.heads, attended, strict=True)
        }

    def _blocks(self, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the maps u and p of each block of the shared network, without its decoder."""
        features, blocks = inputs, []
        if isinstance(self.trunk, UNetTrunk):
            for level, block in enumerate(self.trunk.down):
                assert isinstance(block, ConvBlock)
                blocks.append(block.halves(halved(features) if level else features))
                features = blocks[-1][1]
            return blocks
        for stage in stages_of(self.trunk, "mtan"):
            before = stage[:-1](features)
            features = stage[-1](before)
            blocks.append((before, features))
        return blocks

    def _attended(self, masks: nn.Module, blocks: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return what a task attends to in the last block."""
        first, *following = masks.children()
        before, after = blocks[0]
        attended: Tensor = first(before) * after
        for mask, link, (before, after) in zip(following, self.links, blocks[1:], strict=True):
            handed = link(attended)
            if handed.shape[2:] != before.shape[2:]:
                handed = halved(handed)
            attended = mask(before, handed) * after
        return attended

    def _decoder_blocks(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the maps u and p of each block of the decoder, from the first level on."""
        features, blocks = levels[-1], []
        assert isinstance(self.trunk, UNetTrunk)
        for block, skipped in zip(reversed(self.trunk.up), reversed(levels[:-1]), strict=True):
            enlarged = doubled(features, skipped)
            features = block(torch.cat([enlarged, skipped], 1))
            blocks.append((enlarged, features))
        return blocks[::-1]

    def _attended_above(
        self, masks: nn.Module, decoder: Sequence[tuple[Tensor, Tensor]], attended: Tensor
    ) -> Tensor:
        """Return what a task attends to in the decoder's last block, that of the first level."""
        for mask, link, (before, after) in zip(
            reversed(list(masks.children())),
            reversed(self.up_links),
            reversed(decoder),
            strict=True,
        ):
            attended = mask(before, link(doubled(attended, after))) * after
        return attended


def _unet(input_shape: Sequence[int], width: int, depth: int) -> UNetTrunk:
    """Return the U-Net; errors name the options of ``model``."""
    try:
        return UNetTrunk(input_shape, width, depth)
    except ConfigError as error:
        raise ConfigError(str(error).replace("model=unet", "model=mtan")) from error


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, width),
        nn.ReLU(),
    )


def _maps_of_stages(
    trunk: nn.Module, input_shape: Sequence[int]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the channels before the last module of each stage, and the shapes behind it.

    Raises:
        ConfigError: If a stage has one module, does not give a feature map, or changes the size of
            the images by something else than halves.
    """
    befores: list[int] = []
    maps: list[tuple[int, ...]] = []
    shape: tuple[int, ...] = tuple(input_shape)
    for number, stage in enumerate(stages_of(trunk, "mtan"), start=1):
        if len(stage) < 2:
            raise _refused(number, "has one module, but needs two or more")
        before = shape_after(stage[:-1], shape)
        after = shape_after(stage[-1], before)
        if len(before) != 3 or len(after) != 3:
            raise _refused(number, f"gives {after}, which is no feature map")
        if before[1:] != after[1:]:
            raise _refused(number, f"makes {after} of {before} in its last module")
        if before[0] % GROUPS or after[0] % GROUPS:
            raise _refused(
                number, f"has {before[0]} and {after[0]} channels, not multiples of {GROUPS}"
            )
        if maps and before[1:] not in (maps[-1][1:], tuple(-(-side // 2) for side in maps[-1][1:])):
            raise _refused(number, f"makes {before} of {shape}, neither the same size nor half")
        befores.append(before[0])
        maps.append(after)
        shape = after
    return befores, maps


def _refused(number: int, reason: str) -> ConfigError:
    return ConfigError(
        f"model=mtan masks the feature maps of convolutional stages, but stage {number} of model.trunk {reason}; leave model.trunk out for a U-Net."
    )
