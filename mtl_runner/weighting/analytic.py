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
    r"""Divide each loss by its own value (UW-O, optimal uncertainty weighting).

    **Source:** Kirchdorfer et al., *Analytical Uncertainty-Based Loss Weighting in Multi-Task
    Learning*, GCPR 2024, `arXiv:2408.07985 <https://arxiv.org/abs/2408.07985>`__.

    .. math:: \sum_t \frac{c_t}{\mathrm{sg}[L_t]} \, L_t

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`\mathrm{sg}` stops the gradient, so that :math:`w_t = c_t / L_t` is the weight,
    - :math:`c_t` is 1/2 for Gaussian regression and 1 for every other kind of task.

    For regressions these are the weights of :class:`~mtl_runner.weighting.Uncertainty` at its
    optimum for this batch. A classification weighs twice what it does there, since the paper has no
    constant of its own for it. The gradient of every task is that of :math:`c_t \log L_t`, so the
    objective is constant and says nothing about progress. A loss of 0 has the weight 0, not
    infinity.

    **When it helps:** the units of the losses should not matter, and there should be nothing to
    learn or to tune.

    **When not:** batches are small, because the weights follow the noise of single batches; or one
    loss comes close to 0, because it then weighs without bound.

    Args:
        tasks: The tasks, in the order of the losses.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import UncertaintyAnalytic
        >>> tasks = [Task("depth"), Task("label", "classification", size=3)]
        >>> weights, objective = UncertaintyAnalytic(tasks).weigh(torch.tensor([4.0, 2.0]))
        >>> weights
        tensor([0.1250, 0.5000])
    """

    negative_losses = "gives the weight 0"
    replica_options = ()
    constants: Tensor

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        constants = [task.spec.noise.a for task in tasks]
        self.register_buffer("constants", torch.tensor(constants, dtype=torch.get_default_dtype()))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``: the sum of their constants."""
        constants = (
            self.constants if active is None else self.constants[active.index(losses.device)]
        )
        return torch.dot(constants * _inverse(losses), losses)


class UncertaintySoftmax(Weighting):
    r"""Weigh the losses by a softmax of their inverses (UW-SO, soft optimal uncertainty weighting).

    **Source:** Kirchdorfer et al., *Analytical Uncertainty-Based Loss Weighting in Multi-Task
    Learning*, GCPR 2024, `arXiv:2408.07985 <https://arxiv.org/abs/2408.07985>`__.

    .. math:: \sum_t w_t L_t, \qquad w = \mathrm{softmax}\bigl((1/\mathrm{sg}[L]) / \tau\bigr)

    where

    - :math:`L_t` is the loss of task :math:`t`, and :math:`L` the vector of all losses,
    - :math:`\mathrm{sg}` stops the gradient, so that :math:`w_t` is the weight,
    - :math:`\tau` is the ``temperature``.

    The weights of the active tasks sum to 1. As the temperature grows they become uniform (1/T); as
    it falls to 0 all weight goes to the smallest loss.

    **When it helps:** the temperature can be tuned. It can then beat
    :class:`~mtl_runner.weighting.Uncertainty` and
    :class:`~mtl_runner.weighting.UncertaintyAnalytic`.

    **When not:** the temperature cannot be tuned. There is no single best value (the paper tunes it
    per data set), and at a wrong one the smallest loss takes all.

    Args:
        tasks: The tasks, in the order of the losses.
        temperature: :math:`\tau` in the formula, a positive number.

    Raises:
        ConfigError: Unless the temperature is positive.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import UncertaintySoftmax
        >>> weighting = UncertaintySoftmax([Task("depth"), Task("normals")], temperature=0.25)
        >>> weights, objective = weighting.weigh(torch.tensor([4.0, 2.0]))
        >>> weights
        tensor([0.2689, 0.7311])
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
        """Return the weighted sum of the active tasks' losses ``[k]``, a scalar."""
        del active
        inverse = 1 / losses.detach().clamp(min=TINY)
        return torch.dot(torch.softmax(inverse / self.temperature, 0), losses)


def _inverse(losses: Tensor) -> Tensor:
    """Return 1 / loss without a graph, 0 where a loss is not positive."""
    values = losses.detach()
    return torch.where(values > TINY, 1 / values.clamp(min=TINY), torch.zeros_like(values))
