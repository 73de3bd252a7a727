"""Random weights: the baseline that a clever weighting has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import choice
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.own_random_numbers import OwnRandomNumbers


class Random(OwnRandomNumbers):
    r"""Draw new weights at every step (random loss weighting, RLW).

    **Source:** Lin et al., *Reasonable Effectiveness of Random Weighting: A Litmus Test for
    Multi-Task Learning*, TMLR 2022, `arXiv:2111.10603 <https://arxiv.org/abs/2111.10603>`__.

    .. math:: \sum_t w_t L_t, \qquad w = c\,\mathrm{softmax}(z), \quad z_t \sim N(0, 1)

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`w_t` is its weight, independent from step to step,
    - :math:`c` is what the weights sum to: 1, or the number of active tasks (``total``).

    With ``distribution="dirichlet"`` the weights are instead uniform on the simplex, times
    :math:`c`.

    **Departs from the paper:** by default the weights sum to the number of tasks, so that the step
    has the size of equal weights; in the authors' code they sum to 1 (``total="one"``). TorchJD has RLW, too; here the draws come from a generator of
    their own, so that batch order and dropout stay those of every other strategy with the same
    seed, and a resumed run goes on with the same draws.

    **When it helps:** as the baseline that a clever method should beat, and often does not.

    **When not:** the losses have different units. On average this is equal weights, so the largest
    loss wins.

    Args:
        tasks: The tasks, in the order of the losses.
        distribution: ``"normal"`` (softmax of standard normal numbers) or ``"dirichlet"`` (uniform
            on the simplex).
        total: The sum of the weights of the active tasks: ``"one"``, or ``"tasks"`` (their number).
        seed: Seed of the generator; in a run, by default the run's seed.

    Raises:
        ConfigError: If ``distribution`` or ``total`` is unknown or ``seed`` is not a whole number.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Random
        >>> weighting = Random([Task("depth"), Task("normals")])
        >>> first_weights, objective = weighting.weigh(torch.tensor([4.0, 1.0]))
        >>> second_weights, objective = weighting.weigh(torch.tensor([4.0, 1.0]))
        >>> bool((first_weights != second_weights).all()), round(second_weights.sum().item(), 4)
        (True, 2.0)
    """

    replica_options = ("seed",)

    def __init__(
        self,
        tasks: Sequence[Task],
        distribution: str = "normal",
        total: str = "tasks",
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, seed, len(tasks))
        self.distribution = choice(distribution, "weighting.distribution", ("normal", "dirichlet"))
        self.total = choice(total, "weighting.total", ("one", "tasks"))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Draw weights and return the weighted sum of the active tasks' losses ``[k]``."""
        del active
        count = len(losses)
        # Drawn for all tasks, so that an idle task does not shift the draws of the later steps.
        draws = self.numbers_of_step(losses)[:count]
        # Exponential draws over their sum are uniform on the simplex.
        is_normal = self.distribution == "normal"
        weights = torch.softmax(draws, 0) if is_normal else draws / draws.sum()
        return torch.dot(weights * (count if self.total == "tasks" else 1), losses)

    def fill(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a tensor with normal numbers, or exponential ones for Dirichlet weights."""
        if self.distribution == "normal":
            return numbers.normal_(generator=generator)
        return numbers.exponential_(generator=generator)
