"""Which parameters belong to which tasks, read off the autograd graph, not off names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.compat.torch_modules import sequence_number
from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.gradients.blocks import blocks_of
from mtl_runner.gradients.door import Lane, Losses, of
from mtl_runner.gradients.representation import Cut, find_cut
from mtl_runner.gradients.shards import Shards, local_part


@dataclass(frozen=True)
class Parameters:
    """The model's trainable parameters and, for each, the tasks whose loss reaches it.

    They include those that are frozen for a part of the run only (:func:`trained_now`).

    Attributes:
        tensors: The trainable parameters, in the model's order.
        owners: For each parameter the indices of the tasks whose loss reaches it.
        last_shared: Of the weights (two or more dimensions) that most tasks share, those behind
            which no other follows: one, or several side by side such as the last layers of experts;
            empty if no weight is shared.
        of_likelihood: The tasks whose loss reaches each trained parameter of the likelihood.
        shards: The processes that have a part of each parameter; None: this one has all of them.
        names: The names of the parameters in the model; empty if they are not known.
        cut: Whether gradients of the representation can be had.

    Example:
        >>> trunk, heads = nn.Linear(2, 3), nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
        >>> features = trunk(torch.ones(1, 2))
        >>> losses = [head(features).sum() for head in heads]
        >>> parameters = Parameters.from_losses(nn.ModuleList([trunk, heads]), losses)
        >>> [sorted(owners) for owners in parameters.owners]
        [[0, 1], [0, 1], [0], [0], [1], [1]]
        >>> len(parameters.last_shared), parameters.last_shared[0] is trunk.weight
        (1, True)
    """

    tensors: list[nn.Parameter]
    owners: list[frozenset[int]]
    last_shared: Sequence[nn.Parameter] = ()
    of_likelihood: Mapping[Tensor, frozenset[int]] = field(default_factory=dict)
    shards: Shards | None = None
    names: Sequence[str] = ()
    cut: Cut = field(default_factory=Cut)

    @property
    def all_owners(self) -> dict[Tensor, frozenset[int]]:
        """The tasks whose loss reaches each trained tensor, of the model and the likelihood."""
        return {**dict(zip(self.tensors, self.owners, strict=True)), **self.of_likelihood}

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
        named = {
            p: name
            for name, p in model.named_parameters()
            if p.requires_grad and any(p in task_leaves for task_leaves in leaves)
        }
        tensors = list(named)
        owners = [
            frozenset(t for t, task_leaves in enumerate(leaves) if p in task_leaves)
            for p in tensors
        ]
        last_shared = last_shared_weights(tensors, owners, losses)
        shared = {p: named[p] for p, tasks in zip(tensors, owners, strict=True) if len(tasks) > 1}
        cut = find_cut(losses, shared, [str(t) for t in range(len(losses))])
        return cls(tensors, owners, last_shared, names=list(named.values()), cut=cut)

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

    def shared_blocks(self, kind: str) -> list[list[nn.Parameter]]:
        """Return the shared parameters by blocks.

        Args:
            kind: The kind of the blocks, as in :func:`~mtl_runner.gradients.blocks.blocks_of`.

        Raises:
            ConfigError: If the kind is unknown, or needs names that are not known.
        """
        shared = self.shared
        names = dict(zip(self.tensors, self.names, strict=False))
        if kind in ("module", "layer") and len(names) < len(self.tensors):
            raise ConfigError(
                f"update.blocks={kind} needs the names of the parameters; make them by Parameters.from_losses(model, losses)."
            )
        known = [names.get(p, str(i)) for i, p in enumerate(shared)]
        return [[shared[i] for i in block] for block in blocks_of(known, kind)]

    def norms(self, losses: Losses, tasks: Sequence[int]) -> Tensor:
        """Return the norm of each loss's gradient at all of ``last_shared``; the graphs are kept.

        Args:
            losses: One differentiable scalar per task.
            tasks: The indices of the tasks to measure.

        Returns:
            The norms ``[T]``, 0 for the other tasks.
        """
        norms = local_part(self.tensors[0]).new_zeros(len(losses))
        if not self.last_shared:
            return norms
        lanes = [Lane((t,), self.last_shared) for t in tasks]
        for t, gradients in zip(tasks, of(losses, lanes, keep=True), strict=True):
            parts = [local_part(gradient).norm() for gradient in gradients if gradient is not None]
            if parts:
                norms[t] = parts[0] if len(parts) == 1 else torch.stack(parts).norm()
        return self.whole_norms(norms)

    def sizes(self, losses: Losses, tasks: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the sizes of the entries of each loss's gradient at all shared parameters.

        The graphs are kept.

        Args:
            losses: One differentiable scalar per task.
            tasks: The indices of the tasks to measure.

        Returns:
            The largest entry and the mean entry without their signs, each ``[T]``; 0 for the other
            tasks, and where nothing is shared.
        """
        shared = self.shared
        largest = local_part(self.tensors[0]).new_zeros(len(losses))
        total = torch.zeros_like(largest)
        if not shared:
            return largest, total
        lanes = [Lane((t,), shared) for t in tasks]
        for t, gradients in zip(tasks, of(losses, lanes, keep=True), strict=True):
            parts = [local_part(g).abs() for g in gradients if g is not None]
            # A process may have no part of a small parameter.
            parts = [part for part in parts if part.numel()]
            if parts:
                largest[t] = torch.stack([part.max() for part in parts]).max()
                total[t] = torch.stack([part.sum() for part in parts]).sum()
        if self.shards is not None:
            largest = self.shards.ranks.gathered(largest[None]).amax(0)
        return largest, self.whole_sums(total) / sum(p.numel() for p in shared)

    def whole_sums(self, sums: Tensor) -> Tensor:
        """Return sums over all entries of gradients, from those over the part that is here.

        Args:
            sums: Sums of this process, such as products of gradients; they are changed.
        """
        return sums if self.shards is None else self.shards.ranks.sum(sums)

    def whole_norms(self, norms: Tensor) -> Tensor:
        """Return norms of gradients, from those of the part that is here.

        Args:
            norms: Norms of this process.
        """
        return norms if self.shards is None else self.whole_sums(norms.square()).sqrt()


