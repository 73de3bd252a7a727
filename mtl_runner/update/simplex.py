"""Weights of the tasks on the simplex, moved a little in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from mtl_runner.update.stateful_aggregator import StatefulAggregator


class SimplexWeights(StatefulAggregator):
    """Base of the aggregators whose weights are at least 0, sum to 1, and are moved in every step.

    They begin equal. The weights of the active tasks are those of the state, projected onto the
    simplex of these tasks.

    Args:
        tasks: Number of tasks.
    """

    state_names: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, tasks: int) -> None:
        super().__init__(tasks)
        self.weights: Tensor | None = None

    def moved(
        self, index: Tensor, like: Tensor, change: Callable[[Tensor], Tensor], steps: int = 1
    ) -> Tensor:
        """Move the weights of some tasks, and return them, ``[k]``.

        Args:
            index: The indices of the tasks.
            like: A tensor of the type and on the device of the rows.
            change: Returns what is added to weights before they are projected.
            steps: How often that is done.
        """
        kept = self.weights
        kept = like.new_full((self.tasks,), 1 / self.tasks) if kept is None else kept.to(like)
        weights = onto_simplex(self.of_active(kept, index))
        for _ in range(steps):
            weights = onto_simplex(weights + change(weights))
        self.weights = self.with_active(kept, index, weights)
        return weights


def onto_simplex(vector: Tensor) -> Tensor:
    """Return the nearest vector ``[k]`` whose entries are at least 0 and sum to 1.

    **Source:** Duchi et al., *Efficient Projections onto the l1-Ball for Learning in High
    Dimensions*, ICML 2008, figure 1.

    Example:
        >>> onto_simplex(torch.tensor([0.9, 0.5, -3.0]))
        tensor([0.7000, 0.3000, 0.0000])
    """
    # The same point, and no sum in which the 1 is lost to the rounding of large entries.
    vector = vector - vector.max()
    sorted_entries = vector.sort(descending=True).values
    counts = torch.arange(1, len(vector) + 1, dtype=vector.dtype, device=vector.device)
    thresholds = (sorted_entries.cumsum(0) - 1) / counts
    # Of entries that are not finite none counts, and the result is not finite, either.
    positive = (sorted_entries > thresholds).sum().clamp(min=1)
    return (vector - thresholds.gather(0, positive.reshape(1) - 1)).clamp(min=0)
