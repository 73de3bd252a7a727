"""The tasks that take part in a step, and how much each does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Active:
    """How active each of the T tasks is in one step.

    The values are plain numbers, known before the step begins, so that no step has to wait for the
    device to decide what to compute. An inactive task gets no gradient at all.

    Attributes:
        values: One number in [0, 1] per task: 0 is inactive, 1 is fully active.
        labelled: Whether each task has a label in the batch; None: all have. A task without a label
            is inactive, whatever the schedule says.

    Example:
        >>> active = Active((1.0, 0.0, 0.5))
        >>> active.tasks, active.none_idle, active.partial
        ((0, 2), False, True)
        >>> active.tensor(torch.zeros(3))
        tensor([1.0000, 0.0000, 0.5000])
    """

    values: tuple[float, ...]
    labelled: tuple[bool, ...] | None = None

    @cached_property
    def tasks(self) -> tuple[int, ...]:
        """Indices of the active tasks."""
        return tuple(i for i, value in enumerate(self.values) if value > 0)

    @cached_property
    def none_idle(self) -> bool:
        """Whether every task is active."""
        return len(self.tasks) == len(self.values)

    @cached_property
    def none_if_all(self) -> Active | None:
        """None if every task is active, else the object itself.

        Every task is active in most steps; weightings then skip all indexing.
        """
        return None if self.none_idle else self

    @classmethod
    def all(cls, tasks: int) -> Active:
        """Return full activity for a number of tasks."""
        return cls((1.0,) * tasks)

    @cached_property
    def partial(self) -> bool:
        """Whether some task is active in part, as on a ramp."""
        return any(0 < value < 1 for value in self.values)

    def tensor(self, like: Tensor) -> Tensor:
        """Return the values as a tensor ``[T]`` of the type and on the device of another tensor."""
        key = f"_{like.device}_{like.dtype}"
        if key not in self.__dict__:
            self.__dict__[key] = torch.tensor(self.values, dtype=like.dtype, device=like.device)
        return self.__dict__[key]  # type: ignore[no-any-return]

    def index(self, device: torch.device) -> Tensor:
        """Return the indices of the active tasks as a tensor on a device."""
        key = f"_index_{device}"
        if key not in self.__dict__:
            self.__dict__[key] = torch.tensor(self.tasks, device=device)
        return self.__dict__[key]  # type: ignore[no-any-return]
