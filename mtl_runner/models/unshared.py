"""``share: false``: every task gets its own copy of the whole model, so that nothing is shared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import Task, log_variance_key


class Unshared(nn.Module):
    """One copy of a model per task, each starting from the same weights; copy t answers for task t alone.

    Training it with one backward pass equals T runs of the model, each with one task active. The heads that a copy does not
    need stay in it, frozen.
    """

    def __init__(self, model: nn.Module, tasks: Sequence[Task]) -> None:
        super().__init__()
        for task in tasks:
            if not task.has_target:
                raise ConfigError(
                    f"share=false copies the model per task, but the loss term {task.name!r} needs the outputs of all; use share=true."
                )
        self.names = [task.name for task in tasks]
        self.copies = nn.ModuleList(copy.deepcopy(model) for _ in tasks)

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        for name, model in zip(self.names, self.copies, strict=True):
            found = model(inputs)
            outputs |= {key: found[key] for key in (name, log_variance_key(name)) if key in found}
        return outputs
