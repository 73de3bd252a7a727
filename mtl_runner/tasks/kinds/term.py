"""Loss terms: callables of all outputs and all targets, tasks without a target."""

from __future__ import annotations

from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import Kind, Noise


class Term(Kind):
    """What a callable of the user's says; there is no output, target or metric that belongs to it."""

    name = "term"
    noise = Noise("", 0.5, 0.5)
    has_target = False

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        raise TypeError(f"The loss term {task.name!r} has no entries; its callable gives the loss.")

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        raise TypeError(f"The loss term {task.name!r} has no trivial predictor.")
