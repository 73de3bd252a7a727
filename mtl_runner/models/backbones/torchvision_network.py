"""Models of torchvision, without their classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.models.backbones.network import Network, first_line, not_downloaded

# Where torchvision's models keep their classifier, and their stages.
CLASSIFIERS = ("fc", "classifier", "heads", "head")
RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4")


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
        models = torchvision_with(name)
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
                raise not_downloaded(name, error) from error
            raise ConfigError(
                f"model.name={name} cannot be made for images of shape {tuple(input_shape)} ({first_line(error)}); choose another size (data.size) or model.name."
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


def torchvision_with(name: str) -> Any:
    """Return the library's models.

    Args:
        name: A model that it must have.

    Raises:
        ConfigError: If torchvision is not installed, or has no such model.
    """
    models = import_extra("torchvision.models", "images", f"model.name={name}")
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"model.name={name} is no model of torchvision that classifies images; {suggest(name, known)}."
        )
    return models
