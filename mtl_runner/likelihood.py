"""Axis 1: how one task's output and target become a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.task import Task


class Likelihood(nn.Module):
    """The standard loss of every task: mean squared error, cross entropy, ... (see :class:`~mtl_runner.task.Task`).

    Shape: ``{task: output}, {task: target}`` -> losses ``[T]``, differentiable; an unlabelled task's is exactly 0.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = list(tasks)

    def losses(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> list[Tensor]:
        """One scalar per task, each with a graph of its own."""
        return [task.loss(outputs, targets) for task in self.tasks]

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(self.losses(outputs, targets))


class Standard(Likelihood):
    """``likelihood=standard``: the losses as they are."""
