"""Which tasks take part in a step, and how much; known on the host before the step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Active:
    """How active each of the T tasks is in a step, in [0, 1], known on the host before the step.

    ``labelled`` says which tasks have a label in the batch; one without is idle, whatever the schedule says.
    """

    values: tuple[float, ...]
    labelled: tuple[bool, ...] | None = None  # None: all

    @cached_property
    def tasks(self) -> tuple[int, ...]:
        """Indices of the tasks that take part."""
        return tuple(i for i, value in enumerate(self.values) if value > 0)

    @cached_property
    def everyone(self) -> bool:
        """Whether no task is idle."""
        return len(self.tasks) == len(self.values)

    @cached_property
    def none_if_all(self) -> Active | None:
        """Itself if some task is idle, else None: the usual case, in which a weighting need not look anything up."""
        return None if self.everyone else self

    @classmethod
    def all(cls, tasks: int) -> Active:
        """Every one of so many tasks."""
        return cls((1.0,) * tasks)

    @cached_property
    def partial(self) -> bool:
        """Whether some task is active in part, as on a ramp."""
        return any(0 < value < 1 for value in self.values)

    def tensor(self, like: Tensor) -> Tensor:
        """The values ``[T]`` on a tensor's device, copied there once."""
        key = f"_{like.device}_{like.dtype}"
        if key not in self.__dict__:
            self.__dict__[key] = torch.tensor(self.values, dtype=like.dtype, device=like.device)
        return self.__dict__[key]  # type: ignore[no-any-return]

    def index(self, device: torch.device) -> Tensor:
        """The indices of the active tasks on a device, copied there once."""
        key = f"_index_{device}"
        if key not in self.__dict__:
            self.__dict__[key] = torch.tensor(self.tasks, device=device)
        return self.__dict__[key]  # type: ignore[no-any-return]
