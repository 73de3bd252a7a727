"""Weights of the tasks' gradients that are used for several steps (``update.every``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

# A row whose weight is smaller than this share of the largest: dividing by it could lose digits.
SMALL = 1e-4


@dataclass(frozen=True)
class HeldWeights:
    """The weights of one step's rows, for the steps that follow.

    Attributes:
        tasks: The tasks that were active.
        rows: The weight of each one's row, shape ``[k]``.
        norm_ratio: What was measured beside them, shape ``[1]``.
        small: Those of the tasks whose weight is 0, or so small that one should not divide by it.

    Example:
        >>> held = HeldWeights.of((0, 2), torch.tensor([0.5, 0.0]), torch.ones(1))
        >>> held.small, held.factors(torch.tensor([2.0, 1.0, 1.0]))
        ((2,), tensor([1., 0., 0.]))
    """

    tasks: tuple[int, ...]
    rows: Tensor
    norm_ratio: Tensor
    small: tuple[int, ...]

    @classmethod
    def of(cls, tasks: tuple[int, ...], rows: Tensor, norm_ratio: Tensor) -> HeldWeights:
        """Return the weights of a step, with what has to be known about them on the host.

        Args:
            tasks: The active tasks.
            rows: The weight of each one's row, shape ``[k]``.
            norm_ratio: What was measured beside them, shape ``[1]``.
        """
        sizes = rows.abs()
        is_small = (sizes <= SMALL * sizes.max()).tolist()
        small = tuple(t for t, is_it in zip(tasks, is_small, strict=True) if is_it)
        return cls(tasks, rows, norm_ratio, small)

    def on(self, like: Tensor) -> HeldWeights:
        """Return the same weights on the device of a tensor; a checkpoint has them on the CPU."""
        if self.rows.device == like.device:
            return self
        ratio = self.norm_ratio.to(like.device)
        return replace(self, rows=self.rows.to(like.device), norm_ratio=ratio)

    def factors(self, weights: Tensor) -> Tensor:
        """Return the factor of each loss in the sum that the shared parameters follow, ``[T]``.

        Args:
            weights: The weights of the losses, shape ``[T]``.
        """
        index = torch.tensor(self.tasks, device=weights.device)
        rows = torch.zeros_like(weights).index_copy(0, index, self.rows.to(weights))
        return weights * rows

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        return {"tasks": list(self.tasks), "rows": self.rows, "norm_ratio": self.norm_ratio}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> HeldWeights:
        """Return the weights of a state of :meth:`state_dict`."""
        return cls.of(tuple(state["tasks"]), state["rows"], state["norm_ratio"])
