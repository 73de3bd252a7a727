"""IMTL-L: learned scales that bring every loss to the same size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import flag, learning_rate, per_task
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class IMTLL(Weighting):
    r"""Impartial learning, balance of the losses (Liu et al., ICLR 2021, section 3.3).

    .. math:: \sum_t e^{s_t} L_t - s_t

    At the optimum :math:`s_t = -\log L_t`: it is uncertainty weighting in its simplified form with the sign of s turned. TorchJD
    has it too; ours has one tensor per task, since in a shared one an idle task's scale would move on Adam's shared clock.

    Args:
        tasks: the tasks, in the order of the losses. init: initial :math:`s_t`: a number or ``{task: number}``.
        lr: for the scales only (Adam); None: the model's optimizer and its settings, without weight decay.
        anneal: whether ``lr`` falls to 0 over the last 30 % of the run.

    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for an unknown task.
    """

    negative_losses = "weighs more and more without bound"
    replica_options = ("init", "lr")

    def __init__(
        self, tasks: Sequence[Task], init: Any = 0.0, lr: float | None = 0.025, anneal: bool = True
    ) -> None:
        super().__init__(tasks)
        self.lr, self.anneal = learning_rate(lr, "weighting.lr"), flag(anneal, "weighting.anneal")
        start = per_task(init, tasks, 0.0, "weighting.init")
        self.log_scale = nn.ParameterList(
            nn.Parameter(torch.tensor(v, dtype=torch.get_default_dtype())) for v in start
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        s = torch.stack(self._active(self.log_scale, active))
        return torch.dot(torch.exp(s), losses) - s.sum()

    def off_optimum(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        return [
            (-s.item(), math.log(max(loss, TINY)))
            for s, loss in zip(self.log_scale, losses, strict=True)
        ]
