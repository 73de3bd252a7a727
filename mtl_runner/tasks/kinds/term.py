"""Loss terms: any function of all outputs and all targets, as a task without a target."""

from __future__ import annotations

from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import Kind, Noise


class Term(Kind):
    """A loss given by a user's function of all outputs and all targets.

    It has no output, no target and no metric; its function may bring metrics of its own.

    Example:
        >>> from mtl_runner import Task
        >>> def agree(outputs, targets):
        ...     return (outputs["a"] - outputs["b"]).square().mean()
        >>> Task("agree", "term", loss_term=agree).has_target
        False
    """

    name = "term"
    noise = Noise("", 0.5, 0.5)
    has_target = False

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Raise ``TypeError``: a loss term has no entries."""
        raise TypeError(f"The loss term {task.name!r} has no entries; its callable gives the loss.")

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Raise ``TypeError``: a loss term has no output."""
        raise TypeError(f"The loss term {task.name!r} has no trivial predictor.")
