"""Which parameters belong to which tasks, read off the autograd graph, never from a naming scheme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtl_runner.compat.torch_modules import position_in_forward
from mtl_runner.errors import ModelError


@dataclass(frozen=True)
class Parameters:
    """The model's trainable parameters and, for each, the indices of the tasks whose loss reaches it."""

    tensors: list[nn.Parameter]
    owners: list[frozenset[int]]
    last_shared: nn.Parameter | None = (
        None  # of the weights (two or more dimensions) that most tasks share, the one used last
    )

    @classmethod
    def from_losses(cls, model: nn.Module, losses: Sequence[Tensor]) -> Parameters:
        """Read off the graphs of losses that are about to be trained: for updates in a loop of your own."""
        if isinstance(losses, Tensor):
            raise ModelError(
                "Give the losses as a list of scalars, one per task: every element of a stacked tensor reaches every parameter."
            )
        reached = [leaves_of(loss) for loss in losses]
        tensors = [
            p
            for p in model.parameters()
            if p.requires_grad and any(p in leaves for leaves in reached)
        ]
        owners = [frozenset(t for t, leaves in enumerate(reached) if p in leaves) for p in tensors]
        return cls(tensors, owners, last_shared_weight(tensors, owners, reached))

    def of(self, tasks: frozenset[int]) -> list[nn.Parameter]:
        """The parameters that any of these tasks reaches, in the model's order."""
        return [p for p, owner in zip(self.tensors, self.owners, strict=True) if owner & tasks]

    def idle(self, active: frozenset[int]) -> list[nn.Parameter]:
        """The parameters that none of the active tasks reaches."""
        return [p for p, owner in zip(self.tensors, self.owners, strict=True) if not owner & active]

    @property
    def shared(self) -> list[nn.Parameter]:
        """The parameters reached by two or more tasks."""
        return [p for p, owner in zip(self.tensors, self.owners, strict=True) if len(owner) > 1]

    def norms(self, losses: Sequence[Tensor], tasks: Sequence[int]) -> Tensor:
        """The norm of each loss's gradient at ``last_shared``, ``[T]``, 0 for other tasks. The graph is kept."""
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
    """The leaf tensors that a backward pass from the loss would reach, and when the forward pass last used each."""
    found: dict[Tensor, int] = {}
    seen = set()
    stack = [loss.grad_fn] if loss.grad_fn is not None else []
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            if following is None:
                continue
            if hasattr(following, "variable"):
                found[following.variable] = max(
                    found.get(following.variable, -1), position_in_forward(node)
                )
            stack.append(following)
    return found


def last_shared_weight(
    tensors: Sequence[nn.Parameter],
    owners: Sequence[frozenset[int]],
    reached: Sequence[dict[Tensor, int]],
) -> nn.Parameter | None:
    most = max(
        (len(owner) for owner in owners), default=0
    )  # not a layer of two tasks where another one serves all
    weights = [
        p
        for p, owner in zip(tensors, owners, strict=True)
        if len(owner) == most > 1 and p.dim() > 1
    ]
    return max(weights, key=lambda p: max(leaves.get(p, -1) for leaves in reached), default=None)
