"""Weights trained by the objective itself: how not to do it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import choice, learning_rate
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Weighting


class Learned(Weighting):
    r"""Weights as free parameters of the total loss: a negative control, kept to be seen failing.

    .. math:: \sum_t \mathrm{softmax}(a)_t L_t \quad\text{or}\quad \sum_t e^{a_t} L_t

    Nothing opposes a smaller weight: the exponential form drives every weight to 0 (Kendall, Gal & Cipolla, CVPR 2018, section 3:
    what the regulariser of uncertainty weighting is for), the softmax form gives all to the task with the smallest loss.

    Args:
        tasks: the tasks, in the order of the losses. form: ``softmax`` (the weights of the active tasks sum to 1) or ``exp``.
        lr: for the weights only (Adam); None: the model's optimizer and its settings, without weight decay.

    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for an unknown form.
    """

    replica_options = ("lr",)

    def __init__(
        self, tasks: Sequence[Task], form: str = "softmax", lr: float | None = 0.025
    ) -> None:
        super().__init__(tasks)
        choice(form, "weighting.form", ("softmax", "exp"))
        self.form, self.lr = form, learning_rate(lr, "weighting.lr")
        self.logits = nn.ParameterList(
            nn.Parameter(torch.zeros((), dtype=torch.get_default_dtype())) for _ in tasks
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        logits = torch.stack(self._active(self.logits, active))
        weights = torch.softmax(logits, 0) if self.form == "softmax" else torch.exp(logits)
        return torch.dot(weights, losses)
