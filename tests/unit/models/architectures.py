"""The tests of the architectures share these: tasks, data, and who owns which parameter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.likelihood import Standard
from mtl_runner.tasks.task import Task

# A name with a dot, a loss term without an output, and different numbers of outputs.
TASKS = [
    Task("a.b", "regression", size=2),
    Task("term", "term", loss_term=lambda outputs, targets: outputs["a.b"].sum()),
    Task("label", "classification", size=4),
]
SHAPES = {"a.b": (3, 2), "label": (3, 4)}
INPUTS = 6


def batch(*input_shape: int) -> Split:
    """Return three rows for ``TASKS`` without the loss term."""
    shape = input_shape or (INPUTS,)
    targets = {"a.b": torch.zeros(3, 2), "label": torch.tensor([0, 1, 3])}
    return Split(torch.randn(3, *shape), targets)


def shapes(model: nn.Module, *input_shape: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's outputs for three rows."""
    outputs = model(batch(*input_shape).inputs)
    return {name: tuple(output.shape) for name, output in outputs.items()}


def owners(model: nn.Module, tasks: Sequence[Task], split: Split) -> dict[str, set[str]]:
    """Return the names of the tasks that each weight of a model serves, from the graph."""
    parameters = find_parameters(model, Standard(list(tasks)), split)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: {tasks[t].name for t in task_numbers}
        for parameter, task_numbers in zip(parameters.tensors, parameters.owners, strict=True)
    }


def last_shared(model: nn.Module, tasks: Sequence[Task], split: Split) -> list[str]:
    """Return the names of the weights at which GradNorm compares the tasks' gradients."""
    parameters = find_parameters(model, Standard(list(tasks)), split)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in parameters.last_shared]


@torch.no_grad()
def set_linear(layer: nn.Module, weight: Sequence[Sequence[float]], bias: Sequence[float]) -> None:
    """Give a linear layer its weight and bias."""
    assert isinstance(layer, nn.Linear)
    layer.weight.copy_(torch.tensor(weight))
    layer.bias.copy_(torch.tensor(bias))
