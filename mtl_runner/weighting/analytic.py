"""Uncertainty weighting without learned parameters: the optimal sigma of every single batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class UncertaintyAnalytic(Weighting):
    r"""UW-O: each loss over its own value (Kirchdorfer et al., GCPR 2024).

    .. math:: \sum_t c_t L_t / \mathrm{sg}[L_t]

    with :math:`c_t = \tfrac12` for Gaussian regression and 1 otherwise: for regressions the weights of
    :class:`~mtl_runner.weighting.Uncertainty` at its optimum for this batch; a classification, for which the paper has no constant
    of its own, weighs twice what it does there. Every task's gradient is that of log L, so the objective is constant and says nothing.

    Shape: losses ``[k]`` -> scalar. A loss of 0 has the weight 0, not infinity.
    """

    negative_losses = "gives the weight 0"
    replica_options = ()
    constants: Tensor

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        constants = [task.spec.noise.a for task in tasks]
        self.register_buffer("constants", torch.tensor(constants, dtype=torch.get_default_dtype()))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        constants = (
            self.constants if active is None else self.constants[active.index(losses.device)]
        )
        return torch.dot(constants * _inverse(losses), losses)


class UncertaintySoftmax(Weighting):
    r"""UW-SO: a softmax over the inverse losses (Kirchdorfer et al., GCPR 2024).

    .. math:: \sum_t w_t L_t, \qquad w = \mathrm{softmax}\bigl((1/\mathrm{sg}[L]) / \tau\bigr)

    Args:
        tasks: the tasks, in the order of the losses.
        temperature: :math:`\tau`; large: uniform weights 1/T, small: all on the smallest loss. There is no single best value: the
            paper tunes it per data set.

    Shape: losses ``[k]`` -> scalar; the weights of the active tasks sum to 1. Raises ``ConfigError`` unless the temperature is positive.
    """

    negative_losses = "gives all the weight"
    replica_options = ("temperature",)
    temperature: Tensor

    def __init__(self, tasks: Sequence[Task], temperature: float = 1.0) -> None:
        super().__init__(tasks)
        temperature = positive(temperature, "weighting.temperature")
        self.register_buffer(
            "temperature",
            torch.tensor(temperature, dtype=torch.get_default_dtype()),
            persistent=False,
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        del active
        inverse = 1 / losses.detach().clamp(min=TINY)
        return torch.dot(torch.softmax(inverse / self.temperature, 0), losses)


def _inverse(losses: Tensor) -> Tensor:
    values = losses.detach()
    return torch.where(values > TINY, 1 / values.clamp(min=TINY), torch.zeros_like(values))
