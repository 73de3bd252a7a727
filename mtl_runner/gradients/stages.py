"""Gradients of several losses block by block: those of one block of parameters at a time.

One backward pass per loss goes through the graph, but not one after the other: all of them go down
to a cut before any goes further. A cut lies before the first use of a block, where all that follows
rests on a single tensor: between the layers of a chain, or the blocks of a ResNet or a transformer.
In a U-Net, whose skip connections pass every such place, there is none, and all gradients come at
once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_runner.compat.torch_modules import sequence_number
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Gradients
from mtl_runner.gradients.representation import Place


class Stages:
    """The graphs of losses, cut where blocks of parameters are first used.

    Args:
        losses: The losses, each with a graph.
        factors: The factor of each loss.
        blocks: Blocks of parameters; no parameter is in two of them.
        without_cut: Lists of parameters whose gradients are wanted, too.

    Example:
        >>> import torch
        >>> first, second = (torch.full((2,), 3.0, requires_grad=True) for _ in range(2))
        >>> product = first * second
        >>> losses, factors = [product.sum(), product.prod()], list(torch.ones(2).unbind())
        >>> for block, gradients in Stages(losses, factors, [[first], [second]]):
        ...     print(block, gradients)
        0 [[tensor([3., 3.])], [tensor([27., 27.])]]
        1 [[tensor([3., 3.])], [tensor([27., 27.])]]
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        factors: Sequence[Tensor],
        blocks: Sequence[Sequence[Tensor]],
        without_cut: Sequence[Sequence[Tensor]] = (),
    ) -> None:
        self.blocks = [*blocks, *without_cut]
        self.wanted = {parameter for block in self.blocks for parameter in block}
        # The number of each operation, and the numbers of those that use a wanted parameter.
        self.numbers: dict[Any, int] = {}
        self.uses: dict[Tensor, list[int]] = {}
        self._walk([loss.grad_fn for loss in losses])
        self.operations = sorted(self.numbers.items(), key=lambda pair: pair[1])
        self.first_uses = [
            min((min(self.uses.get(p, [-1])) for p in block), default=-1) for block in self.blocks
        ]
        self.cuts = self._cuts(set(self.first_uses[: len(blocks)]))
        # The gradients that have come as far as a cut, for each loss.
        self.pending: list[dict[Place, Tensor]] = [
            {} if loss.grad_fn is None else {(loss.grad_fn, loss.output_nr): factor}
            for loss, factor in zip(losses, factors, strict=True)
        ]
        self.sums: list[dict[Tensor, Tensor]] = [{} for _ in losses]

    def __iter__(self) -> Iterator[tuple[int, list[Gradients]]]:
        """Yield the number of each block, in the order of the backward pass, and its gradients.

        Lists of parameters ``without_cut`` are numbered after the blocks. For each loss there is
        one gradient per parameter; None where the loss does not reach it.
        """
        waiting = list(range(len(self.blocks)))
        for cut in [*self.cuts, -1]:
            self._advance(cut)
            for block in [b for b in waiting if self.first_uses[b] >= cut]:
                waiting.remove(block)
                yield (
                    block,
                    [
                        [sums.pop(parameter, None) for parameter in self.blocks[block]]
                        for sums in self.sums
                    ],
                )

    def _walk(self, roots: Sequence[Any]) -> None:
        """Take note of all operations, and of the uses of every wanted parameter."""
        stack = [root for root in roots if root is not None]
        while stack:
            node = stack.pop()
            if node in self.numbers:
                continue
            number = self.numbers[node] = sequence_number(node)
            for next_node, _ in node.next_functions:
                leaf = getattr(next_node, "variable", None)
                if leaf is not None and leaf in self.wanted:
                    self.uses.setdefault(leaf, []).append(number)
                elif next_node is not None and leaf is None:
                    stack.append(next_node)

    def _cuts(self, candidates: set[int]) -> list[int]:
        """Return those numbers at which the operations from there on rest on one tensor.

        torch would go through one tensor to another one that it is computed from. Nor may a
        parameter be used on both sides.
        """
        cuts = []
        reached: set[Any] = set()
        uses: dict[Tensor, int] = {}
        for node, number in reversed(self.operations):
            reached.discard(node)
            for next_node, _ in node.next_functions:
                leaf = getattr(next_node, "variable", None)
                if leaf is not None and leaf in self.wanted:
                    uses[leaf] = uses.get(leaf, 0) + 1
                    if uses[leaf] == len(self.uses[leaf]):
                        del uses[leaf]
                elif next_node in self.numbers:
                    reached.add(next_node)
            if number in candidates and len(reached) == 1 and not uses:
                cuts.append(number)
        return cuts

    def _advance(self, cut: int) -> None:
        """Take every loss's gradients through the operations down to a cut."""
        places: dict[Place, None] = {}
        leaves: dict[Tensor, None] = {}
        while self.operations and self.operations[-1][1] >= cut:
            node, _ = self.operations.pop()
            for next_node, output in node.next_functions:
                leaf = getattr(next_node, "variable", None)
                if leaf is not None and leaf in self.wanted:
                    leaves[leaf] = None
                elif next_node in self.numbers and self.numbers[next_node] < cut:
                    places[(next_node, output)] = None
        inputs: list[Tensor | GradientEdge] = [*leaves]
        inputs += [GradientEdge(*place) for place in places]
        for pending, sums in zip(self.pending, self.sums, strict=True):
            roots = [place for place in pending if self.numbers[place[0]] >= cut]
            if not (roots and inputs):
                continue
            factors = [pending.pop(place) for place in roots]
            edges = [GradientEdge(*place) for place in roots]
            gradients = door.between(edges, inputs, factors, keep=True)
            for leaf, gradient in zip(leaves, gradients, strict=False):
                if gradient is not None:
                    sums[leaf] = sums[leaf] + gradient if leaf in sums else gradient
            for place, gradient in zip(places, gradients[len(leaves) :], strict=True):
                if gradient is not None:
                    earlier = pending.get(place)
                    pending[place] = gradient if earlier is None else earlier + gradient
