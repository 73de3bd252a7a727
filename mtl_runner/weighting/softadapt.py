"""SoftAdapt: more weight for losses that fall slowly, or rise, from step to step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import choice, flag, positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.step_memory import StepMemory


class SoftAdapt(StepMemory):
    r"""Weigh by the softmax of how each loss has changed since the last step (SoftAdapt).

    **Source:** Heydari, Thompson & Mehmood, *SoftAdapt: Techniques for Adaptive Loss Weighting of
    Neural Networks with Multi-Part Loss Functions*, 2019,
    `arXiv:1912.12355 <https://arxiv.org/abs/1912.12355>`__.

    .. math::

        \sum_t w_t L_t, \qquad w_t = \frac{\exp(\beta s_t)}{\sum_u \exp(\beta s_u)},
        \qquad s_t = L_t - L_t^{-}

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight,
    - :math:`L_t^{-}` is the loss of the task in the last step in which it took part; :math:`s_t` is
      0 in its first one,
    - :math:`s_t` is the slope: negative for a loss that falls,
    - :math:`\beta` is the ``beta``.

    With ``normalized`` the slopes are divided by the sum of their absolute values, so that a common
    factor of all losses has no effect. With ``loss_weighted`` every :math:`\exp(\beta s_t)` is
    multiplied by :math:`L_t`, so that large losses get more.

    **Departs from the authors' code:** there the slope is a finite difference of up to five losses
    that the user has gathered; here it is the difference of the last two, as in the paper's
    formula. There the normalised slopes are divided by their signed sum, which reverses the
    preference while the losses fall; here by the sum of their sizes.

    **When it helps:** the losses have the same unit and their batches are large, as the terms of
    a differential equation have.

    **When not:** batches are small. The difference of two batches is mostly noise, and ``dwa`` with
    its means over epochs is calmer. The units of the losses relative to each other matter, with
    ``normalized``, too.

    Args:
        tasks: The tasks, in the order of the losses.
        beta: :math:`\beta` in the formula, a positive number; the larger, the more the slowest task
            gets. It is 0.1 in the authors' code.
        normalized: Whether the slopes are divided by the sum of their absolute values.
        loss_weighted: Whether the weights are multiplied by the losses.
        total: The sum of the weights of the active tasks: ``"one"``, as in the paper, or
            ``"tasks"`` (their number).

    Raises:
        ConfigError: If ``beta`` is not positive, a switch is neither true nor false, or ``total``
            is unknown.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import SoftAdapt
        >>> weighting = SoftAdapt([Task("depth"), Task("normals")], beta=1.0)
        >>> for losses in ([4.0, 3.0], [2.0, 3.0]):
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights  # Depth fell by 2, normals did not.
        tensor([0.1192, 0.8808])
    """

    replica_options = ("beta",)
    beta: Tensor
    seen: Tensor
    previous: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        beta: float = 0.1,
        normalized: bool = False,
        loss_weighted: bool = False,
        total: str = "one",
    ) -> None:
        super().__init__(tasks)
        beta = positive(beta, "weighting.beta")
        self.register_buffer(
            "beta", torch.tensor(beta, dtype=torch.get_default_dtype()), persistent=False
        )
        self.normalized = flag(normalized, "weighting.normalized")
        self.loss_weighted = flag(loss_weighted, "weighting.loss_weighted")
        self.total = choice(total, "weighting.total", ("one", "tasks"))
        if loss_weighted:
            self.negative_losses = "counts as a loss of 0, with a weight of 0"
        # 1 for the tasks that have taken part in a step, and their losses in the last one.
        self.add_memory("seen", "previous")

    def weights(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weights of the active tasks ``[k]``."""
        seen, previous = (self.of_active(m, active) for m in (self.seen, self.previous))
        slopes = torch.where(seen > 0, losses - previous, 0.0)
        if self.normalized:
            slopes = slopes / slopes.abs().sum().clamp(min=TINY)
        logits = self.beta * slopes
        if self.loss_weighted:
            sizes = losses.clamp(min=0)
            logits = logits + torch.log(torch.where((sizes > 0).any(), sizes, 1.0))
        weights = torch.softmax(logits, 0)
        return weights * len(losses) if self.total == "tasks" else weights

    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        """Return the memory with the losses ``[k]`` of this step."""
        return {
            "seen": self.with_active(self.seen, torch.ones_like(weights), active),
            "previous": self.with_active(self.previous, losses, active),
        }
