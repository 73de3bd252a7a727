"""A shared trunk of fully connected layers with one linear head per task."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, fraction, is_whole_number
from mtl_runner.models.trunk import Trunk
from mtl_runner.tasks.task import Task

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def trunk_layers(
    input_shape: Sequence[int], hidden: Sequence[int], activation: str, dropout: float
) -> tuple[list[nn.Module], int]:
    """Return fully connected layers, and the width that they end in.

    Args:
        input_shape: Shape of one input; more than one axis is flattened.
        hidden: Widths of the layers.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``, after each layer.
        dropout: Share of the numbers that is dropped after each activation; 0 makes no such layer.

    Raises:
        ConfigError: If an option is impossible; the sentence names it as an option of ``model``.

    Example:
        >>> from mtl_runner.models.mlp import trunk_layers
        >>> layers, width = trunk_layers((8, 8), hidden=[32], activation="relu", dropout=0.0)
        >>> [type(layer).__name__ for layer in layers], width
        (['Flatten', 'Linear', 'ReLU'], 32)
    """
    stages, width = trunk_stages(input_shape, hidden, activation, dropout)
    return [layer for stage in stages for layer in stage], width


def trunk_stages(
    input_shape: Sequence[int], hidden: Sequence[int], activation: str, dropout: float
) -> tuple[list[list[nn.Module]], int]:
    """Return fully connected layers, one stage per width, and the width that they end in.

    Arguments and errors are those of :func:`trunk_layers`.
    """
    choice(activation, "model.activation", ACTIVATIONS)
    if not isinstance(hidden, Sequence) or not all(is_whole_number(width, 1) for width in hidden):
        raise ConfigError(
            f"model.hidden must be a list of positive widths, e.g. [64, 64]; found {hidden!r}."
        )
    fraction(dropout, "model.dropout", one_allowed=False)
    stages: list[list[nn.Module]] = []
    width_before = math.prod(input_shape)
    for width in hidden:
        stages.append([nn.Linear(width_before, width), ACTIVATIONS[activation]()])
        if dropout:
            stages[-1].append(nn.Dropout(dropout))
        width_before = width
    if len(input_shape) > 1:
        stages[:1] = [[nn.Flatten(), *(stages[0] if stages else [])]]
    return stages, width_before


class MLPTrunk(Trunk):
    """Fully connected layers from inputs to features: a stage per width.

    Args:
        input_shape: Shape of one input; it is flattened.
        hidden: Widths of the layers.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.
        dropout: Share of the numbers that is dropped after each layer.

    Shape:
        Inputs ``[N, *input_shape]``, features ``[N, width of the last layer]``.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner.models import MLPTrunk
        >>> trunk = MLPTrunk((6,), hidden=[16, 8])
        >>> tuple(trunk(torch.zeros(5, 6)).shape), len(trunk.stages())
        ((5, 8), 2)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        stages, width = trunk_stages(input_shape, hidden, activation, dropout)
        super().__init__(stages)
        self.width = width


class MLP(nn.Module):
    """A trunk of fully connected layers shared by all tasks, with one linear head per task.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input; it is flattened.
        hidden: Widths of the trunk's layers.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.
        dropout: Share of the numbers that is dropped after each hidden layer.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import MLP
        >>> tasks = [Task("price", size=1), Task("sold", "classification", size=2)]
        >>> outputs = MLP(tasks, input_shape=(6,), hidden=[16])(torch.zeros(5, 6))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'price': (5, 1), 'sold': (5, 2)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.task_names = [task.name for task in tasks if task.has_target]
        self.trunk = MLPTrunk(input_shape, hidden, activation, dropout)
        width = self.trunk.width
        # A list, not a ModuleDict: a task may be called "a.b".
        self.heads = nn.ModuleList(nn.Linear(width, task.size) for task in tasks if task.has_target)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        features = self.trunk(inputs)
        return {
            name: head(features) for name, head in zip(self.task_names, self.heads, strict=True)
        }
