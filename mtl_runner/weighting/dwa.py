"""Dynamic weight average: more weight for tasks that learn slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mtl_runner.errors.checks import positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.epoch_losses import EpochLosses


class DWA(EpochLosses):
    r"""Weigh by the rate at which each loss falls from epoch to epoch (dynamic weight average).

    **Source:** Liu, Johns & Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019,
    eq. 7, `arXiv:1803.10704 <https://arxiv.org/abs/1803.10704>`__.

    .. math::

        \sum_t w_t L_t, \qquad w = k\,\mathrm{softmax}(r / \tau),
        \qquad r_t = \bar L_t^{(e-1)} / \bar L_t^{(e-2)}

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight,
    - :math:`k` is the number of active tasks, to which the weights sum,
    - :math:`\bar L_t^{(e-1)}` and :math:`\bar L_t^{(e-2)}` are the mean losses of the task in the
      last two epochs,
    - :math:`r_t` is the rate; a slow task has a large one. It is 1 until the task has two epochs,
    - :math:`\tau` is the ``temperature``.

    **Departs from the paper:** every task has a clock of its own, so what counts are the last two
    epochs in which the task took part. TorchJD has DWA, too; here the means are kept in the
    checkpoint.

    **When it helps:** it is cheap and mild.

    **When not:** the losses have different units. Only ratios of one task's losses count, so the
    size of a loss still decides how much it pulls.

    In a loop of your own, call :meth:`begin_epoch` at the start of every epoch; ``mtl-run`` does.

    Args:
        tasks: The tasks, in the order of the losses.
        temperature: :math:`\tau` in the formula, a positive number, 2 in the paper; the larger, the
            closer to equal weights.

    Raises:
        ConfigError: Unless the temperature is positive.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import DWA
        >>> weighting = DWA([Task("depth"), Task("normals")])
        >>> for losses in ([4.0, 4.0], [1.0, 4.0], [1.0, 4.0]):
        ...     weighting.begin_epoch()
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights
        tensor([0.8147, 1.1853])
    """

    negative_losses = "counts as a loss of 0"
    replica_options = ("temperature",)
    needs_losses = False
    temperature: Tensor

    def __init__(self, tasks: Sequence[Task], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        temperature = positive(temperature, "weighting.temperature")
        dtype = torch.get_default_dtype()
        self.register_buffer(
            "temperature", torch.tensor(temperature, dtype=dtype), persistent=False
        )
        self.register_buffer("last", torch.zeros(2, len(self.tasks), dtype=dtype))

    @property
    def epoch_means(self) -> Tensor:
        """The mean losses of the last two epochs, newest first, shape ``[2, T]``; 0 for none.

        Checkpoints hold them as ``last``.
        """
        return cast(Tensor, self.last)

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weighted sum of the active tasks' losses ``[k]``; in train mode, note them."""
        index = (active or self.all_active).index(losses.device)
        if self.training:
            self.accumulate(losses.detach(), active)
        with torch.no_grad():
            newer, older = self.epoch_means
            known = (self.epoch_means != 0).all(0)
            rate = torch.where(known, newer / torch.where(known, older, 1.0), 1.0)[index]
            weights = len(losses) * torch.softmax(rate / self.temperature, 0)
        return torch.dot(weights, losses)

    @torch.no_grad()
    def begin_epoch(self) -> None:
        """Close the last epoch: its means become the newest of every task that took part in it."""
        mean, seen = self.close_epoch()
        means = self.epoch_means
        means.copy_(torch.where(seen, torch.stack([mean, means[0]]), means))
