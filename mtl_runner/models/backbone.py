"""A backbone of timm, torchvision or Hugging Face, with one head per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import whole_number
from mtl_runner.gradients.parameters import leaves_of
from mtl_runner.models.backbones.make import check_network, make_network
from mtl_runner.models.backbones.shapes import map_shapes, vector_width
from mtl_runner.models.frozen_parts import FrozenParts
from mtl_runner.models.heads import make_head
from mtl_runner.tasks.task import Task

ALL = "all"


def options_to_rebuild(model: nn.Module) -> dict[str, Any]:
    """Return the options that a run records beside those of its config, to make its model again.

    Args:
        model: The model, or what wraps it; any module in it may have ``rebuild_options``.

    Example:
        >>> options_to_rebuild(nn.Linear(1, 1))
        {}
    """
    return next(
        (
            dict(module.rebuild_options)
            for module in model.modules()
            if isinstance(module, Backbone)
        ),
        {},
    )


def _parts_and_time(freeze: Any) -> tuple[Any, Any]:
    """Return what ``model.freeze`` names, and until when: None is for the whole run."""
    if not isinstance(freeze, Mapping):
        return freeze, None
    for key in freeze:
        if key not in ("parts", "until"):
            raise ConfigError(
                f"model.freeze knows parts and until, and no {key!r}; write it as {{parts: [conv1, bn1], until: 5 epochs}}, where parts: all stands for all."
            )
    return freeze.get("parts", ALL), freeze.get("until")


class Pyramid(nn.Module):
    """One feature map of many channels' worth of all stages, as in feature pyramid networks.

    From the smallest map upward, each is enlarged to the size of the next one and added to it (Lin
    et al., *Feature Pyramid Networks*, CVPR 2017); the largest one is smoothed.

    Args:
        channels: Channels of the maps, the largest map first.
        width: Channels of the result.

    Example:
        >>> maps = [torch.zeros(2, 8, 16, 16), torch.zeros(2, 32, 8, 8)]
        >>> tuple(Pyramid([8, 32], width=4)(maps).shape)
        (2, 4, 16, 16)
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the map ``[N, width, H, W]`` in the size of the largest one."""
        merged: Tensor | None = None
        for lateral, features in zip(reversed(self.lateral), reversed(maps), strict=True):
            here = lateral(features)
            if merged is not None:
                here = here + F.interpolate(merged, size=here.shape[2:], mode="nearest")
            merged = here
        smoothed: Tensor = self.smooth(merged)
        return smoothed


class Backbone(nn.Module):
    """A network of timm, torchvision or Hugging Face without its classifier, shared by all tasks.

    Tasks with one answer per row get the pooled features and a head of fully connected layers;
    tasks with an answer per pixel a pyramid of the feature maps, which they share, and a head of
    1x1 convolutions, whose outputs are enlarged to the size of the target.

    A network that is loaded from a run is made without first weights: nothing is downloaded, and no
    file is opened.

    Args:
        tasks: The tasks.
        input_shape: Channels, height and width of one image; with Hugging Face also of each input
            by name.
        name: Name of the network, e.g. ``resnet18``; with Hugging Face a folder with its config, or
            a name such as ``owner/model``.
        library: ``timm``, ``torchvision`` or ``huggingface``; ``auto``: by the name.
        weights: First weights: null (random ones), a local file, or ``pretrained`` (downloaded).
        freeze: Parts of the network that are not trained: a list of their names, e.g. ``[conv1,
            bn1, layer1]``, or ``all``; or ``{parts: [conv1, bn1], until: 5 epochs}``, with a time
            (epochs, ``"500 steps"``, ``"10%"``) from which they are. Until then their
            normalization stays as in evaluation.
        head: Widths of the layers in each task's head before its output.
        width: Channels of the pyramid, which only tasks with an answer per pixel use.
        config: The config of a Hugging Face encoder, as a run recorded it; not to be set by hand.

    Shape:
        Inputs ``[N, C, H, W]``, outputs ``{task: [N, size]}``, or ``[N, size, H, W]`` per pixel.

    Raises:
        ConfigError: If the library is not installed or has no such network, the weights do not fit
            or cannot be downloaded, or an option is impossible.

    Example:
        >>> from mtl_runner.models import Backbone
        >>> tasks = [Task("species", "classification", size=5), Task("age", size=1)]
        >>> model = Backbone(tasks, (3, 64, 64), name="resnet18")  # doctest: +SKIP
        >>> outputs = model(torch.zeros(2, 3, 64, 64))  # doctest: +SKIP
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Any,
        name: str = "resnet18",
        library: str = "auto",
        weights: str | None = None,
        freeze: str | Sequence[str] | Mapping[str, Any] | None = None,
        head: Sequence[int] = (),
        width: int = 64,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        whole_number(width, "model.width", 1)
        self.frozen = FrozenParts([])
        supervised = [task for task in tasks if task.has_target]
        self.task_names = [task.name for task in supervised]
        self.places = [task.places for task in supervised]
        self.network = make_network(name, library, input_shape, weights, config)
        self.pyramid: Pyramid | None = None
        pixels: tuple[int, ...] = ()
        if any(self.places):
            shapes, features = map_shapes(self.network, input_shape)
            self.pyramid = Pyramid([shape[0] for shape in shapes], width)
            pixels = (width, *shapes[0][1:])
        else:
            features = vector_width(self.network, input_shape)
        # A list, not a ModuleDict: a task may be called "a.b".
        self.heads = nn.ModuleList(
            make_head(replace(task, places=pixels[1:]), pixels, head, "model.head")
            if task.places
            else make_head(task, (features,), head, "model.head")
            for task in supervised
        )
        if self.pyramid is not None:
            self._leave_unused(input_shape)
        parts, until = _parts_and_time(freeze)
        self.frozen = FrozenParts(self._modules_of(parts), until)

    @staticmethod
    def check_options(
        name: str = "resnet18", library: str = "auto", weights: str | None = None, **_: Any
    ) -> None:
        """Check the options that need no data, which may take minutes to read.

        Args:
            name: As in the constructor.
            library: As in the constructor.
            weights: As in the constructor.
            **_: Other options.

        Raises:
            ConfigError: If the library has no such network, or there is no such file.
        """
        check_network(name, library, weights)

    @property
    def rebuild_options(self) -> dict[str, Any]:
        """Options that a run records beside those of its config, to make the model again."""
        return dict(self.network.record)

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``, or ``[N, size, H, W]`` per pixel."""
        if self.pyramid is None:
            features = self.network.features(inputs)
            pixels = features
        else:
            maps, features = self.network.maps(inputs)
            pixels = self.pyramid(maps)
        outputs = {}
        for name, places, head in zip(self.task_names, self.places, self.heads, strict=True):
            output = head(pixels if places else features)
            outputs[name] = (
                F.interpolate(output, size=places, mode="bilinear", align_corners=False)
                if places
                else output
            )
        return outputs

    def train(self, mode: bool = True) -> Backbone:
        """Switch to training, but for the parts that are frozen."""
        super().train(mode)
        self.frozen.keep_in_evaluation()
        return self

    def _modules_of(self, freeze: Any) -> list[nn.Module]:
        """Return the modules that ``model.freeze`` names."""
        if freeze is None or freeze is False:
            return []
        network = self.network.network
        if freeze == ALL:
            return [network]
        modules = dict(network.named_modules())
        parts = [name for name, _ in network.named_children()]
        if isinstance(freeze, str) or not isinstance(freeze, Sequence):
            raise ConfigError(
                f"model.freeze must be null, all, a list of parts, e.g. [{', '.join(parts[:2])}], or {{parts: [{', '.join(parts[:2])}], until: 5 epochs}}; found {freeze!r}."
            )
        for name in freeze:
            if not name or name not in modules:
                raise ConfigError(
                    f"model.freeze names {name!r}, which is no part of the backbone; {suggest(str(name), parts)}."
                )
        return [modules[name] for name in freeze]

    def _leave_unused(self, input_shape: Any) -> None:
        """Freeze what no output needs: with answers per pixel alone, the layers behind the maps."""
        training = self.training
        outputs = self.eval()(torch.zeros(2, *input_shape))
        self.train(training)
        used = {leaf for output in outputs.values() for leaf in leaves_of(output.sum())}
        for parameter in self.network.parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter in used)
