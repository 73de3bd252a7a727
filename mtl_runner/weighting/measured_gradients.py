"""The base class of weightings whose weights are set every few steps, by measured gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors.checks import whole_number
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Derivatives, Weighting


class MeasuredGradients(Weighting):
    """Base class of weightings that measure the tasks' gradients every few steps.

    The objective is the weighted sum of the losses. The weights start at 1 and stay as they are
    between two measurements. What is measured is said by the protocol that a subclass has.

    Args:
        tasks: The tasks, in the order of the losses.
        every: The number of steps from one measurement to the next; the first step has one.

    Raises:
        ConfigError: If ``every`` is not a whole number of at least 1.
    """

    needs_losses = False
    task_weights: Tensor

    def __init__(self, tasks: Sequence[Task], every: int) -> None:
        super().__init__(tasks)
        self.every = whole_number(every, "weighting.every", 1)
        self._steps = 0
        ones = torch.ones(len(self.tasks), dtype=torch.get_default_dtype())
        self.register_buffer("task_weights", ones)

    def measures_now(self) -> bool:
        """Return whether this step measures gradients, and count the step; called at every one."""
        self._steps += 1
        return (self._steps - 1) % self.every == 0

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weighted sum of the active tasks' losses ``[k]``, a scalar."""
        return torch.dot(self._weights(active), losses)

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return objective and weights, which are constants to autograd."""
        weights = self._weights(active)
        return torch.dot(weights, losses), weights, ()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of steps so far, for a checkpoint."""
        return {"steps": self._steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's number of steps."""
        self._steps = state["steps"]

    def _weights(self, active: Active | None) -> Tensor:
        """Return the weights of the active tasks ``[k]``."""
        if active is None:
            return self.task_weights.clone()
        return self.task_weights[active.index(self.task_weights.device)]
