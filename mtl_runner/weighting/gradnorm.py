"""GradNorm: weights under which every task pulls equally hard at the last shared layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import learning_rate, not_negative
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class GradNorm(Weighting):
    r"""Weights trained by the gradient norms of the tasks (Chen et al., ICML 2018, eq. 2 and algorithm 1).

    With :math:`n_t = \lVert\nabla_W L_t\rVert` at the last shared weight tensor W, the weights follow the gradient of

    .. math:: \sum_t \bigl| w_t n_t - \overline{w n}\, r_t^\alpha \bigr|, \qquad r_t = \frac{L_t / L_t(0)}{\mathrm{mean}_u\, L_u / L_u(0)}

    whose targets :math:`\overline{w n}\, r_t^\alpha` count as constants, and are then scaled to sum to the number of active tasks.
    Departs from the paper: weights are kept at or above 0.001 of the mean, since a negative one would train its task
    upwards; :math:`L_t(0)` is the loss of the task's first batch with a gradient, so a task may start late.

    Args:
        tasks: the tasks, in the order of the losses. alpha: 0 equalises the norms, larger values favour slow tasks more strongly.
        lr: for the weights only (Adam); None: the model's optimizer and its settings, without weight decay.

    ``observe_norms()`` has to be called before every update (the runner does); without it the weights stay 1.
    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for a negative alpha.
    """

    negative_losses = "counts as finished, so that its weight falls"
    first: Tensor

    def __init__(self, tasks: Sequence[Task], alpha: float = 1.5, lr: float | None = 0.025) -> None:
        super().__init__(tasks)
        self.alpha, self.lr = (
            not_negative(alpha, "weighting.alpha"),
            learning_rate(lr, "weighting.lr"),
        )
        dtype = torch.get_default_dtype()
        # One tensor per task: in a shared one an idle task's value would move on Adam's shared clock.
        self.weights = nn.ParameterList(
            nn.Parameter(torch.ones((), dtype=dtype)) for _ in self.tasks
        )
        self.register_buffer("first", torch.zeros(len(self.tasks), dtype=dtype))  # 0: not seen yet

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        return torch.dot(self._normalized(active), losses)

    @torch.no_grad()
    def _normalized(self, active: Active | None) -> Tensor:
        weights = torch.stack(self._active(self.weights, active))
        weights = weights.clamp(min=1e-3)
        return weights * (len(weights) / weights.sum())

    @torch.no_grad()
    def observe_norms(self, norms: Tensor, losses: Tensor, active: Active | None = None) -> None:
        """Set the gradients of the active tasks' weights."""
        now = active or self.all_active
        index = now.index(losses.device)
        self.first.copy_(torch.where((self.first == 0) & (norms > 0), losses, self.first))
        norms, start = norms[index], self.first[index]
        progress = torch.where(start > TINY, losses[index] / start.clamp(min=TINY), 1.0)
        rate = progress.clamp(min=0) / progress.clamp(min=0).mean().clamp(min=TINY)
        weights = self._normalized(active)
        pulls = weights * norms
        target = pulls.mean() * rate.pow(self.alpha)
        slopes = norms * torch.sign(pulls - target)
        for parameter in self.weights:
            parameter.grad = None
        for i, weight, slope in zip(now.tasks, weights.unbind(), slopes.unbind(), strict=True):
            self.weights[i].copy_(weight)
            self.weights[i].grad = slope
