"""Modules as functions of their tensors, for ``torch.func``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_


class _Called(nn.Module):
    def __init__(self, owner: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.owner, *arguments)


def pure(module: nn.Module, function: str | Callable[..., Any] = "forward") -> Callable[..., Any]:
    """A method of a module, or a function of it, as a function of (its parameters and buffers by name, the other arguments)."""
    owner = _Called(
        module, getattr(type(module), function) if isinstance(function, str) else function
    )

    def call(state: Mapping[str, Tensor], *arguments: Any) -> Any:
        return functional_call(
            owner, {f"owner.{name}": tensor for name, tensor in state.items()}, arguments
        )

    return call


def clipped(
    gradients: Mapping[str, Tensor], blocks: Sequence[set[str]], clip: float | None
) -> dict[str, Tensor]:
    """The gradients with the norm of each block of them clipped, as ``torch.nn.utils.clip_grad_norm_`` does in place."""
    found = dict(gradients)
    if clip is None:
        return found
    for block in blocks:
        squares = [gradient.square().sum() for name, gradient in gradients.items() if name in block]
        factor = (clip / (torch.stack(squares).sum().sqrt() + EPS)).clamp(max=1.0)
        found |= {name: gradients[name] * factor for name in block}
    return found
