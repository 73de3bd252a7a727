"""The one door for gradients: every gradient of a loss is asked for here.

Behind it lie the sum over the parts of a batch (``trainer.accumulate``), the sum over the processes
of a run (``trainer.devices``), each of which may have a part of every parameter
(``trainer.parallel=fsdp``), and the scale of half precision (``trainer.precision=fp16``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.layout import laid_out_like
from mtl_runner.gradients.loss_scale import LossScale
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.gradients.shards import Shards, is_sharded

#: One gradient per input of a lane; None where no loss of the lane reaches the input, or it is
#: frozen (``requires_grad=False``).
Gradients = Sequence[Tensor | None]


@dataclass(slots=True)
class Lane:
    """One gradient that is asked for: of the sum of some tasks' losses, times their factors.

    Attributes:
        tasks: Indices of the tasks.
        inputs: The parameters with respect to which it is taken.
        factors: One factor per task of the run, shape ``[T]``; None: 1 each.
    """

    tasks: Sequence[int]
    inputs: Sequence[Tensor]
    factors: Tensor | None = None


@dataclass(frozen=True)
class SumOverRanks:
    """Adds up gradients over the processes of a run.

    Which gradients there are is said by the graph of the first batch, and not by what a process
    happens to find: a gradient that one has and another has not would shift the message.

    Attributes:
        ranks: The processes.
        owners: For each trained tensor the tasks whose loss reaches it.
        shards: The parameters of the model, where every process has a part of each: backward passes
            add up their gradients themselves. None: every process has all of them.
    """

    ranks: Ranks
    owners: Mapping[Tensor, frozenset[int]]
    shards: Shards | None = None

    def of(self, lanes: Sequence[Lane], gradients: Sequence[Gradients]) -> list[Gradients]:
        """Return the gradients of lanes, added up over the processes by one message.

        Args:
            lanes: The lanes.
            gradients: Those of this process, for each lane.
        """
        places: list[tuple[int, int]] = []
        message: list[Tensor] = []
        sums: list[list[Tensor | None]] = [[None] * len(lane.inputs) for lane in lanes]
        for i, lane in enumerate(lanes):
            tasks = frozenset(lane.tasks)
            for k, tensor in enumerate(lane.inputs):
                if is_sharded(tensor):
                    sums[i][k] = gradients[i][k]
                # A frozen tensor is frozen in every process.
                elif tensor.requires_grad and tasks & self.owners.get(tensor, tasks):
                    gradient = gradients[i][k]
                    places.append((i, k))
                    message.append(torch.zeros_like(tensor) if gradient is None else gradient)
        for (i, k), total in zip(places, self.ranks.sum_together(message), strict=True):
            sums[i][k] = total
        return list(sums)


class BatchLosses(Sequence[Tensor]):
    """The losses of a batch whose gradients take more than one plain backward pass.

    It stands where a list of scalars stands otherwise, and only the door looks into it.

    Args:
        values: The losses of the whole batch ``[T]``, without a graph, when asked for.
        parts: Computes the parts of the batch one after another; each yields its share of every
            loss, with a graph, and the shares of all parts add up to the losses.
        tasks: Number of tasks T.
        scale: The scale of half precision; None: none.
        keeps_graphs: Whether the parts are the same graphs at every call, so that one that is
            asked for again must be kept.
        over_ranks: Adds up over the processes of a run, each of which has some of the parts; None:
            this process has them all.

    Example:
        >>> point = torch.ones(2, requires_grad=True)
        >>> halves = lambda: ([point[i] ** 2] for i in range(2))
        >>> losses = BatchLosses(lambda: torch.tensor([2.0]), halves, tasks=1)
        >>> list(of(losses, [Lane((0,), [point])]))
        [[tensor([2., 2.])]]
    """

    def __init__(
        self,
        values: Callable[[], Tensor],
        parts: Callable[[], Iterable[Sequence[Tensor]]],
        tasks: int,
        scale: LossScale | None = None,
        keeps_graphs: bool = False,
        over_ranks: SumOverRanks | None = None,
    ) -> None:
        self.values, self.parts, self.tasks = values, parts, tasks
        self.scale, self.keeps_graphs = scale, keeps_graphs
        self.over_ranks = over_ranks

    @property
    def shards(self) -> Shards | None:
        """The parameters of the model, where every process has a part of each."""
        return None if self.over_ranks is None else self.over_ranks.shards

    def __len__(self) -> int:
        return self.tasks

    def __getitem__(self, index: object) -> NoReturn:
        """Refuse to give single losses, which have no graph of the whole batch.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "With trainer.accumulate, trainer.devices or trainer.precision=fp16 the losses of a batch have no graph of their own; take gradients by `into` and `of` of mtl_runner.gradients.door."
        )


#: One scalar per task. A list of separate graphs spares idle tasks the backward pass.
Losses = Sequence[Tensor] | Tensor | BatchLosses


def into(
    losses: Losses, weights: Tensor, tasks: Sequence[int], parameters: Sequence[Tensor]
) -> None:
    """Add the gradient of the weighted sum of some losses to ``.grad``, and free the graphs.

    Args:
        losses: One scalar per task.
        weights: One factor per task, shape ``[T]``.
        tasks: Indices of the tasks that count.
        parameters: The parameters that are trained, whose ``.grad`` is empty before.

    Raises:
        GradientOverflowError: In half precision, if a gradient is not finite.

    Example:
        >>> point = torch.ones(2, requires_grad=True)
        >>> into([point[0], point[1]], torch.tensor([3.0, 1.0]), (0, 1), [point])
        >>> point.grad
        tensor([3., 1.])
    """
    if not isinstance(losses, BatchLosses):
        _backward(losses, weights, tasks)
        return
    if losses.scale is not None:
        weights = weights * losses.scale.value
    for part in losses.parts():
        _backward(part, weights, tasks)
        del part  # or its graph would live while the next part is computed
    gradients: Gradients = [p.grad for p in parameters]
    if losses.over_ranks is not None:
        (gradients,) = losses.over_ranks.of([Lane(tasks, parameters)], [gradients])
    if losses.scale is not None:
        gradients = losses.scale.removed(gradients)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = laid_out_like(gradient, parameter)


