"""Models of timm."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.models.backbones.network import (
    Network,
    downloading,
    first_line,
    not_downloaded,
)


class TimmNetwork(Network):
    """Any model of timm.

    Args:
        name: Its name in timm.
        input_shape: Channels, height and width of one image.
        pretrained: Whether to download its pretrained weights.

    Raises:
        ConfigError: If timm is not installed, has no such model, or cannot download its weights.
    """

    def __init__(self, name: str, input_shape: Sequence[int], pretrained: bool) -> None:
        super().__init__()
        timm = timm_with(name)
        channels, *size = input_shape
        options: dict[str, Any] = {
            "num_classes": 0,
            "in_chans": channels,
            "pretrained": pretrained,
        }
        try:
            with downloading(name) if pretrained else contextlib.nullcontext():
                try:  # transformers have one weight per place
                    self.network = timm.create_model(name, img_size=tuple(size), **options)
                except TypeError:
                    self.network = timm.create_model(name, **options)
        except Exception as error:
            if pretrained:
                raise not_downloaded(name, error) from error
            raise ConfigError(
                f"model.name={name} cannot be made for images of shape {tuple(input_shape)} ({first_line(error)}); choose another size (data.size) or model.name."
            ) from error

    def features(self, inputs: Tensor) -> Tensor:
        """Return one vector per image, ``[N, width]``."""
        features: Tensor = self.network(inputs)
        return features.flatten(1)

    def maps(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the feature maps of all stages, and one vector per image."""
        if not hasattr(self.network, "forward_intermediates"):
            raise ConfigError(
                f"{type(self.network).__name__} of timm gives no feature maps, which tasks with an answer per pixel need; choose another model.name, e.g. resnet18."
            )
        network: Any = self.network
        deepest, maps = network.forward_intermediates(inputs)
        features: Tensor = network.forward_head(deepest, pre_logits=True)
        return maps, features.flatten(1)


def timm_with(name: str) -> Any:
    """Return the library.

    Args:
        name: A model that it must have.

    Raises:
        ConfigError: If timm is not installed, or has no such model.
    """
    timm = import_extra("timm", "timm", f"model.name={name}")
    if not timm.is_model(name):
        raise ConfigError(
            f"model.name={name} is no model of timm; {suggest(name.partition('.')[0], timm.list_models())}."
        )
    return timm
