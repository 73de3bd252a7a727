"""ResNets as trunks: a stage per resolution, from timm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.make import make_network
from mtl_runner.models.trunk import Trunk

# The attributes of timm's ResNets, in the order in which images pass them.
STEM = ("conv1", "bn1", "act1", "maxpool")
LAYERS = ("layer1", "layer2", "layer3", "layer4")


class ResNetTrunk(Trunk):
    """A ResNet of timm from images to its last feature map, a stage per resolution.

    The stem belongs to the first of the four stages.

    Args:
        input_shape: Channels, height and width of one image.
        name: Its name in timm: ``"resnet18"``, ``"resnet50"``, ``"resnext50_32x4d"``, ...
        weights: First weights: None (random ones), a local file, or ``"pretrained"`` (downloaded);
            several experts then start with the same ones.

    Shape:
        Inputs ``[N, C, H, W]``, features ``[N, channels, H / 32, W / 32]``.

    Raises:
        ConfigError: If timm is not installed, the inputs are no images, timm has no ResNet of this
            name, or the weights do not fit.

    Example:
        >>> import torch
        >>> from mtl_runner.models import ResNetTrunk
        >>> trunk = ResNetTrunk((3, 64, 64), "resnet18")  # doctest: +SKIP
        >>> tuple(trunk(torch.zeros(2, 3, 64, 64)).shape)  # doctest: +SKIP
        (2, 512, 2, 2)
    """

    def __init__(
        self, input_shape: Sequence[int], name: str = "resnet18", weights: str | None = None
    ) -> None:
        network = make_network(name, "timm", input_shape, weights).network
        if not all(hasattr(network, attribute) for attribute in (*STEM, *LAYERS)):
            raise ConfigError(
                f"model.name={name} is no ResNet, whose stages are layer1 to layer4; use e.g. resnet18 or resnet50."
            )
        layers = [getattr(network, layer) for layer in LAYERS]
        stages: list[list[nn.Module]] = [list(layer.children()) for layer in layers]
        stages[0][:0] = [getattr(network, attribute) for attribute in STEM]
        super().__init__(stages)
