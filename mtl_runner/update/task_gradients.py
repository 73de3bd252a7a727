"""The tasks' gradients over the shared parameters as rows of one matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_runner.gradients import door
from mtl_runner.gradients.door import Lane, Losses
from mtl_runner.gradients.layout import as_row, laid_out_like
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.gradients.shards import like_parameter, local_part
from mtl_runner.tasks.activity import Active


class TaskGradients:
    """Splits the gradient of each weighted loss into a shared row and a private part.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        tasks: Number of tasks.

    Attributes:
        shared: The parameters that two or more tasks reach.
        private: For each task, the parameters that it alone reaches.

    Example:
        >>> point = nn.Parameter(torch.ones(2))
        >>> gradients = TaskGradients(Parameters([point], [frozenset({0, 1})]), tasks=2)
        >>> gradients.rows([point[0], point.sum()], torch.tensor([1.0, 3.0]), Active.all(2))
        [tensor([1., 0.]), tensor([3., 3.])]
    """

    def __init__(self, parameters: Parameters, tasks: int) -> None:
        self.shared: list[nn.Parameter] = parameters.shared
        pairs = list(zip(parameters.tensors, parameters.owners, strict=True))
        self.private = [[p for p, owner in pairs if owner == {t}] for t in range(tasks)]

    @property
    def columns(self) -> list[nn.Parameter]:
        """The shared parameters that are not frozen, the columns of the matrix."""
        return trained_now(self.shared)

    def rows(
        self, losses: Losses, weights: Tensor, active: Active, with_private: bool = True
    ) -> list[Tensor]:
        """Return the rows of the active tasks, and give the private parameters their gradients.

        Args:
            losses: One scalar per task.
            weights: One factor per task, shape ``[T]``.
            active: The tasks that take part.
            with_private: Whether the private parameters get theirs.

        Returns:
            One row ``[P]`` per active task; of sharded parameters the part that is here.
        """
        columns = self.columns
        private = {t: trained_now(self.private[t]) if with_private else [] for t in active.tasks}
        lanes = [Lane((t,), [*columns, *private[t]], weights) for t in active.tasks]
        rows = []
        for t, gradients in zip(active.tasks, door.of(losses, lanes), strict=True):
            rows.append(as_row(gradients[: len(columns)], columns))
            for parameter, gradient in zip(private[t], gradients[len(columns) :], strict=True):
                parameter.grad = (
                    torch.zeros_like(parameter)
                    if gradient is None
                    else laid_out_like(gradient, parameter)
                )
        return rows

    def assign(self, vector: Tensor) -> None:
        """Give the columns their parts of a vector ``[P]`` as gradients."""
        columns = self.columns
        local = [local_part(parameter) for parameter in columns]
        parts = torch.split(vector, [tensor.numel() for tensor in local])
        for parameter, tensor, part in zip(columns, local, parts, strict=True):
            gradient = like_parameter(part.view_as(tensor), parameter)
            parameter.grad = laid_out_like(gradient, parameter)
