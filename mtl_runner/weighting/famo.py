"""FAMO: equal relative progress of all tasks, from losses alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import learning_rate, not_negative
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


class FAMO(Weighting):
    r"""Move the weights towards equal relative progress (fast adaptive multitask optimization).

    **Source:** Liu et al., *FAMO: Fast Adaptive Multitask Optimization*, NeurIPS 2023, algorithm 1,
    `arXiv:2306.03792 <https://arxiv.org/abs/2306.03792>`__.

    .. math::

        \sum_t c\, z_t \log L_t, \qquad z = \mathrm{softmax}(\xi),
        \qquad c = \Bigl(\sum_t z_t / L_t\Bigr)^{-1}

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`\xi_t` is a learned logit per task, moved after every update by
      :math:`\partial z / \partial \xi` times the decrease of every :math:`\log L_t` on the same
      batch,
    - :math:`c` counts as a constant, so that the weights :math:`c\, z_t / L_t` sum to 1.

    To know the losses after the update takes a second forward pass. It sees the same dropout as the
    first, and touches neither the statistics of BatchNorm nor the record of the run.

    **Departs from the paper:** a task that is idle keeps its :math:`\xi_t`. TorchJD has FAMO, too;
    here the moments of Adam are kept in the checkpoint.

    **When it helps:** one task is starved and a method on the Jacobian is too slow: FAMO has such a
    method's balance, from losses alone.

    **When not:** the losses are small and the optimizer is SGD. The weights sum to 1, so small
    losses mean small steps.

    In a loop of your own, call :meth:`observe_losses` after every update; ``mtl-run`` does.

    Args:
        tasks: The tasks, in the order of the losses.
        lr: Learning rate of the logits (Adam); None trains them with the settings of the model's
            optimizer.
        gamma: Decay of the logits, as an L2 term of their gradient. It is 0.01 in the authors'
            package, 1e-5 in the code of their experiments and 0.001 in LibMTL, so set it where you
            compare.

    Raises:
        ConfigError: If ``gamma`` is negative or ``lr`` is not positive.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import FAMO
        >>> weighting = FAMO([Task("depth"), Task("normals")])
        >>> before, after = torch.tensor([4.0, 1.0]), torch.tensor([2.0, 1.0])
        >>> weights, objective = weighting.weigh(before)
        >>> weights
        tensor([0.2000, 0.8000])
        >>> weighting.observe_losses(before, after)  # Depth progressed: its logit will fall.
        >>> [round(logit.grad.item(), 3) for logit in weighting.logits]
        [0.173, -0.173]
    """

    negative_losses = "turns into a standstill of all tasks: every weight becomes almost 0"
    replica_options = ("gamma", "lr")
    gamma: Tensor

    def __init__(
        self, tasks: Sequence[Task], lr: float | None = 0.025, gamma: float = 0.01
    ) -> None:
        super().__init__(tasks)
        self.lr = learning_rate(lr, "weighting.lr")
        gamma = not_negative(gamma, "weighting.gamma")
        self.register_buffer(
            "gamma", torch.tensor(gamma, dtype=torch.get_default_dtype()), persistent=False
        )
        self.logits = nn.ParameterList(
            nn.Parameter(torch.zeros((), dtype=torch.get_default_dtype())) for _ in tasks
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``, a scalar."""
        z = self._shares(active)
        values = losses.clamp(min=TINY)
        scale = 1 / (z / values.detach()).sum()
        return scale * torch.dot(z, torch.log(values))

    def observe_losses(self, before: Tensor, after: Tensor, active: Active | None = None) -> None:
        """Set the gradients of the active tasks' logits.

        Args:
            before: The losses of a batch before the update, shape ``[T]``.
            after: The losses of the same batch after the update, shape ``[T]``.
            active: Which tasks took part in the update; None if all T did.
        """
        logits = self._parameters_of(self.logits, active)
        gradients = self.gradients(before, after, active).unbind()
        for logit, gradient in zip(logits, gradients, strict=True):
            logit.grad = gradient

    @torch.no_grad()
    def gradients(self, before: Tensor, after: Tensor, active: Active | None = None) -> Tensor:
        """Return the gradients of the active tasks' logits, shape ``[k]``.

        Args:
            before: The losses of a batch before the update, shape ``[T]``.
            after: The losses of the same batch after the update, shape ``[T]``.
            active: Which tasks took part in the update; None if all T did.
        """
        index = (active or self.all_active).index(before.device)
        decrease = torch.log(before[index].clamp(min=TINY)) - torch.log(
            after[index].clamp(min=TINY)
        )
        z = self._shares(active)
        logits = torch.stack(self._parameters_of(self.logits, active))
        # The Jacobian of the softmax, times the decrease.
        return z * (decrease - torch.dot(z, decrease)) + self.gamma * logits

    @torch.no_grad()
    def _shares(self, active: Active | None) -> Tensor:
        """Return z of the active tasks, shape ``[k]``."""
        return torch.softmax(torch.stack(self._parameters_of(self.logits, active)), 0)
