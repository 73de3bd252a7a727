"""IMTL-L: learned scales that bring every loss to the same size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import flag, learning_rate
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.noise import SMALLEST_SLOPE, initial_log_scales
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class IMTLL(Weighting):
    r"""Learn a scale per task that brings all losses to the same size (IMTL-L).

    **Source:** Liu et al., *Towards Impartial Multi-task Learning*, ICLR 2021, section 3.3,
    `OpenReview <https://openreview.net/forum?id=IMPnRXEWpvr>`__.

    .. math:: \sum_t e^{s_t} L_t - s_t

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`s_t` is its learned log scale, so that :math:`e^{s_t}` is the weight.

    At the optimum :math:`s_t = -\log L_t`. It is
    :class:`~mtl_runner.weighting.Uncertainty` with ``form="simplified"`` and the sign of
    :math:`s_t` turned.

    **Departs from the paper:** the log scales have a learning rate of their own, which falls to 0
    over the last 30 % of the run. TorchJD has IMTL-L, too; here there is one tensor per task, since
    in a shared one the scale of an idle task would move on Adam's shared clock.

    **When it helps:** the units of the losses should not matter.

    **When not:** uncertainty weighting is compared as well. They are one method by two names:
    choose one of them.

    Args:
        tasks: The tasks, in the order of the losses.
        init: Initial :math:`s_t`: a number, or ``{task: number}``.
        lr: Learning rate of the log scales (Adam, eps 0.001); None trains them with the
            settings of the model's optimizer, without weight decay.
        anneal: Whether ``lr`` falls to 0 over the last 30 % of the run.

    Raises:
        ConfigError: If ``init`` names an unknown task or ``lr`` is not positive.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import IMTLL
        >>> weighting = IMTLL([Task("depth"), Task("normals")])
        >>> weights, objective = weighting.weigh(torch.tensor([4.0, 1.0]))
        >>> weights, objective
        (tensor([1., 1.]), tensor(5.))
        >>> [s.grad.item() for s in weighting.log_scale]  # Depth is too large: s will fall.
        [3.0, 0.0]
    """

    negative_losses = "weighs more and more without bound"
    smallest_slope = SMALLEST_SLOPE
    replica_options = ("init", "lr")

    def __init__(
        self, tasks: Sequence[Task], init: Any = 0.0, lr: float | None = 0.025, anneal: bool = True
    ) -> None:
        super().__init__(tasks)
        self.lr, self.anneal = learning_rate(lr, "weighting.lr"), flag(anneal, "weighting.anneal")
        initial_scales = initial_log_scales(init, tasks, "weighting.init")
        self.log_scale = nn.ParameterList(
            nn.Parameter(torch.tensor(s, dtype=torch.get_default_dtype())) for s in initial_scales
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``, a scalar."""
        s = torch.stack(self._parameters_of(self.log_scale, active))
        return torch.dot(torch.exp(s), losses) - s.sum()

    def values_and_optima(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        """Return each task's negative log scale and its optimum for constant losses ``[T]``."""
        return [
            (-s.item(), math.log(max(loss, TINY)))
            for s, loss in zip(self.log_scale, losses, strict=True)
        ]
