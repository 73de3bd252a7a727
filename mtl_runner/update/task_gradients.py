"""The tasks' gradients over the shared parameters as rows of matrices, one per block of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.gradients import door
from mtl_runner.gradients.door import BatchLosses, Gradients, Lane, Losses
from mtl_runner.gradients.layout import as_row, laid_out_like
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.gradients.shards import like_parameter, local_part
from mtl_runner.gradients.stages import Stages
from mtl_runner.tasks.activity import Active
from mtl_runner.update.held_weights import HeldWeights

# So few numbers of gradients come at once, 16 MB in single precision: the backward passes of small
# models would take longer block by block.
FEW_NUMBERS = 2**22


class TaskGradients:
    """Splits the gradient of each weighted loss into shared rows and a private part.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        tasks: Number of tasks.
        blocks: Which shared parameters make one matrix, as in
            :func:`~mtl_runner.gradients.blocks.blocks_of`.

    Attributes:
        shared: The parameters that two or more tasks reach.
        blocks: The same parameters by blocks.
        private: For each task, the parameters that it alone reaches.

    Raises:
        ConfigError: If the kind of blocks is unknown.

    Example:
        >>> point = nn.Parameter(torch.ones(2))
        >>> gradients = TaskGradients(Parameters([point], [frozenset({0, 1})]), tasks=2)
        >>> losses, weights = [point[0], point.sum()], torch.tensor([1.0, 3.0])
        >>> list(gradients.jacobians(losses, weights, Active.all(2)))
        [(0, tensor([[1., 0.],
                [3., 3.]]))]
    """

    def __init__(self, parameters: Parameters, tasks: int, blocks: str = "whole") -> None:
        self.shared: list[nn.Parameter] = parameters.shared
        self.blocks = parameters.shared_blocks(blocks)
        self.parameters = parameters
        pairs = list(zip(parameters.tensors, parameters.owners, strict=True))
        self.private = [[p for p, owner in pairs if owner == {t}] for t in range(tasks)]

    @property
    def columns(self) -> list[nn.Parameter]:
        """The shared parameters that are not frozen, the columns of the matrices."""
        return trained_now(self.shared)

    def whole_sums(self) -> Callable[[Tensor], Tensor]:
        """Return what makes sums over all columns from those of this process."""
        return self.parameters.whole_sums

    def whole_norms(self, norms: Tensor) -> Tensor:
        """Return norms over all columns, from those over the columns of this process."""
        return self.parameters.whole_norms(norms)

    def jacobians(
        self, losses: Losses, weights: Tensor, active: Active, with_private: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the matrix of each block, and give the private parameters their gradients.

        The matrix of one block is there at a time, and so are the
        gradients that it is copied from, unless these have few numbers in all, the batch comes in
        parts or the model is shared out (:class:`~mtl_runner.gradients.stages.Stages`).

        Args:
            losses: One scalar per task.
            weights: One factor per task, shape ``[T]``.
            active: The tasks that take part.
            with_private: Whether the private parameters get theirs.

        Yields:
            The number of a block that is not frozen, and its gradients ``[k, P]``, one row per
            active task; of sharded parameters the part that is here.
        """
        private = [trained_now(self.private[t]) if with_private else [] for t in active.tasks]
        blocks = {
            b: columns for b, block in enumerate(self.blocks) if (columns := trained_now(block))
        }
        numbers = len(active.tasks) * sum(p.numel() for block in blocks.values() for p in block)
        if len(blocks) > 1 and numbers > FEW_NUMBERS and not isinstance(losses, BatchLosses):
            yield from self._in_stages(blocks, losses, weights, active, private)
            return
        columns = [parameter for block in blocks.values() for parameter in block]
        rows: dict[int, list[Tensor]] = {b: [] for b in blocks}
        for gradients in self._of_tasks(columns, losses, weights, active, private):
            start = 0
            for b, block in blocks.items():
                rows[b].append(as_row(gradients[start : start + len(block)], block))
                start += len(block)
            del gradients
        for b in blocks:
            yield b, torch.stack(rows.pop(b))

    def _in_stages(
        self,
        blocks: dict[int, list[nn.Parameter]],
        losses: Sequence[Tensor] | Tensor,
        weights: Tensor,
        active: Active,
        private: list[list[nn.Parameter]],
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the matrices while the gradients of one block are there at a time."""
        numbers = list(blocks)
        stages = Stages(
            [losses[t] for t in active.tasks],
            [weights[t] for t in active.tasks],
            list(blocks.values()),
            private,
        )
        for number, gradients in stages:
            if number < len(blocks):
                columns = blocks[numbers[number]]
                rows = [as_row(of_task, columns) for of_task in gradients]
                del gradients
                yield numbers[number], torch.stack(rows)
                del rows
            else:
                k = number - len(blocks)
                assign(private[k], gradients[k])

    def _of_tasks(
        self,
        columns: list[nn.Parameter],
        losses: Losses,
        weights: Tensor,
        active: Active,
        private: list[list[nn.Parameter]],
    ) -> Iterator[Gradients]:
        """Yield the columns' gradients by task; private parameters get theirs at once."""
        lanes = [
            Lane((t,), [*columns, *of_task], weights)
            for t, of_task in zip(active.tasks, private, strict=True)
        ]
        for of_task, gradients in zip(private, door.of(losses, lanes), strict=True):
            assign(of_task, gradients[len(columns) :])
            yield gradients[: len(columns)]

    def take_sum(self, losses: Losses, weights: Tensor, held: HeldWeights) -> None:
        """Give all parameters their gradients by one backward pass, with weights that are known.

        The pass is that of the sum in which every loss has the weight of its row, too; what that
        does to a private parameter is taken out again. Tasks whose rows have almost no weight get
        the gradients of their private parameters by a pass of their own, through these alone.

        Args:
            losses: One scalar per task.
            weights: One factor per task, shape ``[T]``.
            held: The weights of the rows of the active tasks.
        """
        private = {t: trained_now(self.private[t]) for t in held.tasks}
        small = [t for t in held.small if private[t]]
        # One pass for all of them: each parameter has a gradient from its own task alone.
        of_small = [parameter for t in small for parameter in private[t]]
        lane = Lane(small, of_small, weights)
        gradients = list(door.of(losses, [lane], keep=True)) if small else []
        trained = [*self.columns, *(p for parameters in private.values() for p in parameters)]
        door.into(losses, held.factors(weights), held.tasks, trained)
        assign(trained, [parameter.grad for parameter in trained])
        for t, row in zip(held.tasks, held.rows.unbind(), strict=True):
            if t not in small:
                for parameter in private[t]:
                    assert parameter.grad is not None
                    parameter.grad.div_(row)
        for of_lane in gradients:
            assign(of_small, of_lane)

    def assign(self, block: int, vector: Tensor) -> None:
        """Give the columns of a block their parts of a vector ``[P]`` as gradients."""
        columns = trained_now(self.blocks[block])
        local = [local_part(parameter) for parameter in columns]
        parts = torch.split(vector, [tensor.numel() for tensor in local])
        for parameter, tensor, part in zip(columns, local, parts, strict=True):
            gradient = like_parameter(part.view_as(tensor), parameter)
            parameter.grad = laid_out_like(gradient, parameter)


def assign(parameters: list[nn.Parameter], gradients: Gradients) -> None:
    """Give parameters their gradients, zeros where there are none."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = (
            torch.zeros_like(parameter) if gradient is None else laid_out_like(gradient, parameter)
        )
