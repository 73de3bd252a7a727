"""Objectives of the logarithms of the losses: independent of units, with nothing to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.base import TINY, Derivatives, Weighting


class LogSum(Weighting):
    r"""Minimise the sum of the logarithms of the losses (scale-invariant loss).

    .. math:: \sum_t \log L_t

    where

    - :math:`L_t` is the loss of task :math:`t`, so that :math:`1 / L_t` is its weight.

    It shares its stationary points with uncertainty weighting at its optimum, IMTL-L and the
    geometric mean. A loss below 1e-12 counts as 1e-12, without a gradient.

    **When it helps:** the units of the losses should not matter, and there should be nothing to
    learn.

    **When not:** one loss comes near 0, because it then takes over.

    Args:
        tasks: The tasks, in the order of the losses.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import LogSum
        >>> weights, objective = LogSum([Task("depth"), Task("normals")]).weigh(
        ...     torch.tensor([4.0, 0.5])
        ... )
        >>> weights
        tensor([0.2500, 2.0000])
    """

    negative_losses = "gives the weight 0"
    replica_options = ()

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the sum of the logarithms of the active tasks' losses ``[k]``, a scalar."""
        del active
        return torch.log(losses.clamp(min=TINY)).sum()

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return the objective, and the inverse losses as weights: faster than autograd."""
        objective = self(losses, active)
        return objective, torch.where(losses >= TINY, losses.reciprocal(), 0.0), ()


class GeometricMean(Weighting):
    r"""Minimise the geometric mean of the losses (geometric loss strategy, GLS).

    **Source:** Chennupati et al., *MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning*, CVPR Workshops 2019,
    `arXiv:1904.08492 <https://arxiv.org/abs/1904.08492>`__.

    .. math:: G = \exp\Bigl(\frac1k \sum_t \log L_t\Bigr)

    where

    - :math:`L_t` is the loss of task :math:`t`, so that :math:`G / (k L_t)` is its weight,
    - :math:`k` is the number of active tasks.

    A loss below 1e-12 counts as 1e-12, without a gradient; as in the formula, it weakens all other
    tasks.

    **Departs from the paper:** a loss of 0 stays finite. TorchJD has the geometric mean, too; here
    it needs no extra package.

    **When it helps:** the units of the losses should not matter, and there should be nothing to
    learn. Its direction is that of :class:`~mtl_runner.weighting.LogSum`.

    **When not:** the optimizer is SGD and the losses fall by orders of magnitude. The gradient is
    that of :class:`~mtl_runner.weighting.LogSum` times :math:`G / k`, so it shrinks as the losses
    do, which SGD feels and Adam does not.

    Args:
        tasks: The tasks, in the order of the losses.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import GeometricMean
        >>> weighting = GeometricMean([Task("depth"), Task("normals")])
        >>> weights, objective = weighting.weigh(torch.tensor([4.0, 1.0]))
        >>> weights, objective
        (tensor([0.2500, 1.0000]), tensor(2.))
    """

    negative_losses = "turns into a standstill of all tasks: every weight becomes almost 0"
    replica_options = ()

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the geometric mean of the active tasks' losses ``[k]``, a scalar."""
        del active
        return torch.exp(torch.log(losses.clamp(min=TINY)).mean())
