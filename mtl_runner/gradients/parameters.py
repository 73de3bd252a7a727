"""Which parameters belong to which tasks, read off the autograd graph, not off names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtl_runner.compat.torch_modules import sequence_number
from mtl_runner.errors import ModelError


@dataclass(frozen=True)
class Parameters:
    """The model's trainable parameters and, for each, the tasks whose loss reaches it.

    Attributes:
        tensors: The trainable parameters, in the model's order.
        owners: For each parameter the indices of the tasks whose loss reaches it.
        last_shared: Of the weights (two or more dimensions) that most tasks share, the one that the
            forward pass uses last; None if no weight is shared.

    Example:
        >>> trunk, heads = nn.Linear(2, 3), nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
        >>> features = trunk(torch.ones(1, 2))
        >>> losses = [head(features).sum() for head in heads]
        >>> parameters = Parameters.from_losses(nn.ModuleList([trunk, heads]), losses)
        >>> [sorted(owners) for owners in parameters.owners]
        [[0, 1], [0, 1], [0], [0], [1], [1]]
        >>> parameters.last_shared is trunk.weight
        True
    """

    tensors: list[nn.Parameter]
    owners: list[frozenset[int]]
    last_shared: nn.Parameter | None = None

    @classmethod
    def from_losses(cls, model: nn.Module, losses: Sequence[Tensor]) -> Parameters:
        """Read the owners off the graphs of losses; for updates in a loop of your own.

        Args:
            model: The model; parameters that no loss reaches are left out.
            losses: One differentiable scalar per task, each with a graph of its own.

        Raises:
            ModelError: If the losses are one stacked tensor.
        """
        if isinstance(losses, Tensor):
            raise ModelError(
                "Give the losses as a list of scalars, one per task: every element of a stacked tensor reaches every parameter."
            )
        leaves = [leaves_of(loss) for loss in losses]
        tensors = [
            p
            for p in model.parameters()
            if p.requires_grad and any(p in task_leaves for task_leaves in leaves)
        ]
        owners = [
            frozenset(t for t, task_leaves in enumerate(leaves) if p in task_leaves)
            for p in tensors
        ]
        return cls(tensors, owners, last_shared_weight(tensors, owners, leaves))

    def reached_by(self, tasks: frozenset[int]) -> list[nn.Parameter]:
        """Return the parameters that any of these tasks reaches, in the model's order."""
        return [p for p, owners in zip(self.tensors, self.owners, strict=True) if owners & tasks]

    def idle(self, active: frozenset[int]) -> list[nn.Parameter]:
        """Return the parameters that none of the active tasks reaches."""
        return [
            p for p, owners in zip(self.tensors, self.owners, strict=True) if not owners & active
        ]

    @property
    def shared(self) -> list[nn.Parameter]:
        """The parameters that two or more tasks reach."""
        return [p for p, owners in zip(self.tensors, self.owners, strict=True) if len(owners) > 1]

    def norms(self, losses: Sequence[Tensor], tasks: Sequence[int]) -> Tensor:
        """Return the norm of each loss's gradient at ``last_shared``; the graphs are kept.

        Args:
            losses: One differentiable scalar per task.
            tasks: The indices of the tasks to measure.

        Returns:
            The norms ``[T]``, 0 for the other tasks.
        """
        norms = losses[0].detach().new_zeros(len(losses))
        if self.last_shared is None:
            return norms
        for t in tasks:
            (gradient,) = torch.autograd.grad(
                losses[t], [self.last_shared], retain_graph=True, allow_unused=True
            )
            if gradient is not None:
                norms[t] = gradient.norm()
        return norms


def leaves_of(loss: Tensor) -> dict[Tensor, int]:
    """Return the leaf tensors that a backward pass from the loss would reach.

    Args:
        loss: A tensor with a graph.

    Returns:
        For each leaf the position in the forward pass at which it was last used.

    Example:
        >>> weight, bias = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> leaves = leaves_of((2 * weight + bias).sum())
        >>> leaves[weight] < leaves[bias]
        True
    """
    leaves: dict[Tensor, int] = {}
    seen = set()
    stack = [loss.grad_fn] if loss.grad_fn is not None else []
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for next_node, _ in node.next_functions:
            if next_node is None:
                continue
            if hasattr(next_node, "variable"):
                leaf = next_node.variable
                leaves[leaf] = max(leaves.get(leaf, -1), sequence_number(node))
            stack.append(next_node)
    return leaves


def last_shared_weight(
    tensors: Sequence[nn.Parameter],
    owners: Sequence[frozenset[int]],
    leaves: Sequence[dict[Tensor, int]],
) -> nn.Parameter | None:
    """Return the weight shared by most tasks that the forward pass uses last.

    A layer that serves all tasks counts before one that only some of them share.

    Args:
        tensors: The trainable parameters.
        owners: For each parameter the tasks whose loss reaches it.
        leaves: For each task the leaves of its loss, as :func:`leaves_of` gives them.

    Returns:
        The weight, of two or more dimensions; None if no weight is shared.
    """
    most = max((len(tasks) for tasks in owners), default=0)
    weights = [
        p
        for p, tasks in zip(tensors, owners, strict=True)
        if len(tasks) == most > 1 and p.dim() > 1
    ]
    return max(
        weights, key=lambda p: max(task_leaves.get(p, -1) for task_leaves in leaves), default=None
    )
