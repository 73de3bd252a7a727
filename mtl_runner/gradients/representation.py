"""The representation: the tensors between what tasks share and what each has alone.

They are read off the graphs of the losses, like the owners of parameters, so that any model will
do: what the graphs of two losses or more have in common is shared, and where a loss's own part ends
is the representation.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.utils.hooks import RemovableHandle

from mtl_runner.compat.torch_modules import sequence_number

#: A tensor of a graph: the operation that made it, and which of its outputs it is.
Place = tuple[Any, int]


@dataclass(frozen=True)
class Representation:
    """The representation in the graphs of one batch.

    Attributes:
        edges: The tensors, the one that was made last first.
        of_tasks: For each task the positions of those that its own part uses directly.

    Example:
        >>> features = nn.Linear(2, 3)(torch.ones(4, 2)).relu()
        >>> losses = [nn.Linear(3, 1)(features).mean() for _ in range(2)]
        >>> representation = Representation.of(losses)
        >>> representation.edges[0].node is features.grad_fn, representation.of_tasks
        (True, [(0,), (0,)])
    """

    edges: list[GradientEdge]
    of_tasks: list[tuple[int, ...]]

    @classmethod
    def of(cls, losses: Sequence[Tensor]) -> Representation:
        """Return the representation in the graphs of losses.

        Operations are visited from the last to the first, until all that is left is shared: mostly
        the heads alone.

        Args:
            losses: One differentiable scalar per task, of all tasks, each with a graph of its own.
        """
        reached: dict[Any, set[int]] = {}
        users: dict[Place, set[int]] = {}
        waiting: list[tuple[int, int, Any]] = []
        waiting_alone: set[Any] = set()

        def reach(node: Any, tasks: set[int]) -> None:
            if node not in reached:
                reached[node] = set()
                if not hasattr(node, "variable"):
                    heapq.heappush(waiting, (-sequence_number(node), len(reached), node))
                    waiting_alone.add(node)
            reached[node] |= tasks
            if len(reached[node]) > 1:
                waiting_alone.discard(node)

        for t, loss in enumerate(losses):
            if loss.grad_fn is not None:
                reach(loss.grad_fn, {t})
        while waiting_alone:
            _, _, node = heapq.heappop(waiting)
            waiting_alone.discard(node)
            tasks = reached[node]
            for next_node, number in node.next_functions:
                if next_node is not None:
                    reach(next_node, tasks)
                    if len(tasks) == 1:
                        users.setdefault((next_node, number), set()).update(tasks)
        places = [place for place in users if len(reached[place[0]]) > 1]
        return cls(
            [GradientEdge(*place) for place in places],
            [
                tuple(i for i, place in enumerate(places) if t in users[place])
                for t in range(len(losses))
            ],
        )


@dataclass(frozen=True)
class Cut:
    """The facts about the representation that are known before training.

    Attributes:
        problem: Why gradients of the representation cannot be had; empty if they can.
        modules: For each tensor the module that returns it; None where no module does.
    """

    problem: str = ""
    modules: Sequence[nn.Module | None] = ()


def find_cut(
    losses: Sequence[Tensor],
    names: Mapping[Any, str],
    tasks: Sequence[str],
    returned_by: Mapping[Place, nn.Module] | None = None,
) -> Cut:
    """Return what the graphs of a first batch tell about the representation.

    Args:
        losses: One differentiable scalar per task.
        names: The names of the shared parameters.
        tasks: The names of the tasks.
        returned_by: For tensors that a module returned, the module.

    Example:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> losses = [(t * weight).sum() for t in (1, 2)]
        >>> find_cut(losses, {weight: "scale"}, ["a", "b"]).problem
        "the shared parameter 'scale' is used by task 'a' alone, behind what the tasks share"
    """
    representation = Representation.of(losses)
    for t, positions in enumerate(representation.of_tasks):
        edges = [representation.edges[i] for i in positions]
        leaves = [edge.node.variable for edge in edges if hasattr(edge.node, "variable")]
        if leaves:
            name = names.get(max(leaves, key=Tensor.dim), "")  # a weight says more than its bias
            return Cut(
                f"the shared parameter {name!r} is used by task {tasks[t]!r} alone, behind what the tasks share"
            )
        nodes = {edge.node for edge in edges}
        if any(_reaches(node, nodes - {node}) for node in nodes):
            return Cut(
                f"task {tasks[t]!r} uses a shared tensor and another one that is computed from it"
            )
    returned = returned_by or {}
    places = [(edge.node, edge.output_nr) for edge in representation.edges]
    return Cut(modules=[returned.get(place) for place in places])


def _reaches(node: Any, targets: set[Any]) -> bool:
    """Return whether the graph below an operation holds one of others."""
    seen, stack = set(), [node] if targets else []
    while stack:
        for next_node, _ in stack.pop().next_functions:
            if next_node in targets:
                return True
            if next_node is not None and next_node not in seen:
                seen.add(next_node)
                stack.append(next_node)
    return False


class Returned:
    """Takes note of the tensors that modules return, where a graph is recorded.

    Args:
        modules: The modules.
        limit: Number of tensors that are kept, the latest ones; None: all.

    Attributes:
        handles: The hooks, each of which can be removed.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> returned = Returned([layer])
        >>> features = layer(torch.ones(4, 2))
        >>> returned.value(GradientEdge(features.grad_fn, 0)).shape
        torch.Size([4, 3])
    """

    def __init__(self, modules: Sequence[nn.Module], limit: int | None = None) -> None:
        tensors: deque[tuple[Place, nn.Module, Tensor]] = deque(maxlen=limit)

        # No method: a copy of the model would copy the tensors, too.
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            del inputs
            if isinstance(output, Tensor) and output.grad_fn is not None:
                place = (output.grad_fn, output.output_nr)
                tensors.append((place, module, output.detach()))

        self.tensors = tensors
        self.handles: list[RemovableHandle] = [
            module.register_forward_hook(note)
            for module in dict.fromkeys(modules)
            if not isinstance(module, torch.jit.ScriptModule)  # they take no hooks
        ]

    def by_place(self) -> dict[Place, nn.Module]:
        """Return the module that returned each tensor: of several, the innermost."""
        return {place: module for place, module, _ in reversed(self.tensors)}

    def value(self, edge: GradientEdge) -> Tensor | None:
        """Return the tensor at a place of the graph; None if no module returned it."""
        for place, _, tensor in self.tensors:
            if place == (edge.node, edge.output_nr):
                return tensor
        return None

    def clear(self) -> None:
        """Forget the tensors."""
        self.tensors.clear()

    def remove(self) -> None:
        """Take no further note."""
        for handle in self.handles:
            handle.remove()
        self.clear()
