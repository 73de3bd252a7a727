"""The tasks' gradients over the representation as rows (``update.at=representation``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.door import Losses
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.gradients.representation import Returned
from mtl_runner.gradients.two_passes import TwoPasses
from mtl_runner.tasks.activity import Active
from mtl_runner.update.sign_dropout import sign_dropout
from mtl_runner.update.task_gradients import TaskGradients, assign


class RepresentationGradients(TaskGradients):
    """Splits the gradient of each weighted loss at the representation.

    The rows are gradients over the tensors between trunk and heads, of every row of the batch. A
    direction goes through the trunk by one backward pass.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        tasks: Number of tasks.
        keeps_values: Whether the tensors themselves are needed, too.

    Raises:
        ConfigError: If the representation cannot be found, or its values cannot.

    Example:
        >>> from torch import nn
        >>> trunk, heads = nn.Linear(2, 3), [nn.Linear(3, 1), nn.Linear(3, 1)]
        >>> features = trunk(torch.ones(4, 2))
        >>> losses = [head(features).mean() for head in heads]
        >>> parameters = Parameters.from_losses(nn.ModuleList([trunk, *heads]), losses)
        >>> gradients = RepresentationGradients(parameters, tasks=2)
        >>> ((_, rows),) = gradients.jacobians(losses, torch.ones(2), Active.all(2))
        >>> rows.shape
        torch.Size([2, 12])
        >>> gradients.assign(0, rows.sum(0))
        >>> trunk.bias.grad.shape
        torch.Size([3])
    """

    def __init__(self, parameters: Parameters, tasks: int, keeps_values: bool = False) -> None:
        super().__init__(parameters, tasks)
        cut = parameters.cut
        if cut.problem and self.shared:
            raise ConfigError(
                f"update.at=representation finds no tensors between trunk and heads of this model: {cut.problem}; use update.at=parameters."
            )
        modules = [module for module in cut.modules if module is not None]
        if keeps_values and self.shared and len(modules) < max(1, len(cut.modules)):
            raise ConfigError(
                "update.aggregator=graddrop with update.at=representation needs the values of the representation, which no module of this model returns by itself; let the trunk end in a module, such as nn.ReLU(), or use update.at=parameters."
            )
        # Of a module that is called several times, several tensors are kept.
        self.returned = Returned(modules, limit=8 * len(modules)) if keeps_values else None
        self.passes: TwoPasses | None = None
        self.ranks: Ranks | None = None

    def whole_sums(self) -> Callable[[Tensor], Tensor]:
        """Return what makes sums over all rows of the batch from those of this process."""
        return (lambda sums: sums) if self.ranks is None else self.ranks.sum

    def whole_norms(self, norms: Tensor) -> Tensor:
        """Return norms over all rows of the batch, from those over the rows of this process."""
        return norms if self.ranks is None else self.ranks.sum(norms.square()).sqrt()

    def jacobians(
        self, losses: Losses, weights: Tensor, active: Active, with_private: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the one matrix ``[k, Z]``, and give the private parameters their gradients.

        Z counts every number of the representation, in every row of the batch.

        Args:
            losses: One scalar per task.
            weights: One factor per task, shape ``[T]``.
            active: The tasks that take part.
            with_private: Whether the private parameters get theirs.
        """
        self.passes = TwoPasses(losses, weights, active.tasks)
        over_ranks = self.passes.over_ranks
        self.ranks = None if over_ranks is None else over_ranks.ranks
        private = [trained_now(self.private[t]) if with_private else [] for t in active.tasks]
        of_private = self.passes.through_heads(private)
        for parameters, gradients in zip(private, of_private, strict=True):
            assign(parameters, gradients)
        yield (
            0,
            torch.stack(
                [
                    torch.cat([_at_least_single(piece).reshape(-1) for piece in row])
                    for row in self.passes.rows
                ]
            ),
        )

    def sign_dropout(self, leak: Tensor | None) -> Tensor:
        """Return the direction ``[Z]`` of GradDrop for the rows of this step.

        Args:
            leak: The leak of each active task, shape ``[k]``; None: 0 each.
        """
        assert self.passes is not None
        assert self.returned is not None
        directions = []
        for place, edge in enumerate(self.passes.edges):
            value = self.returned.value(edge)
            if value is None:
                raise ConfigError(
                    "update.aggregator=graddrop with update.at=representation has not seen the value of the representation; the model must go through the same modules in every step."
                )
            rows = [_at_least_single(row[place]) for row in self.passes.rows]
            direction = sign_dropout(rows, value, leak, self.whole_sums())
            directions.append(direction.reshape(-1))
        return torch.cat(directions)

    def assign(self, block: int, vector: Tensor) -> None:
        """Take a direction ``[Z]`` through the trunk; the shared parameters get its gradients."""
        del block
        assert self.passes is not None
        shapes = self.passes.rows[0]
        parts = torch.split(vector, [piece.numel() for piece in shapes])
        pieces = [
            part.view_as(piece).to(piece.dtype) for part, piece in zip(parts, shapes, strict=True)
        ]
        columns = self.columns
        assign(columns, self.passes.through_trunk(pieces, columns))
        self.passes = None
        if self.returned is not None:
            self.returned.clear()


def _at_least_single(tensor: Tensor) -> Tensor:
    """Return a tensor in single precision at least; under autocast gradients come in half."""
    return tensor.float() if tensor.element_size() < 4 else tensor
