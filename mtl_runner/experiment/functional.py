"""Modules as functions of their tensors, for ``torch.func``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

EPS = 1e-6  # as in torch.nn.utils.clip_grad_norm_


class _Caller(nn.Module):
    """Calls a function of a module in its ``forward``, where ``functional_call`` takes effect."""

    def __init__(self, owner: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.owner, *arguments)


def pure(module: nn.Module, function: str | Callable[..., Any] = "forward") -> Callable[..., Any]:
    """Return a method of a module as a function of its tensors.

    Args:
        module: The module.
        function: The name of one of its methods, or a function of the module.

    Returns:
        A function of (parameters and buffers by name, the other arguments).

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> state = {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([1.0])}
        >>> pure(linear)(state, torch.tensor([3.0]))
        tensor([7.])
    """
    caller = _Caller(
        module, getattr(type(module), function) if isinstance(function, str) else function
    )

    def call(state: Mapping[str, Tensor], *arguments: Any) -> Any:
        return functional_call(
            caller, {f"owner.{name}": tensor for name, tensor in state.items()}, arguments
        )

    return call


def clipped(
    gradients: Mapping[str, Tensor], blocks: Sequence[set[str]], clip: float | None
) -> dict[str, Tensor]:
    """Return the gradients with the norm of each block of them clipped.

    It gives the numbers that ``torch.nn.utils.clip_grad_norm_`` gives in place.

    Args:
        gradients: Gradients by name.
        blocks: Names of the gradients whose norm is taken together.
        clip: Largest norm of a block; None leaves them alone.

    Example:
        >>> clipped({"a": torch.tensor([3.0, 4.0])}, [{"a"}], clip=1.0)["a"]
        tensor([0.6000, 0.8000])
    """
    result = dict(gradients)
    if clip is None:
        return result
    for block in blocks:
        squares = [gradient.square().sum() for name, gradient in gradients.items() if name in block]
        factor = (clip / (torch.stack(squares).sum().sqrt() + EPS)).clamp(max=1.0)
        result |= {name: gradients[name] * factor for name in block}
    return result