def trained_now(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters that are not frozen at present: those that need a gradient.

    Args:
        parameters: Parameters of the model; each may be frozen for some steps of the run.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.bias.requires_grad_(False)
        >>> len(trained_now(layer.parameters()))
        1
    """
    return [parameter for parameter in parameters if parameter.requires_grad]


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


def last_shared_weights(
    tensors: Sequence[nn.Parameter],
    owners: Sequence[frozenset[int]],
    losses: Sequence[Tensor],
) -> list[nn.Parameter]:
    """Return the weights shared by most tasks behind which the forward pass uses no other such one.

    In a trunk of layers that is the last one; of experts side by side, the last layer of each. A
    layer that serves all tasks counts before one that only some of them share.

    Args:
        tensors: The trainable parameters.
        owners: For each parameter the tasks whose loss reaches it.
        losses: The losses, with their graphs.

    Returns:
        Weights of two or more dimensions, in the order of ``tensors``; none if no weight is shared.

    Example:
        >>> first, left, right = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        >>> features = first(torch.ones(1, 2))
        >>> losses = [(left(features) + t * right(features)).sum() for t in (1, 2)]
        >>> weights = [first.weight, left.weight, right.weight]
        >>> last = last_shared_weights(weights, [frozenset({0, 1})] * 3, losses)
        >>> [weight is layer.weight for weight, layer in zip(last, (left, right))]
        [True, True]
    """
    most = max((len(tasks) for tasks in owners), default=0)
    weights = [
        p
        for p, tasks in zip(tensors, owners, strict=True)
        if len(tasks) == most > 1 and p.dim() > 1
    ]
    if len(weights) < 2:
        return weights
    users, nodes_of_leaves = _users(losses)
    operations = [_last_operation(nodes_of_leaves[weight], users) for weight in weights]
    # What lies before the last use of any of them.
    before = set()
    stack = [node for operation in operations for node, _ in operation.next_functions]
    while stack:
        node = stack.pop()
        if node is not None and node not in before:
            before.add(node)
            stack += [next_node for next_node, _ in node.next_functions]
    return [
        weight
        for weight, operation in zip(weights, operations, strict=True)
        if operation not in before
    ]


def _users(losses: Sequence[Tensor]) -> tuple[dict[Any, list[Any]], dict[Tensor, Any]]:
    """Return for each node of the graphs the nodes that use it, and for each leaf its node."""
    users: dict[Any, list[Any]] = {}
    nodes_of_leaves: dict[Tensor, Any] = {}
    stack = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    users |= {node: [] for node in stack}
    while stack:
        node = stack.pop()
        for next_node, _ in node.next_functions:
            if next_node is None:
                continue
            if next_node not in users:
                users[next_node] = []
                stack.append(next_node)
            users[next_node].append(node)
            if hasattr(next_node, "variable"):
                nodes_of_leaves[next_node.variable] = next_node
    return users, nodes_of_leaves


def _last_operation(node: Any, users: dict[Any, list[Any]]) -> Any:
    """Return the last operation that joins a tensor with others: past views, casts and the like."""
    operations, seen = [], set()
    stack = [node]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if len(node.next_functions) > 1 or not users[node]:
            operations.append(node)
        else:
            stack += users[node]
    return max(operations, key=sequence_number)
