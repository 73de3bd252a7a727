"""Aggregators that take several independent batches per step: MoDo and SDMGrad.

The product of two gradients of one batch is biased: the noise of the batch is in both. The products
of gradients of two batches are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import not_negative, positive, whole_number
from mtl_runner.update.simplex import SimplexWeights
from mtl_runner.update.stateful_aggregator import WholeSums


class DoubleSampling(SimplexWeights):
    r"""Move weights on the simplex by the products of the gradients of two batches (MoDo).

    .. math::

        \lambda \leftarrow \Pi\bigl(\lambda - \gamma (G_1 G_2^\top + \rho I) \lambda\bigr), \qquad
        d = \tfrac12 (G_1 + G_2)^\top \lambda

    where the rows of :math:`G_1` and :math:`G_2` are the gradients on either batch.

    Args:
        tasks: Number of tasks.
        gamma: Size of a step of the weights.
        rho: Weight of the squared norm of the weights, which draws them together.

    Raises:
        ConfigError: If a number is negative.

    Example:
        >>> double = DoubleSampling(tasks=2, gamma=0.1, rho=0.0)
        >>> first, second = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]])
        >>> double([first, second], (0, 1), lambda sums: sums)  # the second task is the steeper one
        (tensor([1.6750]), tensor([0.6500, 0.3500]))
    """

    batches = 2

    def __init__(self, tasks: int, gamma: float = 0.1, rho: float = 0.1) -> None:
        super().__init__(tasks)
        self.gamma = not_negative(gamma, "update.options.gamma")
        self.rho = not_negative(rho, "update.options.rho")

    def __call__(
        self, batches: Sequence[Tensor], tasks: tuple[int, ...], whole_sums: WholeSums
    ) -> tuple[Tensor, Tensor]:
        """Return the direction ``[P]`` and the weights ``[k]``."""
        first, second = batches
        products = whole_sums(first @ second.T)
        weights = self.moved(
            self.index(tasks, first),
            first,
            lambda weights: -self.gamma * (products @ weights + self.rho * weights),
        )
        return weights @ ((first + second) / 2), weights


class DirectionOriented(SimplexWeights):
    r"""Lean on the mean gradient while the weights of three batches' gradients move (SDMGrad).

    .. math::

        w \leftarrow \Pi\bigl(w - \eta \, G_1 (G_2^\top w + \kappa \bar g_2) / s^2\bigr), \qquad
        d = \frac{G_0^\top w + \kappa \, \bar g_0}{1 + \kappa}

    where the rows of :math:`G_i` are the gradients on batch i, :math:`\bar g_i` their mean, and s
    the mean over the tasks of :math:`\langle g_{1,t}, g_{2,t} \rangle^{1/2}`.

    Args:
        tasks: Number of tasks.
        kappa: Weight of the mean gradient.
        step_size: Size of a step of the weights.
        steps: Number of steps of the weights in a training step.

    Raises:
        ConfigError: If ``kappa`` is negative, or the others are not positive.

    Example:
        >>> oriented = DirectionOriented(tasks=2, kappa=0.0, steps=200)
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
        >>> oriented([rows, rows, rows], (0, 1), lambda sums: sums)  # the shortest vector
        (tensor([0.9000, 0.3000]), tensor([0.9000, 0.1000]))
    """

    batches = 3

    def __init__(
        self, tasks: int, kappa: float = 0.3, step_size: float = 0.1, steps: int = 20
    ) -> None:
        super().__init__(tasks)
        self.kappa = not_negative(kappa, "update.options.kappa")
        self.step_size = positive(step_size, "update.options.step_size")
        self.steps = whole_number(steps, "update.options.steps", 1)

    def __call__(
        self, batches: Sequence[Tensor], tasks: tuple[int, ...], whole_sums: WholeSums
    ) -> tuple[Tensor, Tensor]:
        """Return the direction ``[P]`` and the weights of the first batch's gradients ``[k]``."""
        rows, first, second = batches
        products = whole_sums(first @ second.T)
        size = products.diagonal().clamp(min=0).sqrt().mean().square()
        products = torch.where(size > 0, products / torch.where(size > 0, size, 1.0), 0.0)
        towards_mean = self.kappa * products.mean(1)
        weights = self.moved(
            self.index(tasks, rows),
            rows,
            lambda weights: -self.step_size * (products @ weights + towards_mean),
            self.steps,
        )
        weights = (weights + self.kappa / len(tasks)) / (1 + self.kappa)
        return weights @ rows, weights
