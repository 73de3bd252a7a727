"""Fully connected layers: a shared trunk, a linear head per task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models import MLP
from mtl_runner.models.mlp import ACTIVATIONS
from mtl_runner.tasks.task import Task

TASKS = [
    Task("a.b", "regression", size=2),
    Task("term", "term", loss_term=lambda outputs, targets: outputs["a.b"].sum()),
    Task("label", "classification", size=4),
]


def test_every_task_with_a_target_has_a_head_on_one_trunk() -> None:
    """Breaks names with dots, loss terms without an output, or what the tasks share."""
    model = MLP(TASKS, (5,), hidden=[8, 6])
    outputs = model(torch.randn(3, 5))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "a.b": (3, 2),
        "label": (3, 4),
    }
    features = model.trunk(torch.zeros(1, 5))
    assert torch.equal(model(torch.zeros(1, 5))["label"], model.heads[1](features))
    assert sum(p.numel() for p in model.parameters()) == (
        (5 * 8 + 8) + (8 * 6 + 6) + (6 * 2 + 2) + (6 * 4 + 4)
    )


def test_images_are_flattened() -> None:
    """Breaks `model=mlp` on images."""
    torch.manual_seed(0)
    model, images = MLP(TASKS, (1, 4, 4), hidden=[8]), torch.randn(3, 1, 4, 4)
    torch.manual_seed(0)
    flat = MLP(TASKS, (16,), hidden=[8])
    assert torch.equal(model(images)["a.b"], flat(images.flatten(1))["a.b"])


def test_without_hidden_layers_it_is_a_linear_map() -> None:
    """Breaks `model.hidden=[]`."""
    model = MLP(TASKS, (3,), hidden=[])
    assert len(model.trunk) == 0
    assert model.heads[0].in_features == 3


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_hidden_layer_has_the_activation_and_dropout_if_asked(activation: str) -> None:
    """Breaks `model.activation` and `model.dropout`: one that is asked for but not there."""
    layers = list(MLP(TASKS, (3,), hidden=[4, 4], activation=activation, dropout=0.25).trunk)
    kinds = [nn.Linear, ACTIVATIONS[activation], nn.Dropout]
    assert [type(layer) for layer in layers] == 2 * kinds
    assert layers[2].p == 0.25
    plain = MLP(TASKS, (3,), hidden=[4, 4], activation=activation)
    assert not any(isinstance(layer, nn.Dropout) for layer in plain.trunk)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"hidden": [8, 0]},
            r"model\.hidden must be a list of positive widths, e\.g\. \[64, 64\]; found \[8, 0\]\.",
        ),
        ({"hidden": 64}, r"model\.hidden must be a list of positive widths"),
        ({"hidden": [True]}, r"model\.hidden must be a list of positive widths"),
        ({"activation": "reul"}, r"model\.activation='reul' is unknown; allowed: relu, gelu"),
        ({"dropout": 1.0}, r"model\.dropout must lie in \[0, 1\); found 1\.0\."),
    ],
)
def test_impossible_options_get_their_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong option is an error of PyTorch's."""
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        MLP(TASKS, (3,), **options)
