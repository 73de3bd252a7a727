"""``share: false``: every task gets its own copy of the whole model, so that nothing is shared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import Task, log_variance_key


class Unshared(nn.Module):
    """One copy of a model per task, all with the same first weights; copy t answers task t.

    Training it with one backward pass equals T runs of the model, each with one task active. The
    heads that a copy does not need stay in it, frozen.

    Args:
        model: The model to copy.
        tasks: The tasks, one per copy.

    Shape:
        Inputs and outputs of the model.

    Raises:
        ConfigError: If a task is a loss term, which needs the outputs of all tasks.

    Example:
        >>> from torch import nn
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import Unshared
        >>> tasks = [Task("a", size=1), Task("b", size=3)]
        >>> model = Unshared(nn.Linear(4, 3), tasks)
        >>> len(model.copies), model.copies[0] is model.copies[1]
        (2, False)
    """

    def __init__(self, model: nn.Module, tasks: Sequence[Task]) -> None:
        super().__init__()
        for task in tasks:
            if not task.has_target:
                raise ConfigError(
                    f"share=false copies the model per task, but the loss term {task.name!r} needs the outputs of all; use share=true."
                )
        self.task_names = [task.name for task in tasks]
        self.copies = nn.ModuleList(copy.deepcopy(model) for _ in tasks)

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        """Return the output of each task, and its log-variance where the model predicts it."""
        outputs: dict[str, Tensor] = {}
        for name, model in zip(self.task_names, self.copies, strict=True):
            answers = model(inputs)
            outputs |= {
                key: answers[key] for key in (name, log_variance_key(name)) if key in answers
            }
        return outputs
