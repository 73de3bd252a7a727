"""One network per task: nothing is shared."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtl_runner.models.mlp import trunk_layers
from mtl_runner.tasks.task import Task


class SeparateMLPs(nn.Module):
    """A fully connected network per task, all with the same hidden widths; nothing is shared.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input; it is flattened.
        hidden: Widths of the hidden layers of each network.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.
        dropout: Share of the numbers that is dropped after each hidden layer.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import SeparateMLPs
        >>> model = SeparateMLPs([Task("a", size=1), Task("b", size=3)], (4,), hidden=[8])
        >>> len(model.nets), tuple(model(torch.zeros(2, 4))["b"].shape)
        (2, (2, 3))
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
        self.task_names = [task.name for task in tasks if task.has_target]
        self.nets = nn.ModuleList()
        for task in tasks:
            if task.has_target:
                layers, width = trunk_layers(input_shape, hidden, activation, dropout)
                self.nets.append(nn.Sequential(*layers, nn.Linear(width, task.size)))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        return {name: net(inputs) for name, net in zip(self.task_names, self.nets, strict=True)}
