"""Networks of timm, torchvision and Hugging Face, from inputs to features and feature maps."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import choice
from mtl_runner.models.backbone_weights import are_left_out, load_weights

LIBRARIES = ("timm", "torchvision", "huggingface")
PRETRAINED = "pretrained"
# Names of architectures; "hf-hub:..." and "local-dir:..." would open what they name.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
# Where torchvision's models keep their classifier, and their stages.
CLASSIFIERS = ("fc", "classifier", "heads", "head")
RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4")
# Configs of Hugging Face that name a second network, which would be downloaded.
SECOND_NETWORKS = ("backbone", "backbone_config", "use_timm_backbone", "architecture")


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
    choice(library, "model.library", ("auto", *LIBRARIES))
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"model.name must be the name of a backbone, e.g. resnet18; found {name!r}."
        )
    if are_left_out():
        weights = None
    elif weights is not None and not isinstance(weights, str):
        raise ConfigError(f"model.weights must be null, a file, or pretrained; found {weights!r}.")
    library = _library_of(name) if library == "auto" else library
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
    elif not PLAIN_NAME.fullmatch(name):
        raise ConfigError(
            f"model.name={name!r} is not the name of an architecture of {library}; a file of weights goes into model.weights, a Hugging Face encoder needs model.library=huggingface."
        )
    else:
        make = TimmNetwork if library == "timm" else TorchvisionNetwork
        network = make(name, input_shape, weights == PRETRAINED)
    network.record["library"] = library
    if weights is not None and weights != PRETRAINED:
        load_weights(network.network, weights)
    return network


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


def _not_downloaded(name: str, error: Exception) -> ConfigError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return ConfigError(
        f"model.weights=pretrained: the weights of {name!r} could not be downloaded ({reason}); on a machine without network, bring the file from another one and give its path: model.weights=weights.safetensors."
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
        timm = import_extra("timm", "timm", f"model.name={name}")
        if not timm.is_model(name):
            raise ConfigError(
                f"model.name={name} is no model of timm; {suggest(name.partition('.')[0], timm.list_models())}."
            )
        channels, *size = input_shape
        options: dict[str, Any] = {
            "num_classes": 0,
            "in_chans": channels,
            "pretrained": pretrained,
        }
        try:
            try:  # transformers have one weight per place
                self.network = timm.create_model(name, img_size=tuple(size), **options)
            except TypeError:
                self.network = timm.create_model(name, **options)
        except Exception as error:
            if pretrained:
                raise _not_downloaded(name, error) from error
            raise ConfigError(
                f"model.name={name} cannot be made for images of shape {tuple(input_shape)} ({_first_line(error)}); choose another size (data.size) or model.name."
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


class TorchvisionNetwork(Network):
    """Any model of torchvision that classifies images.

    Args:
        name: Its name in torchvision.
        input_shape: Channels (1 or 3), height and width of one image.
        pretrained: Whether to download its pretrained weights.

    Raises:
        ConfigError: If torchvision is not installed, has no such model, or cannot download its
            weights.
    """

    def __init__(self, name: str, input_shape: Sequence[int], pretrained: bool) -> None:
        super().__init__()
        models = import_extra("torchvision.models", "images", f"model.name={name}")
        known = models.list_models(module=models)
        if name not in known:
            raise ConfigError(
                f"model.name={name} is no model of torchvision that classifies images; {suggest(name, known)}."
            )
        if input_shape[0] not in (1, 3):
            raise ConfigError(
                f"The models of torchvision take images of 3 channels, and the data give {input_shape[0]}; choose model.library=timm."
            )
        try:
            options = {"image_size": input_shape[1]} if name.startswith("vit_") else {}
            self.network = models.get_model(
                name, weights="DEFAULT" if pretrained else None, **options
            )
        except Exception as error:
            if pretrained:
                raise _not_downloaded(name, error) from error
            raise ConfigError(
                f"model.name={name} cannot be made for images of shape {tuple(input_shape)} ({_first_line(error)}); choose another size (data.size) or model.name."
            ) from error
        _remove_classifier(self.network, name)

    def features(self, inputs: Tensor) -> Tensor:
        """Return one vector per image, ``[N, width]``."""
        features = self.network(_three_channels(inputs))
        if not isinstance(features, Tensor):
            raise ConfigError(
                f"{type(self.network).__name__} of torchvision gives several outputs in training; choose another model.name, e.g. resnet18."
            )
        return features.flatten(1)

    def maps(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the last feature map of every size, and the mean of the smallest one."""
        maps: list[Tensor] = []
        features = _three_channels(inputs)
        for stage in self._stages():
            features = stage(features)
            if maps and maps[-1].shape[2:] == features.shape[2:]:
                maps.pop()
            maps.append(features)
        return maps, maps[-1].mean((2, 3))

    def _stages(self) -> list[nn.Module]:
        children = dict(self.network.named_children())
        if set(RESNET_STAGES) <= set(children):
            names = list(children)
            return [children[name] for name in names[: names.index("layer4") + 1]]
        stages = children.get("features")
        is_swin = "permute" in children  # its maps have the channels last
        if isinstance(stages, nn.Sequential) and not is_swin:
            return list(stages)
        raise ConfigError(
            f"{type(self.network).__name__} of torchvision gives no feature maps, which tasks with an answer per pixel need; choose model.library=timm, or model.name=resnet18."
        )


