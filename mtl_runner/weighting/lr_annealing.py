"""Learning-rate annealing: more weight for small mean gradients beside a reference's largest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import check_task_names, fraction
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.measured_gradients import MeasuredGradients


class LRAnnealing(MeasuredGradients):
    r"""Bring each task's mean gradient to a reference's largest one (learning-rate annealing).

    **Source:** Wang, Teng & Perdikaris, *Understanding and Mitigating Gradient Flow Pathologies in
    Physics-Informed Neural Networks*, SIAM Journal on Scientific Computing 2021, algorithm 1,
    `arXiv:2001.04536 <https://arxiv.org/abs/2001.04536>`__.

    .. math::

        \sum_t w_t L_t, \qquad
        w_t \leftarrow (1 - \alpha)\, w_t + \alpha\, \frac{\max |\nabla L_r|}
        {\mathrm{mean}\, |\nabla w_t L_t|}

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight, 1 at the start,
    - :math:`L_r` is the loss of the ``reference``, whose weight stays 1: the residual of the
      differential equation in the paper,
    - maximum and mean are over all entries of the gradient at the shared parameters,
    - :math:`\alpha` is the ``rate``. The weights change every ``every`` steps.

    The weight of a task stands in the denominator, too, as in the paper's algorithm. So the weights
    settle at the square root of :math:`\max |\nabla L_r| / \mathrm{mean}\, |\nabla L_t|`.

    **Departs from the paper:** its text recommends :math:`\alpha = 0.9`; the authors' code takes
    0.1, and so does this. There the parameters are all of the network's, which has no heads. A task
    without a gradient keeps its weight.

    **When it helps:** boundary terms of a differential equation are drowned by its residual.

    **When not:** nothing is shared. The largest entry of a gradient is far above the mean one, so
    the reference may get too little: choose as the reference the task that is too strong.

    In a loop of your own, :class:`mtl_runner.integrations.LoopWeighting` measures the gradients.

    Args:
        tasks: The tasks, in the order of the losses.
        reference: The name of the task whose weight stays 1; None: the first task.
        rate: :math:`\alpha` in the formula, in (0, 1].
        every: The number of steps from one change of the weights to the next; 10 in the authors'
            code.

    Raises:
        ConfigError: If ``reference`` is no task, or another option is out of its range.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import LRAnnealing
        >>> weighting = LRAnnealing([Task("residual"), Task("boundary")], rate=0.5)
        >>> largest, mean = torch.tensor([8.0, 0.4]), torch.tensor([2.0, 0.1])
        >>> weighting.observe_gradients(largest, mean)
        >>> weighting.weigh(torch.tensor([1.0, 1.0]))[0]  # Half of 1, and half of 8 / 0.1.
        tensor([ 1.0000, 40.5000])
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        reference: str | None = None,
        rate: float = 0.1,
        every: int = 10,
    ) -> None:
        super().__init__(tasks, every)
        if reference is not None:
            check_task_names([reference], self.tasks, "weighting.reference")
        names = [task.name for task in self.tasks]
        self.reference = 0 if reference is None else names.index(reference)
        self.rate = fraction(rate, "weighting.rate", one_allowed=True)
        if self.rate == 0:
            raise ConfigError(
                "weighting.rate=0 would leave all weights at 1; give a number in (0, 1], such as 0.1."
            )

    @torch.no_grad()
    def observe_gradients(
        self, largest: Tensor, mean: Tensor, active: Active | None = None
    ) -> None:
        """Change the weights of the active tasks.

        Args:
            largest: The largest entry of every task's gradient at the shared parameters, without
                its sign, shape ``[T]``; 0 for idle tasks.
            mean: The mean of the entries without their signs, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        del active
        target = largest[self.reference] / (self.task_weights * mean).clamp(min=TINY)
        changed = self.task_weights + self.rate * (target - self.task_weights)
        has_gradient = (mean > 0) & (largest[self.reference] > 0)
        self.task_weights.copy_(torch.where(has_gradient, changed, self.task_weights))
        self.task_weights[self.reference] = 1.0
