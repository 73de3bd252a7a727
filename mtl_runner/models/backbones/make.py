"""From a name to a network of timm, torchvision or Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice
from mtl_runner.models.backbones.huggingface_network import HuggingFaceNetwork
from mtl_runner.models.backbones.network import Network
from mtl_runner.models.backbones.timm_network import TimmNetwork, timm_with
from mtl_runner.models.backbones.torchvision_network import TorchvisionNetwork, torchvision_with
from mtl_runner.models.backbones.weights import are_left_out, load_weights, weights_file

LIBRARIES = ("timm", "torchvision", "huggingface")
PRETRAINED = "pretrained"
# Names of architectures; "hf-hub:..." and "local-dir:..." would open what they name.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")


def make_network(
    name: str,
    library: str,
    input_shape: Any,
    weights: str | None,
    config: Mapping[str, Any] | None = None,
) -> Network:
    """Return a network of a library, without its classifier.

    Args:
        name: Name of the architecture; with Hugging Face a folder or the name of a model there.
        library: ``"timm"``, ``"torchvision"``, ``"huggingface"``, or ``"auto"``.
        input_shape: Shape of one input; of each by name where there are several.
        weights: A file, ``"pretrained"``, or None.
        config: The recorded config of a Hugging Face model, of which it is made again.

    Raises:
        ConfigError: If the library is not installed, has no such model, or the weights do not fit.
    """
    if are_left_out():
        weights = None
    library = check_network(name, library, weights)
    if library == "huggingface":
        network: Network = HuggingFaceNetwork(name, weights == PRETRAINED, config)
    elif isinstance(input_shape, Mapping) or len(input_shape) != 3:
        inputs = (
            "a dict of inputs"
            if isinstance(input_shape, Mapping)
            else f"inputs of shape {tuple(input_shape)}"
        )
        raise ConfigError(
            f"model.name={name} takes images, one tensor [rows, channels, height, width]; the data give {inputs}."
        )
    else:
        make = TimmNetwork if library == "timm" else TorchvisionNetwork
        network = make(name, input_shape, weights == PRETRAINED)
    network.record["library"] = library
    if weights is not None and weights != PRETRAINED:
        load_weights(network.network, weights, name)
    return network


def check_network(name: Any, library: Any, weights: Any) -> str:
    """Check what can be checked before there are data; return the library.

    Args:
        name: ``model.name``.
        library: ``model.library``.
        weights: ``model.weights``.

    Raises:
        ConfigError: If the library is not installed or has no such model, or there is no such file.
    """
    choice(library, "model.library", ("auto", *LIBRARIES))
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"model.name must be the name of a backbone, e.g. resnet18; found {name!r}."
        )
    if weights is not None and not isinstance(weights, str):
        raise ConfigError(f"model.weights must be null, a file, or pretrained; found {weights!r}.")
    library = _library_of(name) if library == "auto" else library
    if library != "huggingface":
        if not PLAIN_NAME.fullmatch(name):
            raise ConfigError(
                f"model.name={name!r} is not the name of an architecture of {library}; a file of weights goes into model.weights, a Hugging Face encoder needs model.library=huggingface."
            )
        known = timm_with if library == "timm" else torchvision_with
        known(name)
    if weights is not None and weights != PRETRAINED:
        weights_file(weights)
    return str(library)


def _library_of(name: str) -> str:
    """Return the library that has a model of this name: timm, if it is installed, comes first."""
    if "/" in name or Path(name).is_dir():
        return "huggingface"
    try:
        timm = import_extra("timm", "timm", "model=backbone")
    except ConfigError as error:
        try:
            models = import_extra("torchvision.models", "images", "model=backbone")
        except ConfigError:
            raise error from None
        return "torchvision" if name in models.list_models(module=models) else "timm"
    if not timm.is_model(name):
        models = import_extra("torchvision.models", "images", "model=backbone")
        if name in models.list_models(module=models):
            return "torchvision"
    return "timm"
