"""Gradients in two passes: T through what each task has alone, and one through what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_runner.gradients import door
from mtl_runner.gradients.door import BatchLosses, Gradients, Lane, Losses
from mtl_runner.gradients.representation import Representation


class TwoPasses:
    """The gradients of one step, with the representation between the passes.

    Of several processes each has the representation of its own rows; gradients of parameters are
    added up over them.

    Args:
        losses: One scalar per task, of all tasks.
        weights: One factor per task, shape ``[T]``.
        tasks: The tasks that take part.

    Attributes:
        edges: The tensors of the representation that some of these tasks uses; known after
            :meth:`through_heads`, as are the rows.
        rows: For each of these tasks the gradient over each of these tensors, zeros where the task
            does not use it.

    Example:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> features = 3 * weight
        >>> losses = [(t * features).sum() for t in (1, 2)]
        >>> passes = TwoPasses(losses, torch.ones(2), (0, 1))
        >>> list(passes.through_heads([[], []]))
        [(), ()]
        >>> [row for (row,) in passes.rows]
        [tensor([1., 1.]), tensor([2., 2.])]
        >>> passes.through_trunk([passes.rows[1][0]], [weight])
        [tensor([6., 6.])]
    """

    def __init__(self, losses: Losses, weights: Tensor, tasks: Sequence[int]) -> None:
        self.over_ranks = losses.over_ranks if isinstance(losses, BatchLosses) else None
        parts: Iterable[Sequence[Tensor]]
        parts = losses.parts() if isinstance(losses, BatchLosses) else [list(losses)]
        (self.losses,) = parts
        self.weights, self.tasks = weights, tasks
        self.representation = Representation.of(self.losses)
        self.edges: list[GradientEdge] = []
        self.rows: list[list[Tensor]] = []

    def through_heads(self, private: Sequence[Sequence[Tensor]]) -> list[Gradients]:
        """Take a pass from each loss to the representation, and keep the rows.

        Args:
            private: For each task that takes part its private parameters.

        Returns:
            Their gradients.
        """
        of_private: list[Gradients] = []
        of_places: list[dict[int, Tensor]] = []
        for t, parameters in zip(self.tasks, private, strict=True):
            places = self.representation.of_tasks[t]
            inputs: list[Tensor | GradientEdge] = [
                *(self.representation.edges[i] for i in places),
                *parameters,
            ]
            gradients: Gradients = [None] * len(inputs)
            if inputs and self.losses[t].requires_grad:
                gradients = door.between([self.losses[t]], inputs, [self.weights[t]])
            pairs = zip(places, gradients, strict=False)
            of_places.append({i: gradient for i, gradient in pairs if gradient is not None})
            of_private.append(gradients[len(places) :])
        examples = {i: gradient for by_place in of_places for i, gradient in by_place.items()}
        self.edges = [self.representation.edges[i] for i in sorted(examples)]
        self.rows = [
            [
                by_place[i] if i in by_place else torch.zeros_like(examples[i])
                for i in sorted(examples)
            ]
            for by_place in of_places
        ]
        if self.over_ranks is None:
            return of_private
        lanes = [Lane((t,), inputs) for t, inputs in zip(self.tasks, private, strict=True)]
        return self.over_ranks.of(lanes, of_private)

    def through_trunk(self, gradients: Sequence[Tensor], columns: Sequence[Tensor]) -> Gradients:
        """Take one pass from the representation to the shared parameters.

        Args:
            gradients: A gradient for each tensor of the representation.
            columns: The shared parameters that are trained.

        Returns:
            Their gradients.
        """
        of_columns = door.between(self.edges, columns, list(gradients))
        if self.over_ranks is not None:
            lanes = [Lane(tuple(self.tasks), columns)]
            (of_columns,) = self.over_ranks.of(lanes, [of_columns])
        return list(of_columns)
