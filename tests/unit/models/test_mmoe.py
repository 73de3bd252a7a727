"""MMoE: shared experts, a gate and a tower per task, against a case computed by hand."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models import LeNetTrunk, MLPTrunk, MMoE, UNetTrunk
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


def test_gates_mix_the_experts_as_computed_by_hand() -> None:
    """Breaks eq. 6 of the paper.

    For x = 2 the experts give 2 and 10. The gate of a has logits 0 and log 3 for x = 2 (half of
    that per unit), that of b always takes half of each. The towers double, and subtract 1.
    """
    tasks = [Task("a", size=1), Task("b", size=1)]
    model = MMoE(tasks, (1,), trunk=partial(MLPTrunk, hidden=[1]), experts=2)
    set_linear(model.experts[0][0], [[1.0]], [0.0])
    set_linear(model.experts[1][0], [[4.0]], [2.0])
    set_linear(model.gates[0].layer, [[0.0], [math.log(3) / 2]], [0.0, 0.0])
    set_linear(model.gates[1].layer, [[0.0], [0.0]], [0.7, 0.7])
    set_linear(model.towers[0], [[2.0]], [0.0])
    set_linear(model.towers[1], [[1.0]], [-1.0])
    outputs = model(torch.tensor([[2.0]]))
    assert outputs["a"].item() == pytest.approx(2 * (2 / 4 + 10 * 3 / 4))
    assert outputs["b"].item() == pytest.approx((2 + 10) / 2 - 1)


def test_experts_are_shared_and_gates_and_towers_are_not() -> None:
    """Breaks every strategy that looks at shared parameters; the graph alone says who shares."""
    model = MMoE(TASKS, (INPUTS,), trunk=partial(MLPTrunk, hidden=[5, 4]), experts=3, tower=[7])
    tasks = [task for task in TASKS if task.has_target]
    assert shapes(model) == SHAPES
    for name, served in owners(model, tasks, batch()).items():
        kind, number = name.split(".")[:2]
        expected = {"a.b", "label"} if kind == "experts" else {["a.b", "label"][int(number)]}
        assert served == expected, name
    assert last_shared(model, tasks, batch()) == [f"experts.{i}.2.weight" for i in range(3)]


@pytest.mark.parametrize("trunk", [LeNetTrunk, partial(UNetTrunk, width=4, depth=1), MLPTrunk])
def test_any_trunk_is_an_expert(trunk: Any) -> None:
    """Breaks `model/trunk=lenet` and `unet` on images."""
    model = MMoE(TASKS, (1, 8, 8), trunk=trunk, experts=2)
    assert shapes(model, 1, 8, 8) == SHAPES


def test_a_task_per_pixel_gets_a_mixture_of_maps() -> None:
    """Breaks dense tasks: weights of experts would differ between the pixels of an image."""
    tasks = [Task("depth", size=1, places=(8, 8)), Task("kind", "classification", size=3)]
    model = MMoE(tasks, (1, 8, 8), trunk=partial(UNetTrunk, width=4, depth=1), experts=2)
    images = torch.randn(2, 1, 8, 8)
    outputs = model(images)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "depth": (2, 1, 8, 8),
        "kind": (2, 3),
    }
    weights = model.gates[0](images)
    first, second = (expert(images) for expert in model.experts)
    mixed = weights[:, :1, None, None] * first + weights[:, 1:, None, None] * second
    torch.testing.assert_close(outputs["depth"], model.towers[0](mixed))


def test_impossible_options_get_their_sentence() -> None:
    """Breaks if a wrong option is an error of PyTorch's."""
    with pytest.raises(
        ConfigError, match=r"^model\.experts must be a whole number of at least 1; found 0\.$"
    ):
        MMoE(TASKS, (INPUTS,), experts=0)
    with pytest.raises(ConfigError, match=r"^model\.tower must be a list of positive widths"):
        MMoE(TASKS, (INPUTS,), tower=[-1])
    with pytest.raises(ConfigError, match=r"^Task 'depth' has an answer at each of 8x8 pixels"):
        MMoE([Task("depth", size=1, places=(8, 8))], (1, 8, 8), trunk=LeNetTrunk)
