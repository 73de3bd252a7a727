"""The tasks' gradients over the shared parameters as rows of one matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.gradients.layout import laid_out
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.update.base import Losses


class TaskGradients:
    """Takes the gradient of each task's weighted loss apart into a row over the shared parameters and its private gradients.

    Args:
        parameters: of the model. tasks: their number.
    """

    def __init__(self, parameters: Parameters, tasks: int) -> None:
        self.shared = parameters.shared
        pairs = list(zip(parameters.tensors, parameters.owners, strict=True))
        self.private = [[p for p, owner in pairs if owner == {t}] for t in range(tasks)]
        self.sizes = [p.numel() for p in self.shared]

    def of(self, losses: Losses, weights: Tensor, active: Active) -> list[Tensor]:
        """One row ``[P]`` per active task; the private parameters get their gradients."""
        rows = []
        for t in active.tasks:
            wanted = [*self.shared, *self.private[t]]
            found = torch.autograd.grad(
                losses[t],
                wanted,
                weights[t],
                retain_graph=t != active.tasks[-1],
                allow_unused=True,
                materialize_grads=True,
            )
            rows.append(torch.cat([gradient.reshape(-1) for gradient in found[: len(self.shared)]]))
            for parameter, gradient in zip(self.private[t], found[len(self.shared) :], strict=True):
                parameter.grad = laid_out(gradient, parameter)
        return rows

    def assign(self, vector: Tensor) -> None:
        """Give the shared parameters their parts of a vector ``[P]`` as gradients."""
        for parameter, part in zip(self.shared, torch.split(vector, self.sizes), strict=True):
            parameter.grad = part.view_as(parameter)
