"""CGC and PLE: experts of tasks beside shared ones, against cases computed by hand."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models import CGC, PLE, LeNetTrunk, MLPTrunk, UNetTrunk
from mtl_runner.tasks.task import Task
from tests.unit.models.architectures import (
    INPUTS,
    SHAPES,
    TASKS,
    batch,
    last_shared,
    owners,
    set_linear,
    shapes,
)

PAIR = [Task("a", size=1), Task("b", size=1)]
ONE_OF_EACH: Any = {"task_experts": 1, "shared_experts": 1}


def set_gate(gate: nn.Module, *weights: float) -> None:
    """Let a gate on one number always give these weights, which sum to 1."""
    set_linear(gate.layer, [[0.0]] * len(weights), [math.log(weight) for weight in weights])


def test_cgc_mixes_a_task_s_experts_and_the_shared_ones_as_computed_by_hand() -> None:
    """Breaks eq. 1 of the paper: for x = 1 the experts of a, b and both give 1, 2 and 10."""
    model = CGC(PAIR, (1,), trunk=partial(MLPTrunk, hidden=[1]), **ONE_OF_EACH)
    (level,) = model.levels
    set_linear(level.task_experts[0][0][0], [[1.0]], [0.0])
    set_linear(level.task_experts[1][0][0], [[2.0]], [0.0])
    set_linear(level.shared_experts[0][0], [[10.0]], [0.0])
    set_gate(level.gates[0], 0.25, 0.75)
    set_gate(level.gates[1], 0.9, 0.1)
    for tower in model.towers:
        set_linear(tower, [[1.0]], [0.0])
    outputs = model(torch.tensor([[1.0]]))
    assert outputs["a"].item() == pytest.approx(0.25 * 1 + 0.75 * 10)
    assert outputs["b"].item() == pytest.approx(0.9 * 2 + 0.1 * 10)


def test_ple_extracts_level_by_level_as_computed_by_hand() -> None:
    """Breaks eq. 5 of the paper: who reads what of the level before.

    For x = 1 the first level's experts give 1, 2 and 10; its gates make a = (1 + 10) / 2 = 5.5,
    b = (2 + 10) / 2 = 6 and, of all three, shared = .5 * 1 + .25 * 2 + .25 * 10 = 3.5. The second
    level's experts add 1, 2 and 3 to their own input; its gates take a quarter of the task's.
    """
    model = PLE(PAIR, (1,), trunk=partial(MLPTrunk, hidden=[1, 1]), levels=2, **ONE_OF_EACH)
    first, second = model.levels
    for experts, factor in zip(
        (*first.task_experts, first.shared_experts), (1, 2, 10), strict=True
    ):
        set_linear(experts[0][0], [[float(factor)]], [0.0])
    for experts, added in zip(
        (*second.task_experts, second.shared_experts), (1, 2, 3), strict=True
    ):
        set_linear(experts[0][0], [[1.0]], [float(added)])
    for gate in first.gates:
        set_gate(gate, 0.5, 0.5)
    set_gate(first.shared_gate, 0.5, 0.25, 0.25)
    for gate in second.gates:
        set_gate(gate, 0.25, 0.75)
    assert second.shared_gate is None
    for tower in model.towers:
        set_linear(tower, [[1.0]], [0.0])
    outputs = model(torch.tensor([[1.0]]))
    assert outputs["a"].item() == pytest.approx(0.25 * (5.5 + 1) + 0.75 * (3.5 + 3))
    assert outputs["b"].item() == pytest.approx(0.25 * (6 + 2) + 0.75 * (3.5 + 3))


def test_gates_of_a_later_level_see_what_the_level_before_made() -> None:
    """Breaks the selector of eq. 6: a gate of the second level that sees the inputs."""
    model = PLE(PAIR, (3,), trunk=partial(MLPTrunk, hidden=[5, 4]), levels=2)
    assert [level.gates[0].layer.in_features for level in model.levels] == [3, 5]
    assert [level.gates[0].layer.out_features for level in model.levels] == [4, 4]
    assert model.levels[0].shared_gate.layer.out_features == 6


def test_only_the_last_level_has_experts_of_a_task_alone() -> None:
    """Breaks strategies that look at shared parameters: below the last level all reach all."""
    tasks = [task for task in TASKS if task.has_target]
    model = PLE(TASKS, (INPUTS,), trunk=partial(MLPTrunk, hidden=[5, 4]), levels=2)
    assert shapes(model) == SHAPES
    names = [task.name for task in tasks]
    for name, served in owners(model, tasks, batch()).items():
        parts = name.split(".")
        if parts[0] == "towers":
            expected = {names[int(parts[1])]}
        elif parts[2] == "gates" or (parts[1] == "1" and parts[2] == "task_experts"):
            expected = {names[int(parts[3])]}
        else:
            expected = set(names)
        assert served == expected, name
    assert last_shared(model, tasks, batch()) == [
        f"levels.1.shared_experts.{i}.0.weight" for i in range(2)
    ]


@pytest.mark.parametrize(
    ("levels", "layers"), [(1, [9]), (2, [6, 3]), (3, [3, 3, 3])], ids=["1", "2", "3"]
)
def test_the_stages_of_a_trunk_are_dealt_out_to_the_levels(levels: int, layers: list[int]) -> None:
    """Breaks `model.levels`: a stage left out, or used twice."""
    model = PLE(TASKS, (1, 8, 8), trunk=LeNetTrunk, levels=levels)
    assert [len(level.shared_experts[0]) for level in model.levels] == layers
    assert shapes(model, 1, 8, 8) == SHAPES
    # Each expert is a whole LeNet, whatever the number of levels.
    trunk = sum(p.numel() for p in LeNetTrunk((1, 8, 8)).parameters())
    experts = sum(p.numel() for name, p in model.named_parameters() if "experts" in name)
    assert experts == 6 * trunk


def test_cgc_takes_any_trunk() -> None:
    """Breaks `model=cgc model/trunk=unet`, whose skip connections leave no stages."""
    model = CGC(TASKS, (1, 8, 8), trunk=partial(UNetTrunk, width=4, depth=1))
    assert shapes(model, 1, 8, 8) == SHAPES


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"levels": 0}, "model.levels must be a whole number of at least 1; found 0."),
        ({"task_experts": 0}, "model.task_experts must be a whole number of at least 1; found 0."),
        (
            {"shared_experts": "two"},
            "model.shared_experts must be a whole number of at least 1; found 'two'.",
        ),
        (
            {"levels": 3},
            "model.levels=3 needs a trunk of 3 stages or more, one per level at least, but this one has 2; lower it, or give the trunk more layers.",
        ),
    ],
)
def test_impossible_options_get_their_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong option is an error of PyTorch's."""
    with pytest.raises(ConfigError) as raised:
        PLE(TASKS, (INPUTS,), **options)
    assert str(raised.value) == sentence
