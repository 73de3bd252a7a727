"""Base of the aggregators that remember something of every task from step to step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

#: Makes sums over all columns from sums over those that this process has.
WholeSums = Callable[[Tensor], Tensor]


class StatefulAggregator(ABC):
    """An aggregator with a state per task, of which one instance serves every set of active tasks.

    What it remembers of a task that is idle stays as it is. A subclass names its state in
    ``state_names``: tensors whose first dimension is the task, or None before the first step.

    Args:
        tasks: Number of tasks.

    Attributes:
        batches: Number of independent batches that a step takes; the gradients of each are rows.

    Example:
        >>> class Latest(StatefulAggregator):
        ...     state_names = ("rows",)
        ...     rows = None
        ...
        ...     def __call__(self, batches, tasks, whole_sums):
        ...         self.rows = self.kept(self.rows, batches[0], width=batches[0].shape[1])
        ...         self.rows[self.index(tasks, batches[0])] = batches[0]
        ...         return batches[0].sum(0), torch.ones(len(tasks))
        >>> latest = Latest(tasks=3)
        >>> _ = latest([torch.ones(2, 1)], (0, 2), lambda sums: sums)
        >>> latest.state()["rows"].T
        tensor([[1., 0., 1.]])
    """

    batches: ClassVar[int] = 1
    state_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        self._indices: dict[tuple[int, ...], Tensor] = {}

    @abstractmethod
    def __call__(
        self, batches: Sequence[Tensor], tasks: tuple[int, ...], whole_sums: WholeSums
    ) -> tuple[Tensor, Tensor]:
        """Return the direction ``[P]`` and the weights ``[k]``, and move the state.

        Args:
            batches: For each batch of the step the gradients of the active tasks, ``[k, P]``, or a
                part of the columns; the first batch is the one whose losses are recorded.
            tasks: The indices of these k tasks.
            whole_sums: Makes sums over all columns from sums over those of the rows.
        """

    def index(self, tasks: tuple[int, ...], like: Tensor) -> Tensor:
        """Return the indices of tasks on the device of a tensor."""
        if tasks not in self._indices:
            self._indices[tasks] = torch.tensor(tasks, device=like.device)
        return self._indices[tasks]

    def kept(self, state: Tensor | None, like: Tensor, width: int) -> Tensor:
        """Return a state ``[T, width]`` as it is, or zeros where it does not fit the rows.

        It does not fit before the first step, and when parameters begin to train.

        Args:
            state: The state; None before the first step.
            like: A tensor of the type and on the device of the rows.
            width: Numbers per task.
        """
        if state is None or state.shape[1] != width:
            return like.new_zeros((self.tasks, width))
        return state.to(like)

    def of_active(self, state: Tensor, index: Tensor) -> Tensor:
        """Return the rows of a state that belong to some tasks; without a copy if these are all.

        Args:
            state: The state ``[T, ...]``.
            index: The indices of the tasks ``[k]``, in their order.
        """
        return state if len(index) == self.tasks else state[index]

    def with_active(self, state: Tensor, index: Tensor, values: Tensor) -> Tensor:
        """Return a state with other rows for some tasks; without a copy if these are all.

        Args:
            state: The state ``[T, ...]``.
            index: The indices of the tasks ``[k]``, in their order.
            values: Their rows ``[k, ...]``.
        """
        return values if len(index) == self.tasks else state.index_copy(0, index, values)

    def state(self) -> dict[str, Any]:
        """Return the state as tensors by name, for a checkpoint; empty before the first step."""
        state = {name: getattr(self, name) for name in self.state_names}
        return {name: value for name, value in state.items() if value is not None}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        for name, value in state.items():
            setattr(self, name, value)
