"""The exponential moving average of a model's weights over its steps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from mtl_runner.gradients.shards import cut_like_module


class MovingAverage:
    r"""Keeps a copy of a model whose weights follow those of the trained one (``trainer.ema``).

    .. math:: \bar\theta \leftarrow d_n \bar\theta + (1 - d_n)\, \theta, \qquad
        d_n = \min\Bigl(d, \frac{1 + n}{10 + n}\Bigr)

    where n is the number of steps so far. The decay rises to d, so that the initial weights are
    soon forgotten, also in a short run. Buffers, such as BatchNorm's statistics, are copied.

    Args:
        model: The model that is trained.
        decay: The decay d, in (0, 1).
        copied: A copy of the model, for a sharded one, which cannot be copied any more; None: it is
            copied here.

    Attributes:
        model: The copy with the averaged weights.
        steps: Number of steps so far.

    Example:
        >>> trained = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(trained.weight)
        >>> average = MovingAverage(trained, decay=0.999)
        >>> _ = nn.init.ones_(trained.weight)
        >>> average.update()
        >>> average.model.weight.item() > 0.8
        True
    """

    def __init__(self, model: nn.Module, decay: float, copied: nn.Module | None = None) -> None:
        self.trained, self.decay, self.steps = model, decay, 0
        self.model = copied or copy.deepcopy(model).requires_grad_(False)
        self._pairs = list(zip(self.model.parameters(), model.parameters(), strict=True))
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))
        if copied is not None:
            copied.load_state_dict(model.state_dict())

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, trained in self._pairs:
            average.lerp_(trained, 1 - decay)
        for copied, buffer in self._buffers:
            copied.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of steps, for a checkpoint."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        self.model.load_state_dict(cut_like_module(state["model"], self.model))
        self.steps = state["steps"]
