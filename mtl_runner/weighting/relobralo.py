"""ReLoBRaLo: more weight for losses that fell little, since the last step or the start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import fraction, positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.own_random_numbers import OwnRandomNumbers
from mtl_runner.weighting.step_memory import StepMemory


class ReLoBRaLo(StepMemory, OwnRandomNumbers):
    r"""Weigh by how little each loss has fallen, and look back at the start now and then.

    Relative loss balancing with random lookback.

    **Source:** Bischof & Kraus, *Multi-Objective Loss Balancing for Physics-Informed Deep
    Learning*, 2021, eq. 11 to 13, `arXiv:2110.09813 <https://arxiv.org/abs/2110.09813>`__.

    .. math::

        w = \alpha \bigl(\rho\, w^{-} + (1 - \rho)\, v(L^{0})\bigr) + (1 - \alpha)\, v(L^{-}),
        \qquad v(B) = k\,\mathrm{softmax}\Bigl(\frac{L_t}{\tau B_t}\Bigr)

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight; the weights of the
      :math:`k` active tasks sum to :math:`k`,
    - :math:`w^{-}` and :math:`L^{-}` are weights and losses of the step before, and :math:`L^{0}`
      the losses of the first step; the weights start at 1,
    - :math:`v(B)` gives more to a loss that has fallen less since :math:`B`,
    - :math:`\alpha` is the ``momentum``,
    - :math:`\rho` is 1 with probability ``memory`` and else 0, drawn anew at every step: a 0
      forgets the weights and looks back at the first step,
    - :math:`\tau` is the ``temperature``.

    **Departs from the authors' code:** its second step takes :math:`v(L^{-})` alone; here it is a
    step like all others. Every task counts its own steps, so that it may start late. The draws
    come from a generator of their own.

    **When it helps:** the terms of a differential equation in large batches; it costs nothing.

    **When not:** batches are small, since ratios of two batches are mostly noise. At the default
    momentum the weights take about a thousand steps to move.

    Args:
        tasks: The tasks, in the order of the losses.
        temperature: :math:`\tau` in the formula, a positive number; the larger, the closer to equal
            weights. It is 1 by default in the authors' code; the paper also takes small values.
        momentum: :math:`\alpha` in the formula, in [0, 1).
        memory: The probability of :math:`\rho = 1`, in [0, 1].
        seed: Seed of the generator; in a run, by default the run's seed.

    Raises:
        ConfigError: If an option is out of its range.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import ReLoBRaLo
        >>> weighting = ReLoBRaLo([Task("depth"), Task("normals")], momentum=0.0)
        >>> for losses in ([4.0, 3.0], [2.0, 3.0]):
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights  # Depth halved, normals did not move.
        tensor([0.7551, 1.2449])
    """

    negative_losses = "counts as a loss of 0"
    replica_options = ("temperature", "momentum", "memory", "seed")
    temperature: Tensor
    momentum: Tensor
    memory: Tensor
    first: Tensor
    previous: Tensor
    previous_weights: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        temperature: float = 1.0,
        momentum: float = 0.999,
        memory: float = 0.999,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, seed, 1)
        options = {
            "temperature": positive(temperature, "weighting.temperature"),
            "momentum": fraction(momentum, "weighting.momentum", one_allowed=False),
            "memory": fraction(memory, "weighting.memory", one_allowed=True),
        }
        for name, value in options.items():
            option = torch.tensor(value, dtype=torch.get_default_dtype())
            self.register_buffer(name, option, persistent=False)
        # The losses of a task's first and last step, and its last weight; 0 before its first one.
        self.add_memory("first", "previous", "previous_weights")

    def weights(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weights of the active tasks ``[k]``."""
        losses = losses.clamp(min=TINY)
        count = len(losses)
        first, previous, before = (
            self.of_active(m, active) for m in (self.first, self.previous, self.previous_weights)
        )
        is_new = first == 0
        before = torch.where(is_new, 1.0, before).clamp(min=TINY)
        before = before * (count / before.sum())
        bases = torch.stack([first, previous])
        ratios = losses / torch.where(is_new, losses, bases)
        since_first, since_last = count * torch.softmax(ratios / self.temperature, 1)
        keeps = (self.numbers_of_step(losses) < self.memory).to(losses)
        past = keeps * before + (1 - keeps) * since_first
        weights: Tensor = self.momentum * past + (1 - self.momentum) * since_last
        return weights

    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        """Return the memory with the losses ``[k]`` and weights ``[k]`` of this step."""
        losses = losses.clamp(min=TINY)
        first = self.of_active(self.first, active)
        return {
            "first": self.with_active(self.first, torch.where(first == 0, losses, first), active),
            "previous": self.with_active(self.previous, losses, active),
            "previous_weights": self.with_active(self.previous_weights, weights, active),
        }

    def fill(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a tensor with numbers that are uniform in [0, 1)."""
        return numbers.uniform_(generator=generator)
