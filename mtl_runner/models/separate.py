"""One network per task: nothing is shared."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtl_runner.models.mlp import trunk
from mtl_runner.tasks.task import Task


class SeparateMLPs(nn.Module):
    """A fully connected network per task, all with the same hidden widths.

    Args and shape as :class:`~mtl_runner.models.mlp.MLP`.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        hidden: Sequence[int] = (1024,),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = [task.name for task in tasks if task.has_target]
        self.nets = nn.ModuleList()
        for task in tasks:
            if task.has_target:
                layers, width = trunk(input_shape, hidden, activation, dropout)
                self.nets.append(nn.Sequential(*layers, nn.Linear(width, task.size)))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: net(inputs) for name, net in zip(self.names, self.nets, strict=True)}
