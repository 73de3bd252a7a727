"""The tensors of modules that are alike, as stacks of which each module keeps its own slice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Stacked:
    """Stacks the parameters and buffers of alike modules; afterwards each module's own are views of its slice.

    So whatever is written into the stack is at once in the modules, and the other way round.

    Attributes:
        parameters, frozen, buffers: ``{name: [S, ...]}``: trained parameters, parameters without a gradient, and buffers.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.module = self.modules[0]
        self.parameters: dict[str, Tensor] = {}
        self.frozen: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        owned = [dict(module.named_parameters()) for module in self.modules]
        for name, parameter in owned[0].items():
            stack = torch.stack([parameters[name].detach() for parameters in owned])
            for parameters, part in zip(owned, stack, strict=True):
                parameters[name].data = part
            (self.parameters if parameter.requires_grad else self.frozen)[name] = stack
        for name, _ in self.module.named_buffers():
            path, _, leaf = name.rpartition(".")
            owners = [module.get_submodule(path) for module in self.modules]
            stack = torch.stack([owner.get_buffer(leaf) for owner in owners])
            for owner, part in zip(owners, stack, strict=True):
                setattr(owner, leaf, part)
            self.buffers[name] = stack

    def release(self, index: int) -> None:
        """Give a module tensors of its own again: what the stack still computes for it is ignored."""
        module = self.modules[index]
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()
        for name, buffer in list(module.named_buffers()):
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, buffer.clone())

    @property
    def constants(self) -> dict[str, Tensor]:
        """What a step reads but does not train."""
        return {**self.frozen, **self.buffers}
