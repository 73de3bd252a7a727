"""Trunks: stages, copies with first weights of their own, and the errors of their options."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models import MLP, LeNet, LeNetTrunk, MLPTrunk, UNetTrunk
from mtl_runner.models.trunk import Trunk, make_trunks, shape_after, stages_of
from mtl_runner.tasks.task import Task

TASKS = [Task("a", size=1)]


@pytest.mark.parametrize(
    ("trunk", "shape", "kinds"),
    [
        (MLPTrunk((6,), [4, 3]), (6,), [["Linear", "ReLU"], ["Linear", "ReLU"]]),
        (
            MLPTrunk((2, 3), [4], "tanh", dropout=0.5),
            (2, 3),
            [["Flatten", "Linear", "Tanh", "Dropout"]],
        ),
        (MLPTrunk((2, 3), []), (2, 3), [["Flatten"]]),
        (MLPTrunk((6,), []), (6,), []),
        (
            LeNetTrunk((1, 12, 12)),
            (1, 12, 12),
            [["Conv2d", "MaxPool2d", "ReLU"]] * 2 + [["Flatten", "Linear", "ReLU"]],
        ),
    ],
)
def test_stages_one_after_another_are_the_trunk(
    trunk: Trunk, shape: tuple[int, ...], kinds: list[list[str]]
) -> None:
    """Breaks ple and cross_stitch: a layer would be left out, or stand in another stage."""
    stages = trunk.stages()
    assert [[type(layer).__name__ for layer in stage] for stage in stages] == kinds
    inputs = torch.randn(5, *shape)
    features = inputs
    for stage in stages:
        features = stage.eval()(features)
    assert torch.equal(features, trunk.eval()(inputs))


def test_stages_hold_the_layers_themselves() -> None:
    """Breaks training: the optimizer would move layers that the forward pass does not use."""
    trunk = MLPTrunk((6,), [4, 3])
    assert trunk.stages()[1][0] is trunk[2]
    assert [type(layer) for layer in trunk[2:]] == [nn.Linear, nn.ReLU]


@pytest.mark.parametrize(
    ("model", "trunk"),
    [
        (MLP(TASKS, (6,), [4, 3], dropout=0.1), MLPTrunk((6,), [4, 3], dropout=0.1)),
        (LeNet(TASKS, (1, 12, 12)), LeNetTrunk((1, 12, 12))),
    ],
)
def test_the_trunk_of_a_model_keeps_its_names(model: nn.Module, trunk: Trunk) -> None:
    """Breaks every checkpoint that was saved before trunks had a class."""
    names = {f"trunk.{name}" for name in trunk.state_dict()}
    assert {name for name in model.state_dict() if not name.startswith("heads")} == names


def test_every_trunk_has_first_weights_of_its_own_that_the_seed_decides() -> None:
    """Breaks experts: equal ones stay equal under a symmetric gate, and a seed must repeat them."""
    torch.manual_seed(0)
    first, second = make_trunks(MLPTrunk, (6,), 2)
    assert not torch.equal(first[0].weight, second[0].weight)
    torch.manual_seed(0)
    again = make_trunks(MLPTrunk, (6,), 2)
    assert torch.equal(second[0].weight, again[1][0].weight)


def test_the_children_of_a_sequential_are_its_stages() -> None:
    """Breaks a trunk of a user's own, an `nn.Sequential` of layers or blocks."""
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    stages = stages_of(nn.Sequential(nn.Linear(6, 4), block), "ple")
    assert [len(stage) for stage in stages] == [1, 2]
    assert stages[1] is block


def test_a_shape_is_found_without_a_trace() -> None:
    """Breaks "same seed, same initial weights": dropout or BatchNorm would be run in training."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert shape_after(module, (1, 8, 6)) == (4, 6, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert module.training
    assert int(module[1].num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("make_trunk", "shape", "sentence"),
    [
        (
            MLPTrunk,
            {"x": (6,), "z": (2,)},
            "A model with a trunk takes one tensor, but the data give a dict of inputs (x, z); choose another model.",
        ),
        (
            {"hidden": [3]},
            (6,),
            "model.trunk must be a kind of trunk, e.g. model/trunk=mlp; found {'hidden': [3]}.",
        ),
        (
            partial(MLPTrunk, hiden=[3]),
            (6,),
            "model.trunk.hiden is not an option of MLPTrunk; did you mean 'hidden'? allowed: activation, dropout, hidden.",
        ),
        (
            partial(MLPTrunk, hidden=3),
            (6,),
            "model.trunk.hidden must be a list of positive widths, e.g. [64, 64]; found 3.",
        ),
        (
            LeNetTrunk,
            (6,),
            "model/trunk=lenet needs images, one tensor [rows, channels, height, width]; the data give inputs of shape (6,).",
        ),
        (
            lambda input_shape: "no module",
            (6,),
            "model.trunk made a str; it must make a torch.nn.Module from inputs to features.",
        ),
    ],
)
def test_a_trunk_that_cannot_be_made_has_its_sentence(
    make_trunk: Any, shape: Any, sentence: str
) -> None:
    """Breaks if the sentence names an option of another model, or is an error of PyTorch's."""
    with pytest.raises(ConfigError) as raised:
        make_trunks(make_trunk, shape, 2)
    assert str(raised.value) == sentence


def test_a_trunk_without_stages_has_its_sentence() -> None:
    """Breaks if a U-Net's skip connections are lost without a word."""
    with pytest.raises(ConfigError) as raised:
        stages_of(UNetTrunk((1, 8, 8)), "ple")
    assert str(raised.value) == (
        "model=ple needs a trunk of stages one after another, which UNetTrunk does not have; choose model/trunk=mlp or lenet, or an nn.Sequential of your own."
    )
