"""Base of the weightings that remember the mean losses of epochs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class EpochLosses(Weighting):
    """Adds up the losses of an epoch. A task that is idle in an epoch has no mean in it.

    A subclass calls :meth:`accumulate` in ``forward`` while it is in train mode, and
    :meth:`close_epoch` in ``begin_epoch``.

    Args:
        tasks: The tasks, in the order of the losses.

    Attributes:
        total: The sum of this epoch's losses, shape ``[T]``.
        count: How many they are, shape ``[T]``.

    Example:
        >>> from mtl_runner.weighting import DWA
        >>> losses = DWA([Task("depth"), Task("normals")])
        >>> losses.accumulate(torch.tensor([[4.0, 1.0], [2.0, 1.0]]))
        >>> losses.close_epoch()
        (tensor([3., 1.]), tensor([True, True]))
    """

    total: Tensor
    count: Tensor

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        dtype = torch.get_default_dtype()
        self.register_buffer("total", torch.zeros(len(self.tasks), dtype=dtype))
        self.register_buffer("count", torch.zeros(len(self.tasks), dtype=dtype))

    @torch.no_grad()
    def accumulate(self, losses: Tensor, active: Active | None = None) -> None:
        """Add the active tasks' losses to the epoch's means.

        Args:
            losses: The losses of one step, shape ``[k]``, or of n steps, shape ``[n, k]``.
            active: Which tasks these are; None if all T tasks are active.
        """
        index = (active or self.all_active).index(losses.device)
        steps = losses.view(-1, len(index))
        self.total.index_add_(0, index, steps.sum(0))
        self.count.index_add_(0, index, steps.new_full((len(index),), len(steps)))

    @torch.no_grad()
    def close_epoch(self) -> tuple[Tensor, Tensor]:
        """Begin a new epoch, and return the mean losses of the last one.

        Returns:
            The means ``[T]``, at least 1e-12, and whether each task took part ``[T]``.
        """
        seen = self.count > 0
        mean = (self.total / self.count.clamp(min=1)).clamp(min=TINY)
        self.total.zero_()
        self.count.zero_()
        return mean, seen
