"""Parameters and buffers of equal modules as stacked tensors; each module keeps its slice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StackedModules:
    """Stacks the parameters and buffers of modules of equal structure.

    Afterwards each module's own tensors are views of its slice: whatever is written into the stack
    is at once in the modules, and the other way round.

    Args:
        modules: One module per replica, with parameters and buffers of equal names and shapes.

    Attributes:
        parameters: Trained parameters by name, ``[S, ...]``.
        frozen: Parameters without a gradient by name, ``[S, ...]``.
        buffers: Buffers by name, ``[S, ...]``.

    Example:
        >>> layers = [nn.Linear(3, 2) for _ in range(4)]
        >>> stacked = StackedModules(layers)
        >>> tuple(stacked.parameters["weight"].shape)
        (4, 2, 3)
        >>> _ = stacked.parameters["bias"][1].fill_(7.0)
        >>> layers[1].bias.tolist()
        [7.0, 7.0]
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.module = self.modules[0]
        self.parameters: dict[str, Tensor] = {}
        self.frozen: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        parameters_of_modules = [dict(module.named_parameters()) for module in self.modules]
        for name, parameter in parameters_of_modules[0].items():
            stack = torch.stack([parameters[name].detach() for parameters in parameters_of_modules])
            for parameters, replica in zip(parameters_of_modules, stack, strict=True):
                parameters[name].data = replica
            (self.parameters if parameter.requires_grad else self.frozen)[name] = stack
        for name, _ in self.module.named_buffers():
            path, _, attribute = name.rpartition(".")
            owners = [module.get_submodule(path) for module in self.modules]
            stack = torch.stack([owner.get_buffer(attribute) for owner in owners])
            for owner, replica in zip(owners, stack, strict=True):
                setattr(owner, attribute, replica)
            self.buffers[name] = stack

    def release(self, index: int) -> None:
        """Give the module of a replica tensors of its own again.

        What the stack still computes for this replica is ignored from then on.
        """
        module = self.modules[index]
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()
        for name, buffer in list(module.named_buffers()):
            path, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(path), attribute, buffer.clone())

    @property
    def constants(self) -> dict[str, Tensor]:
        """The tensors that a step reads but does not train: frozen parameters and buffers."""
        return {**self.frozen, **self.buffers}
