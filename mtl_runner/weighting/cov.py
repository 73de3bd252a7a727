"""CoV-Weighting: more weight for losses whose ratio to their mean varies more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import choice, fraction
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.step_memory import StepMemory

# Added to the variance of the ratios, as in the authors' code: constant losses weigh equally.
SMALLEST_VARIANCE = 1e-8


class CoV(StepMemory):
    r"""Weigh by the coefficient of variation of each loss's ratio to its mean (CoV-Weighting).

    **Source:** Groenendijk et al., *Multi-Loss Weighting with Coefficient of Variations*, WACV
    2021, section 3, `arXiv:2009.01717 <https://arxiv.org/abs/2009.01717>`__.

    .. math::

        \sum_t w_t L_t, \qquad w_t = \frac{c_t}{\sum_u c_u}, \qquad c_t = \sigma_{l_t} / \mu_{l_t},
        \qquad l_t = L_t / \mu_{L_t}

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight,
    - :math:`\mu_{L_t}` is the mean of the task's losses in the steps before,
    - :math:`l_t` is the ratio of the loss to that mean,
    - :math:`\mu_{l_t}` and :math:`\sigma_{l_t}` are mean and standard deviation of the ratios in
      the steps before, by Welford's formulas; the weights are equal until there are two,
    - :math:`c_t` is their coefficient of variation, large for a loss that still moves.

    **Departs from the authors' code:** every task counts its own steps, so that it may start late
    or miss a batch. A weight rests on earlier steps alone, as there.

    **When it helps:** the losses have different units, and a loss that does not move any more may
    lose its weight.

    **When not:** a loss is noisy. Noise from batch to batch counts as movement, so small batches
    and hard tasks get weight for it.

    Args:
        tasks: The tasks, in the order of the losses.
        decay: None takes means over all steps; a number in [0, 1) takes moving means of losses and
            ratios instead, in which the weight of a step is multiplied by it with every newer step;
            the variance of the ratios is over all steps in both cases.
        total: The sum of the weights of the active tasks: ``"one"``, as in the paper, or
            ``"tasks"`` (their number).

    Raises:
        ConfigError: If ``decay`` is not in [0, 1) or ``total`` is unknown.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import CoV
        >>> weighting = CoV([Task("depth"), Task("normals")])
        >>> for losses in ([4.0, 100.0], [2.0, 90.0], [1.0, 80.0]):
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights  # Depth halved, normals fell by a tenth.
        tensor([0.8636, 0.1364])
    """

    negative_losses = "counts as a loss of 0"
    replica_options = ()
    needs_losses = False
    steps: Tensor
    mean_loss: Tensor
    mean_ratio: Tensor
    deviations: Tensor

    def __init__(
        self, tasks: Sequence[Task], decay: float | None = None, total: str = "one"
    ) -> None:
        super().__init__(tasks)
        if decay is not None:
            fraction(decay, "weighting.decay", one_allowed=False)
        self.decay = decay
        self.total = choice(total, "weighting.total", ("one", "tasks"))
        # Steps in which a task took part; means of loss and ratio; Welford's sum of squares.
        self.add_memory("steps", "mean_loss", "mean_ratio", "deviations")

    def weights(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weights of the active tasks ``[k]``, from the steps before this one."""
        steps = self.of_active(self.steps, active)
        variance = self.of_active(self.deviations, active) / steps.clamp(min=1)
        mean = self.of_active(self.mean_ratio, active).clamp(min=TINY)
        variation = (variance + SMALLEST_VARIANCE).sqrt() / mean
        variation = torch.where((steps > 1).all(), variation, torch.ones_like(variation))
        weights = variation / variation.sum()
        return weights * len(losses) if self.total == "tasks" else weights

    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        """Return the statistics with the losses ``[k]`` of this step."""
        del weights
        losses = losses.clamp(min=TINY)
        steps, mean_loss, mean_ratio, deviations = (
            self.of_active(memory, active)
            for memory in (self.steps, self.mean_loss, self.mean_ratio, self.deviations)
        )
        ratio = torch.where(steps == 0, 1.0, losses / mean_loss.clamp(min=TINY))
        share = 1 / (steps + 1)
        if self.decay is not None:
            share = torch.where(steps == 0, 1.0, 1 - self.decay)
        new_mean = mean_ratio + share * (ratio - mean_ratio)
        changed = {
            "steps": steps + 1,
            "mean_loss": mean_loss + share * (losses - mean_loss),
            "mean_ratio": new_mean,
            "deviations": deviations + (ratio - mean_ratio) * (ratio - new_mean),
        }
        return {
            name: self.with_active(self.get_buffer(name), value, active)
            for name, value in changed.items()
        }