def of(losses: Losses, lanes: Sequence[Lane], keep: bool = False) -> Iterator[Gradients]:
    """Yield the gradients of lanes, one lane after another where that saves memory.

    Args:
        losses: One scalar per task.
        lanes: The gradients that are wanted.
        keep: Whether gradients of the same losses are asked for again.

    Yields:
        The gradients of each lane.

    Raises:
        GradientOverflowError: In half precision, if a gradient is not finite.

    Example:
        >>> point = torch.ones(2, requires_grad=True)
        >>> list(of([point[0], 2 * point[1]], [Lane((t,), [point]) for t in range(2)]))
        [(tensor([1., 0.]),), (tensor([0., 2.]),)]
    """
    if not isinstance(losses, BatchLosses):
        yield from _of_part(losses, lanes, keep)
        return
    scale = losses.scale
    if scale is not None:
        lanes = [scaled(lane, scale.value, len(losses)) for lane in lanes]
    sums: list[Gradients] = []
    for part in losses.parts():
        gradients = list(_of_part(part, lanes, keep and losses.keeps_graphs, losses.shards))
        del part  # or its graph would live while the next part is computed
        sums = [_add(*pair) for pair in zip(sums, gradients, strict=True)] if sums else gradients
    if losses.over_ranks is not None:
        sums = losses.over_ranks.of(lanes, sums)
    while sums:
        summed = sums.pop(0)
        yield summed if scale is None else scale.removed(summed)


def between(
    roots: Sequence[Tensor | GradientEdge],
    inputs: Sequence[Tensor | GradientEdge],
    factors: Sequence[Tensor],
    keep: bool = False,
) -> Gradients:
    """Return gradients from some tensors of a graph to others, and free what lies between.

    Args:
        roots: Tensors with a graph, or their places in it.
        inputs: Tensors, or places, before them.
        factors: The gradient of each root.
        keep: Whether what lies between is passed again.

    Returns:
        One gradient per input; None where no root reaches it.

    Example:
        >>> point = torch.ones(2, requires_grad=True)
        >>> between([3 * point], [point], [torch.tensor([1.0, 2.0])])
        (tensor([3., 6.]),)
    """
    # torch takes tensors and places of a graph in one list, which its types do not say.
    of_inputs: Gradients = torch.autograd.grad(
        cast("Any", roots),
        cast("Any", inputs),
        factors,
        retain_graph=keep,
        allow_unused=True,
    )
    return of_inputs


def values_of(losses: Losses) -> Tensor:
    """Return the losses as one tensor ``[T]`` without a graph.

    Example:
        >>> values_of([torch.tensor(2.0), torch.tensor(1.0)])
        tensor([2., 1.])
    """
    if isinstance(losses, BatchLosses):
        return losses.values()
    return torch.stack([loss.detach() for loss in losses])


def scaled(lane: Lane, scale: float, tasks: int) -> Lane:
    """Return a lane with its factors multiplied by a number.

    Args:
        lane: The lane.
        scale: The number.
        tasks: Number of tasks T.
    """
    like = lane.inputs[0]
    factors = like.new_ones(tasks) if lane.factors is None else lane.factors
    return Lane(lane.tasks, lane.inputs, factors * scale)


def _backward(losses: Sequence[Tensor] | Tensor, weights: Tensor, tasks: Sequence[int]) -> None:
    """Take one backward pass of the weighted sum of some losses."""
    if len(tasks) == len(losses):
        torch.autograd.backward(list(losses), list(weights.unbind()))
    else:
        torch.autograd.backward([losses[t] for t in tasks], [weights[t] for t in tasks])


def _of_part(
    losses: Sequence[Tensor] | Tensor,
    lanes: Sequence[Lane],
    keep: bool,
    shards: Shards | None = None,
) -> Iterator[Gradients]:
    """Yield the gradients of lanes, of losses with a graph; the last lane frees it, or not."""
    for i, lane in enumerate(lanes):
        # A loss may reach no parameter at all, and an input may be frozen.
        tasks = [t for t in lane.tasks if losses[t].requires_grad]
        inputs = [parameter for parameter in lane.inputs if parameter.requires_grad]
        factors = None if lane.factors is None else [lane.factors[t] for t in tasks]
        retain_graph = keep or i + 1 < len(lanes)
        gradients: Gradients
        if not (tasks and inputs):
            gradients = [None] * len(inputs)
        elif shards is not None and is_sharded(inputs[0]):
            # Only a backward pass adds the gradients up, which all processes take together.
            with shards.without_gradients():
                torch.autograd.backward(
                    [losses[t] for t in tasks], factors, retain_graph=retain_graph
                )
                gradients = [parameter.grad for parameter in inputs]
        else:
            gradients = torch.autograd.grad(
                [losses[t] for t in tasks],
                inputs,
                factors,
                retain_graph=retain_graph,
                allow_unused=True,
            )
        if len(inputs) < len(lane.inputs):
            of_trained = iter(gradients)
            gradients = [next(of_trained) if p.requires_grad else None for p in lane.inputs]
        yield gradients


def _add(total: Gradients, gradients: Gradients) -> Gradients:
    """Return the sums of gradients of two parts; None is a gradient that there is not."""
    return [
        a if b is None else b if a is None else a + b for a, b in zip(total, gradients, strict=True)
    ]
