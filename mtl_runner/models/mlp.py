"""A shared trunk of fully connected layers with one linear head per task."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, fraction, is_whole
from mtl_runner.tasks.task import Task

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def trunk(
    input_shape: Sequence[int], hidden: Sequence[int], activation: str, dropout: float
) -> tuple[list[nn.Module], int]:
    """Flatten where needed, then linear, activation and (if asked) dropout for each hidden width; and the width at the end."""
    choice(activation, "model.activation", ACTIVATIONS)
    if not isinstance(hidden, Sequence) or not all(is_whole(w, 1) for w in hidden):
        raise ConfigError(
            f"model.hidden must be a list of positive widths, e.g. [64, 64]; found {hidden!r}."
        )
    fraction(dropout, "model.dropout", one=False)
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    width = math.prod(input_shape)
    for size in hidden:
        layers += [nn.Linear(width, size), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = size
    return layers, width


class MLP(nn.Module):
    """Shared trunk, one linear head per task.

    Args:
        tasks: the tasks. input_shape: shape of one input; it is flattened.
        hidden: widths of the trunk's layers. activation: relu, gelu, silu or tanh. dropout: after each hidden layer.

    Shape: inputs ``[N, *input_shape]`` -> ``{task: [N, size]}``.
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
        self.names = [task.name for task in tasks if task.has_target]
        layers, width = trunk(input_shape, hidden, activation, dropout)
        self.trunk = nn.Sequential(*layers)
        # A list, not a ModuleDict: a task may be called "a.b".
        self.heads = nn.ModuleList(nn.Linear(width, task.size) for task in tasks if task.has_target)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs)
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}
