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
    r"""Fast adaptive multitask optimization (Liu et al., NeurIPS 2023, algorithm 1).

    .. math:: \sum_t c\, z_t \log L_t, \qquad z = \mathrm{softmax}(\xi), \qquad c = \Bigl(\sum_t z_t / L_t\Bigr)^{-1}

    so that the weights :math:`c\, z_t / L_t` sum to 1. After the update :math:`\xi` is moved by
    :math:`\partial z / \partial \xi` times the decrease of every :math:`\log L_t` on the same batch, which takes a second forward pass: it
    sees the same dropout and touches neither BatchNorm's statistics nor the record. TorchJD has it too; ours keeps Adam's moments
    in the checkpoint and leaves an idle task's :math:`\xi` alone.

    Args:
        tasks: the tasks, in the order of the losses. lr: of :math:`\xi` (Adam). gamma: decay of :math:`\xi`, as an L2 term of its gradient.

    ``observe_losses()`` has to be called after every update (the runner does).
    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for a negative gamma.
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
        z = self._shares(active)
        values = losses.clamp(min=TINY)
        scale = 1 / (z / values.detach()).sum()
        return scale * torch.dot(z, torch.log(values))

    @torch.no_grad()
    def _shares(self, active: Active | None) -> Tensor:
        return torch.softmax(torch.stack(self._active(self.logits, active)), 0)

    def observe_losses(self, before: Tensor, after: Tensor, active: Active | None = None) -> None:
        """Set the gradients of the active tasks' logits."""
        for logit, gradient in zip(
            self._active(self.logits, active),
            self.gradients(before, after, active).unbind(),
            strict=True,
        ):
            logit.grad = gradient

    @torch.no_grad()
    def gradients(self, before: Tensor, after: Tensor, active: Active | None = None) -> Tensor:
        """Those of the active tasks' logits."""
        index = (active or self.all_active).index(before.device)
        decrease = torch.log(before[index].clamp(min=TINY)) - torch.log(
            after[index].clamp(min=TINY)
        )
        z = self._shares(active)
        logits = torch.stack(self._active(self.logits, active))
        return (
            z * (decrease - torch.dot(z, decrease)) + self.gamma * logits
        )  # the Jacobian of softmax, times the decrease