def _three_channels(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _remove_classifier(network: nn.Module, name: str) -> None:
    """Replace the last linear layer of a torchvision model by the identity."""
    for attribute in CLASSIFIERS:
        classifier = getattr(network, attribute, None)
        if classifier is None:
            continue
        linear = [
            path for path, module in classifier.named_modules() if isinstance(module, nn.Linear)
        ]
        if linear:
            path = ".".join(filter(None, (attribute, linear[-1])))
            parent, _, name_there = path.rpartition(".")
            setattr(network.get_submodule(parent), name_there, nn.Identity())
            return
    raise ConfigError(
        f"model.name={name} of torchvision has no linear classifier that heads could take the place of; choose another one, e.g. resnet18."
    )


class HuggingFaceNetwork(Network):
    """An encoder of Hugging Face (``AutoModel``), pooled.

    Args:
        name: A folder with its config, or its name on the hub.
        pretrained: Whether to load its pretrained weights, too.
        config: Its recorded config; nothing is opened then.

    Raises:
        ConfigError: If transformers is not installed, or the model cannot be read.
    """

    def __init__(
        self, name: str, pretrained: bool, config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        transformers = import_extra("transformers", "hf", f"model.name={name}")
        if config is None and are_left_out():
            raise ConfigError(f"The config of the encoder {name!r} was not recorded in this run.")
        try:
            # Code that a repository brings is never run.
            known = (
                transformers.AutoConfig.for_model(**_plain_config(config))
                if config is not None
                else transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
            )
            values = _plain_config(known.to_dict())
            self.network = (
                transformers.AutoModel.from_pretrained(name, trust_remote_code=False)
                if pretrained
                else transformers.AutoModel.from_config(
                    transformers.AutoConfig.for_model(**values), trust_remote_code=False
                )
            )
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"The encoder {name!r} of Hugging Face cannot be made ({_first_line(error)}); give the name of one, or on a machine without network a folder with its config.json and, for model.weights=pretrained, its model.safetensors."
            ) from error
        self.record["config"] = values

    def features(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Return one vector per row: the encoder's own, or the mean over places or words."""
        output = self.network(**inputs) if isinstance(inputs, Mapping) else self.network(inputs)
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)  # type: ignore[no-any-return]
        states: Tensor = output.last_hidden_state
        if states.dim() == 4:
            return states.mean((2, 3))
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        if mask is None:
            return states.mean(1)
        weights = mask.to(states.dtype).unsqueeze(-1)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)

    def maps(self, inputs: Tensor | Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """Raise ``ConfigError``: there are no feature maps."""
        del inputs
        raise ConfigError(
            "Encoders of Hugging Face give one vector per row here, but a task has an answer per pixel; choose model.library=timm."
        )


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what would run or download something.

    Raises:
        ConfigError: If the encoder is made of a second network that the config names.
    """
    for key in SECOND_NETWORKS:
        if config.get(key):
            raise ConfigError(
                f"The encoder is made of another network, which its config names ({key}); choose one that stands for itself."
            )
    left_out = ("auto_map", "_name_or_path", "transformers_version", "dtype", "torch_dtype")
    return {key: value for key, value in config.items() if key not in left_out}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


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
            f"The backbone does not take inputs of shape {dict(input_shape) if isinstance(input_shape, Mapping) else tuple(input_shape)} ({_first_line(error)}); choose another size (data.size) or model.name."
        ) from error
    finally:
        network.train(training)
