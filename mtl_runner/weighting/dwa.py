"""Dynamic weight average: more weight for tasks that learn slowly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class DWA(Weighting):
    r"""Weights by the rate at which each loss falls from epoch to epoch (Liu, Johns & Davison, CVPR 2019, eq. 7).

    .. math:: w = k\,\mathrm{softmax}(r / \tau), \qquad r_t = \bar L_t^{(e-1)} / \bar L_t^{(e-2)}

    with the mean losses of the last two epochs and :math:`r_t = 1` until a task has two. TorchJD has it too; ours keeps its
    means in the checkpoint and a clock per task: what counts are the last two epochs in which the task took part.

    Args:
        tasks: the tasks, in the order of the losses. temperature: :math:`\tau`; large: equal weights.

    ``begin_epoch()`` has to be called at the start of every epoch (the runner does).
    Shape: losses ``[k]`` -> scalar; the weights of the active tasks sum to their number. Raises ``ConfigError`` unless the temperature is positive.
    """

    negative_losses = "counts as a loss of 0"
    replica_options = ("temperature",)
    temperature: Tensor
    total: Tensor
    count: Tensor
    last: Tensor

    def __init__(self, tasks: Sequence[Task], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        temperature = positive(temperature, "weighting.temperature")
        dtype = torch.get_default_dtype()
        self.register_buffer(
            "temperature", torch.tensor(temperature, dtype=dtype), persistent=False
        )
        self.register_buffer(
            "total", torch.zeros(len(self.tasks), dtype=dtype)
        )  # of this epoch's losses
        self.register_buffer("count", torch.zeros(len(self.tasks), dtype=dtype))
        self.register_buffer(
            "last", torch.zeros(2, len(self.tasks), dtype=dtype)
        )  # means of the last epochs; 0: none

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        index = (active or self.all_active).index(losses.device)
        if self.training:
            self.accumulate(losses.detach(), active)
        with torch.no_grad():
            known = (self.last != 0).all(0)
            rate = torch.where(known, self.last[0] / torch.where(known, self.last[1], 1.0), 1.0)[
                index
            ]
            weights = len(losses) * torch.softmax(rate / self.temperature, 0)
        return torch.dot(weights, losses)

    @torch.no_grad()
    def accumulate(self, losses: Tensor, active: Active | None = None) -> None:
        """Into the epoch's means."""
        index = (active or self.all_active).index(losses.device)
        steps = losses.view(-1, len(index))
        self.total.index_add_(0, index, steps.sum(0))
        self.count.index_add_(0, index, steps.new_full((len(index),), len(steps)))

    @torch.no_grad()
    def begin_epoch(self) -> None:
        """Close the last epoch: its means become the most recent ones of every task that took part in it."""
        seen = self.count > 0
        mean = (self.total / self.count.clamp(min=1)).clamp(min=TINY)
        self.last.copy_(torch.where(seen, torch.stack([mean, self.last[0]]), self.last))
        self.total.zero_()
        self.count.zero_()
