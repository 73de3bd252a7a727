"""The base of all networks of other libraries: features, and feature maps."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from mtl_runner.errors import ConfigError

log = logging.getLogger("mtl_runner")


class Network(nn.Module, ABC):
    """A network without its classifier.

    Attributes:
        network: The module of the library.
        record: What is needed beside ``model.name`` to make the network again, as plain values.
    """

    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.record: dict[str, Any] = {}

    @abstractmethod
    def features(self, inputs: Any) -> Tensor:
        """Return one vector per row, ``[N, width]``."""

    @abstractmethod
    def maps(self, inputs: Any) -> tuple[list[Tensor], Tensor]:
        """Return maps ``[N, channels, H, W]``, the largest first, and one vector per row."""

    def forward(self, inputs: Any) -> Tensor:
        """Return one vector per row, ``[N, width]``."""
        return self.features(inputs)


@contextlib.contextmanager
def downloading(name: str) -> Iterator[None]:
    """Say that something is fetched from the Hugging Face hub, and silence its lines on every try.

    The hub's library tries again for most of a minute, and has no option for less.

    Args:
        name: The name of the network.

    Example:
        >>> with downloading("resnet18"):
        ...     logging.getLogger("huggingface_hub.utils").isEnabledFor(logging.WARNING)
        False
    """
    log.info(
        "Fetching %r from the Hugging Face hub, or from its cache; without network the library gives up after about a minute.",
        name,
    )
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(level)


def not_downloaded(name: str, error: Exception) -> ConfigError:
    """Return the error of pretrained weights that cannot be downloaded.

    Args:
        name: The name of the network.
        error: What its library raised.
    """
    return ConfigError(
        f"model.weights=pretrained: the weights of {name!r} could not be downloaded ({first_line(error)}); on a machine without network, bring the file from another one and give its path: model.weights=weights.safetensors."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
