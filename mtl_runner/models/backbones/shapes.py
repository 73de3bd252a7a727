"""The shapes of what a network gives, found by one pass over zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.network import Network, first_line


def vector_width(network: Network, input_shape: Any) -> int:
    """Return the width of a network's features; it is run once in eval mode, on zeros.

    Args:
        network: The network.
        input_shape: Shape of one input; of each by name where there are several.

    Raises:
        ConfigError: If the network does not take such inputs.
    """
    return int(_tried(network, network.features, input_shape).shape[1])


def map_shapes(network: Network, input_shape: Any) -> tuple[list[tuple[int, ...]], int]:
    """Return the shapes of a network's feature maps, and the width of its vectors.

    Args:
        network: The network.
        input_shape: Shape of one input.

    Raises:
        ConfigError: If the network does not take such inputs, or gives no maps.
    """
    maps, vectors = _tried(network, network.maps, input_shape)
    return [tuple(map_.shape[1:]) for map_ in maps], int(vectors.shape[1])


@torch.no_grad()
def _tried(network: Network, function: Any, input_shape: Any) -> Any:
    training = network.training
    network.eval()
    zeros: Any = (
        {name: torch.zeros(2, *shape, dtype=torch.long) for name, shape in input_shape.items()}
        if isinstance(input_shape, Mapping)
        else torch.zeros(2, *input_shape)
    )
    try:
        return function(zeros)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"The backbone does not take inputs of shape {dict(input_shape) if isinstance(input_shape, Mapping) else tuple(input_shape)} ({first_line(error)}); choose another size (data.size) or model.name."
        ) from error
    finally:
        network.train(training)
