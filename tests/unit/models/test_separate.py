"""A network per task shares nothing with the others."""

from __future__ import annotations

import torch

from mtl_runner.models import SeparateMLPs
from mtl_runner.tasks.task import Task

TASKS = [
    Task("a.b", "regression", size=2),
    Task("term", "term", loss_term=lambda outputs, targets: outputs["a.b"].sum()),
    Task("label", "classification", size=4),
]


def test_a_loss_reaches_the_parameters_of_its_own_task_alone() -> None:
    """Breaks the comparison with nothing shared: one task would train another's network."""
    model = SeparateMLPs(TASKS, (3, 2), hidden=[8])
    outputs = model(torch.randn(5, 3, 2))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "a.b": (5, 2),
        "label": (5, 4),
    }
    outputs["label"].square().sum().backward()
    assert all(p.grad is None for p in model.nets[0].parameters())
    assert all(p.grad is not None for p in model.nets[1].parameters())


def test_all_networks_have_the_hidden_widths_and_options() -> None:
    """Breaks `model.hidden`, `model.activation` and `model.dropout` for some of the tasks."""
    model = SeparateMLPs(TASKS, (3,), hidden=[8, 6], activation="tanh", dropout=0.5)
    for net, size in zip(model.nets, (2, 4), strict=True):
        assert [type(layer).__name__ for layer in net] == 2 * ["Linear", "Tanh", "Dropout"] + [
            "Linear"
        ]
        assert (net[0].out_features, net[3].out_features, net[-1].out_features) == (8, 6, size)
