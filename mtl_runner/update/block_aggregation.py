"""An aggregator that is applied to several blocks of parameters, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import Aggregation

# Between the seeds of two blocks: far from the seeds that anybody gives to two runs.
SPREAD = 0x9E3779B97F4A7C15


class BlockAggregation:
    """One :class:`~mtl_runner.update.aggregators.Aggregation` per block.

    Args:
        aggregator: A name or a callable, as for an ``Aggregation``.
        options: Options of the aggregator.
        tasks: All tasks, in order.
        seed: Seed of the random stream of the first block, from which follow the others.
        sizes: Number of parameters of each block, at least one block.

    Attributes:
        of_blocks: The aggregation of each block.

    Raises:
        ConfigError: If the aggregator or an option is unknown, or a package is missing.

    Example:
        >>> mean = BlockAggregation("mean", {}, [Task("a"), Task("b")], seed=0, sizes=[2, 1])
        >>> blocks = [torch.eye(2), torch.ones(2, 1)]
        >>> for b, jacobian in enumerate(blocks):
        ...     mean(b, jacobian, (0, 1))
        tensor([0.5000, 0.5000])
        tensor([1.])
        >>> mean.weights()
        tensor([0.5000, 0.5000])
    """

    def __init__(
        self,
        aggregator: str | Callable[[Tensor], Tensor],
        options: Mapping[str, Any],
        tasks: Sequence[Task],
        seed: int,
        sizes: Sequence[int],
    ) -> None:
        # Streams of their own: the order in which blocks come depends on how a run is divided.
        self.of_blocks = [
            Aggregation(aggregator, options, tasks, (seed + b * SPREAD) % 2**63)
            for b in range(len(sizes))
        ]
        self.sizes = list(sizes)
        # Of the blocks of a step so far: their numbers, weights and norms.
        self._measured: list[tuple[int, Tensor, Tensor]] = []

    @property
    def first(self) -> Aggregation:
        """The aggregation of the first block, which answers for all: they differ in state only."""
        return self.of_blocks[0]

    def __call__(
        self,
        block: int,
        jacobian: Tensor,
        tasks: tuple[int, ...],
        whole_sums: Callable[[Tensor], Tensor] = lambda sums: sums,
        dropped: Callable[[Tensor | None], Tensor] | None = None,
        extra_jacobians: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return the direction ``[P]`` of a block, and keep what is measured.

        Args:
            block: Number of the block.
            jacobian: The gradients of the active tasks, shape ``[k, P]``, or a part of the columns.
            tasks: The indices of these k tasks.
            whole_sums: Makes sums over all columns from sums over those of ``jacobian``.
            dropped: Makes the direction instead, as in
                :meth:`~mtl_runner.update.aggregators.Aggregation.drop_signs`; None: the aggregator.
            extra_jacobians: The gradients on each of the other batches of the step.
        """
        aggregation = self.of_blocks[block]
        if dropped is None:
            direction, weights = aggregation(jacobian, tasks, whole_sums, extra_jacobians)
        else:
            direction, weights = aggregation.drop_signs(jacobian, tasks, dropped)
        norms = torch.stack([direction.norm(), jacobian.sum(0).norm()])
        self._measured.append((block, weights, norms))
        return direction

    def weights(self) -> Tensor:
        """Return the weights of the rows ``[k]``: the mean over the parameters of all blocks."""
        if len(self._measured) == 1:
            return self._measured[0][1]
        total = sum(self.sizes[block] for block, _, _ in self._measured)
        parts = [self.sizes[block] / total * weights for block, weights, _ in self._measured]
        return torch.stack(parts).sum(0)

    def norms(self) -> Tensor:
        """Return the norms of the direction and of the sum of the rows, over all blocks."""
        norms = [norms for _, _, norms in self._measured]
        return norms[0] if len(norms) == 1 else torch.stack(norms).norm(dim=0)

    def begin_step(self) -> None:
        """Forget what was measured in the step before."""
        self._measured.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the random streams and the states of all blocks, as plain values."""
        first, *later = [aggregation.state_dict() for aggregation in self.of_blocks]
        if not self.first.is_random:
            later = [{"states": state["states"]} for state in later]
        return {**first, **({"later_blocks": later} if later else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        states = [state, *state.get("later_blocks", [])]
        for aggregation, of_block in zip(self.of_blocks, states, strict=True):
            aggregation.load_state_dict({"random": state["random"], **of_block})
