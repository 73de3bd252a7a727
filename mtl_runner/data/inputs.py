"""Inputs of a model: a tensor, or several by name. One small class knows the difference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Inputs = Tensor | dict[str, Tensor]
Shape = tuple[int, ...] | dict[str, tuple[int, ...]]


class InputTensors:
    """The tensors of some inputs by name; a single tensor has the name ``""``.

    Args:
        inputs: What a model takes: a tensor ``[N, ...]``, or a dict of them.

    Example:
        >>> import torch
        >>> from mtl_runner.data.inputs import InputTensors
        >>> tensors = InputTensors({"x": torch.zeros(5, 3), "z": torch.zeros(5, 2, 2)})
        >>> len(tensors), tensors.shape
        (5, {'x': (3,), 'z': (2, 2)})
        >>> tensors.map(lambda tensor: tensor[:2])["x"].shape
        torch.Size([2, 3])
    """

    def __init__(self, inputs: Inputs) -> None:
        self.is_single = not isinstance(inputs, dict)
        self.tensors: dict[str, Tensor] = inputs if isinstance(inputs, dict) else {"": inputs}

    def __len__(self) -> int:
        return len(self.first)

    @property
    def first(self) -> Tensor:
        """One of the tensors: all have as many rows, and lie on the same device."""
        return next(iter(self.tensors.values()))

    @property
    def single(self) -> Tensor | None:
        """The tensor without a name, or None if the inputs are a dict."""
        return self.first if self.is_single else None

    @property
    def device(self) -> torch.device:
        """The device on which the tensors lie."""
        return self.first.device

    @property
    def shape(self) -> Shape:
        """The shape of one row; of each tensor by name where the inputs are a dict."""
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in self.tensors.items()}
        return shapes[""] if self.is_single else shapes

    @property
    def numbers_per_row(self) -> int:
        """How many numbers a row has, over all tensors."""
        return sum(tensor[0].numel() for tensor in self.tensors.values())

    def with_tensors(self, tensors: dict[str, Tensor]) -> Inputs:
        """Return other tensors of the same names in the form of these inputs."""
        return tensors[""] if self.is_single else tensors

    def map(self, function: Callable[[Tensor], Tensor]) -> Inputs:
        """Return the inputs with a function applied to every tensor."""
        return self.with_tensors({name: function(tensor) for name, tensor in self.tensors.items()})
