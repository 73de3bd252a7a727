"""Trunks: networks from inputs to features, of which the architectures of the field are made.

A trunk is any ``nn.Module`` from one tensor to features ``[N, width]`` or a feature map
``[N, channels, H, W]``; a model makes as many as it needs from a :data:`TrunkFactory`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, suggest

#: Makes a new trunk, with first weights of its own, for inputs of a shape: ``lenet(input_shape)``.
TrunkFactory = Callable[[Sequence[int]], nn.Module]


class Trunk(nn.Sequential):
    """Layers one after another that are dealt out to stages, between which tasks may exchange.

    Args:
        stages: The layers of each stage.

    Example:
        >>> import torch
        >>> from mtl_runner.models.trunk import Trunk
        >>> trunk = Trunk([[nn.Linear(3, 5), nn.ReLU()], [nn.Linear(5, 2)]])
        >>> tuple(trunk(torch.zeros(4, 3)).shape), [len(stage) for stage in trunk.stages()]
        ((4, 2), [2, 1])
    """

    def __init__(self, stages: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__(*(layer for stage in stages for layer in stage))
        self.stage_lengths = [len(stage) for stage in stages]

    def __getitem__(self, index: int | slice) -> Any:
        """Return a layer, or several of them as a plain ``nn.Sequential``."""
        # A Sequential would make an object of this class, which has other arguments.
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else list(self)[index]

    def stages(self) -> list[nn.Sequential]:
        """Return the stages, in order; they hold the layers of the trunk, not copies."""
        layers = iter(self)
        return [
            nn.Sequential(*(next(layers) for _ in range(length))) for length in self.stage_lengths
        ]


def make_trunks(
    make_trunk: TrunkFactory, input_shape: Sequence[int], count: int
) -> list[nn.Module]:
    """Return new trunks of one kind, each with first weights of its own.

    Args:
        make_trunk: Makes a trunk.
        input_shape: Shape of one input.
        count: How many.

    Raises:
        ConfigError: If the inputs are a dict, or the trunk refuses its options; they are those of
            ``model.trunk``.

    Example:
        >>> from mtl_runner.models import MLPTrunk
        >>> from mtl_runner.models.trunk import make_trunks
        >>> first, second = make_trunks(MLPTrunk, (3,), 2)
        >>> bool((first[0].weight == second[0].weight).all())
        False
    """
    if isinstance(input_shape, Mapping):
        raise ConfigError(
            f"A model with a trunk takes one tensor, but the data give a dict of inputs ({', '.join(map(str, input_shape))}); choose another model."
        )
    if not callable(make_trunk):
        raise ConfigError(
            f"model.trunk must be a kind of trunk, e.g. model/trunk=mlp; found {make_trunk!r}."
        )
    if isinstance(make_trunk, functools.partial):
        known = list(inspect.signature(make_trunk.func).parameters)
        for name in make_trunk.keywords:
            if name not in known:
                raise ConfigError(
                    f"model.trunk.{name} is not an option of {make_trunk.func.__name__}; {suggest(name, known[1:])}."
                )
    try:
        trunks = [make_trunk(input_shape) for _ in range(count)]
    except ConfigError as error:
        # The trunks of model=mlp, lenet and unet are options of `model` there.
        sentence = str(error).replace("model.", "model.trunk.").replace("model=", "model/trunk=")
        raise ConfigError(sentence) from error
    for trunk in trunks:
        if not isinstance(trunk, nn.Module):
            raise ConfigError(
                f"model.trunk made a {type(trunk).__name__}; it must make a torch.nn.Module from inputs to features."
            )
    return trunks


def stages_of(trunk: nn.Module, model: str) -> list[nn.Sequential]:
    """Return the stages of a trunk, in order: its own, or the children of a ``Sequential``.

    Args:
        trunk: The trunk; its stages are what its method ``stages`` returns, if it has one.
        model: The name of the model that asks, for the error.

    Raises:
        ConfigError: If the trunk has no stages, such as a U-Net with its skip connections.
    """
    stages = getattr(trunk, "stages", None)
    if not callable(stages) and not isinstance(trunk, nn.Sequential):
        raise ConfigError(
            f"model={model} needs a trunk of stages one after another, which {type(trunk).__name__} does not have; choose model/trunk=mlp or lenet, or an nn.Sequential of your own."
        )
    children: list[nn.Module] = list(stages()) if callable(stages) else list(trunk.children())
    return [
        child if isinstance(child, nn.Sequential) else nn.Sequential(child) for child in children
    ]


@torch.no_grad()
def shape_after(module: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of what a module makes of one input, without its row dimension.

    Args:
        module: The module; it is run once in eval mode, on zeros.
        input_shape: Shape of one input.

    Example:
        >>> from mtl_runner.models.trunk import shape_after
        >>> shape_after(nn.Conv2d(1, 4, 3), (1, 8, 8))
        (4, 6, 6)
    """
    training = module.training
    output: Tensor = module.eval()(torch.zeros(1, *input_shape))
    module.train(training)
    return tuple(output.shape[1:])
