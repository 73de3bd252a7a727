"""One network per task: nothing is shared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mtl_runner.models.mlp import trunk
from mtl_runner.task import Task


class SeparateMLPs(nn.Module):
    """A fully connected network per task, all with the same hidden widths.

    Args and shape as :class:`~mtl_runner.models.mlp.MLP`.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        hidden: Sequence[int] = (64,),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = [task.name for task in tasks if task.has_target]
        width = math.prod(input_shape)
        flatten = [nn.Flatten()] if len(input_shape) > 1 else []
        self.nets = nn.ModuleList(
            nn.Sequential(
                *flatten,
                *trunk(width, hidden, activation, dropout),
                nn.Linear(hidden[-1] if hidden else width, task.size),
            )
            for task in tasks
            if task.has_target
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: net(inputs) for name, net in zip(self.names, self.nets, strict=True)}
