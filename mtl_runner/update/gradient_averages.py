"""Aggregators of moving averages of the tasks' gradients: DB-MTL and MoCo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import fraction, not_negative
from mtl_runner.update.simplex import SimplexWeights
from mtl_runner.update.stateful_aggregator import StatefulAggregator, WholeSums


class EqualLengths(StatefulAggregator):
    r"""Average the gradients over the steps, and make them as long as the longest average (DB-MTL).

    .. math::

        \hat g_t \leftarrow \beta_k \hat g_t + (1 - \beta_k) g_t, \quad
        \beta_k = \beta / k^{decay}, \qquad
        d = \max_s \|\hat g_s\| \sum_t \hat g_t / \|\hat g_t\|

    where k counts the steps of task t, and averages begin at 0.

    Args:
        tasks: Number of tasks.
        beta: Weight of the average so far in the first step.
        decay: How fast that weight falls with the number of steps.

    Raises:
        ConfigError: If ``beta`` does not lie in [0, 1), or ``decay`` is negative.

    Example:
        >>> equal = EqualLengths(tasks=2, beta=0.0)
        >>> equal([torch.tensor([[1.0, 0.0], [0.0, 10.0]])], (0, 1), lambda sums: sums)
        (tensor([10., 10.]), tensor([10.,  1.]))
    """

    state_names = ("averages", "steps")

    def __init__(self, tasks: int, beta: float = 0.9, decay: float = 0.5) -> None:
        super().__init__(tasks)
        self.beta = fraction(beta, "update.options.beta", one_allowed=False)
        self.decay = not_negative(decay, "update.options.decay")
        self.averages: Tensor | None = None
        self.steps: Tensor | None = None

    def __call__(
        self, batches: Sequence[Tensor], tasks: tuple[int, ...], whole_sums: WholeSums
    ) -> tuple[Tensor, Tensor]:
        """Return the direction ``[P]`` and the factor of each average ``[k]``."""
        del whole_sums  # processes that have parts of the rows are refused: averages are kept
        (rows,) = batches
        index = self.index(tasks, rows)
        self.averages = self.kept(self.averages, rows, rows.shape[1])
        kept_steps = self.kept(self.steps, rows, 1)
        steps = self.of_active(kept_steps, index) + 1
        self.steps = self.with_active(kept_steps, index, steps)
        rates = self.beta / steps**self.decay
        averages = torch.lerp(rows, self.of_active(self.averages, index), rates)
        self.averages = self.with_active(self.averages, index, averages)
        norms = averages.norm(dim=1)
        weights = torch.where(norms > 0, norms.max() / norms, 0.0)
        return weights @ averages, weights


class TrackedGradients(SimplexWeights):
    r"""Move weights on the simplex towards the shortest combination of averaged gradients (MoCo).

    .. math::

        y_t \leftarrow y_t + \beta (g_t - y_t), \qquad
        \lambda \leftarrow \Pi\bigl(\lambda - \gamma (Y Y^\top + \rho I) \lambda\bigr), \qquad
        d = Y^\top \lambda

    where the rows of Y are the averages, which begin at 0.

    Args:
        tasks: Number of tasks.
        beta: Share of the new gradient in the average; 1: no average.
        gamma: Size of a step of the weights.
        rho: Weight of the squared norm of the weights, which draws them together.

    Raises:
        ConfigError: If ``beta`` does not lie in [0, 1], or a number is negative.

    Example:
        >>> tracked = TrackedGradients(tasks=2, beta=1.0, gamma=0.01, rho=0.0)
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
        >>> for _ in range(300):
        ...     direction, weights = tracked([rows], (0, 1), lambda sums: sums)
        >>> weights  # those of the shortest vector
        tensor([0.9000, 0.1000])
    """

    state_names = ("averages", *SimplexWeights.state_names)

    def __init__(self, tasks: int, beta: float = 0.1, gamma: float = 0.1, rho: float = 0.1) -> None:
        super().__init__(tasks)
        self.beta = fraction(beta, "update.options.beta", one_allowed=True)
        self.gamma = not_negative(gamma, "update.options.gamma")
        self.rho = not_negative(rho, "update.options.rho")
        self.averages: Tensor | None = None

    def __call__(
        self, batches: Sequence[Tensor], tasks: tuple[int, ...], whole_sums: WholeSums
    ) -> tuple[Tensor, Tensor]:
        """Return the direction ``[P]`` and the weights of the averages ``[k]``."""
        del whole_sums  # processes that have parts of the rows are refused: averages are kept
        (rows,) = batches
        index = self.index(tasks, rows)
        self.averages = self.kept(self.averages, rows, rows.shape[1])
        averages = torch.lerp(self.of_active(self.averages, index), rows, self.beta)
        self.averages = self.with_active(self.averages, index, averages)
        gramian = averages @ averages.T
        weights = self.moved(
            index, rows, lambda weights: -self.gamma * (gramian @ weights + self.rho * weights)
        )
        return weights @ averages, weights
