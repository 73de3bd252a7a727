"""The base class of weightings that remember the losses of the steps before."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.base import Derivatives, Weighting


class StepMemory(Weighting):
    """Base class of weightings whose weights rest on the losses of all steps so far.

    The objective is the weighted sum of the losses. The memory lies in buffers with a number per
    task. A step first computes its weights (:meth:`weights`) and then takes note of its losses
    (:meth:`remember`), in train mode only. Both must be pure tensor code; with
    ``replica_options`` set, such a weighting stacks.

    Args:
        tasks: The tasks, in the order of the losses.

    Example:
        >>> from mtl_runner.tasks.task import Task
        >>> class Largest(StepMemory):
        ...     def __init__(self, tasks):
        ...         super().__init__(tasks)
        ...         self.register_buffer("largest", torch.zeros(len(tasks)))
        ...     def weights(self, losses, active=None):
        ...         return torch.maximum(losses, self.of_active(self.largest, active))
        ...     def remember(self, losses, weights, active=None):
        ...         return {"largest": self.with_active(self.largest, weights, active)}
        >>> weighting = Largest([Task("a"), Task("b")])
        >>> for losses in ([3.0, 1.0], [2.0, 2.0]):
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights, objective
        (tensor([3., 2.]), tensor(10.))
    """

    @abstractmethod
    def weights(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weights of the active tasks, shape ``[k]``.

        Args:
            losses: The losses of the active tasks, shape ``[k]``, without a graph.
            active: Which tasks these are; None if all T tasks are active.
        """

    @abstractmethod
    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        """Return the new values ``[T]`` of the buffers by name, once the weights are known.

        Args:
            losses: The losses of the active tasks, shape ``[k]``, without a graph.
            weights: Their weights in this step, shape ``[k]``.
            active: Which tasks these are; None if all T tasks are active.
        """

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weighted sum of the active tasks' losses ``[k]``; in train mode, note them."""
        return torch.dot(self._step(losses.detach(), active), losses)

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return objective and weights, which are constants to autograd."""
        weights = self._step(losses, active)
        return torch.dot(weights, losses), weights, ()

    @torch.no_grad()
    def _step(self, losses: Tensor, active: Active | None) -> Tensor:
        """Return the weights of a step, and in train mode take note of its losses."""
        # A copy, since they may be a part of the memory that changes now.
        weights = self.weights(losses, active).clone()
        if self.training:
            for name, value in self.remember(losses, weights, active).items():
                self.get_buffer(name).copy_(value)
        return weights

    def of_active(self, memory: Tensor, active: Active | None) -> Tensor:
        """Return the entries ``[k]`` of the active tasks.

        Args:
            memory: A number per task, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        return memory if active is None else memory[active.index(memory.device)]

    def with_active(self, memory: Tensor, values: Tensor, active: Active | None) -> Tensor:
        """Return a memory ``[T]`` with new entries for the active tasks.

        Args:
            memory: A number per task, shape ``[T]``, which is left alone.
            values: The new entries of the active tasks, shape ``[k]``.
            active: Which tasks are active; None if all are.
        """
        if active is None:
            return values
        return memory.index_copy(0, active.index(memory.device), values)

    def add_memory(self, *names: str) -> None:
        """Add buffers with a zero per task, which a checkpoint holds.

        Args:
            *names: Their names.
        """
        for name in names:
            zeros = torch.zeros(len(self.tasks), dtype=torch.get_default_dtype())
            self.register_buffer(name, zeros)
