"""Cross-stitch networks: the matrices behind each stage, against a case computed by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models import CrossStitch, LeNetTrunk, MLPTrunk
from mtl_runner.models.cross_stitch import CrossStitchUnit
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


def test_units_mix_stage_by_stage_as_computed_by_hand() -> None:
    """Breaks eq. 1 of the paper.

    For x = 1 the first stages give 1 and 10. The first unit makes .9 * 1 + .1 * 10 = 1.9 and
    .2 * 1 + .8 * 10 = 8.2, the second stages add 1 and double, so 2.9 and 16.4; the second unit
    swaps them.
    """
    tasks = [Task("a", size=1), Task("b", size=1)]
    model = CrossStitch(tasks, (1,), trunk=partial(MLPTrunk, hidden=[1, 1]))
    for network, first, second in (
        (model.networks[0], (1.0, 0.0), (1.0, 1.0)),
        (model.networks[1], (10.0, 0.0), (2.0, 0.0)),
    ):
        for stage, (weight, bias) in zip(network, (first, second), strict=True):
            set_linear(stage[0], [[weight]], [bias])
    matrices = ([[0.9, 0.1], [0.2, 0.8]], [[0.0, 1.0], [1.0, 0.0]])
    with torch.no_grad():
        for unit, matrix in zip(model.units, matrices, strict=True):
            for row, values in zip(unit.rows, matrix, strict=True):
                row.copy_(torch.tensor(values))
    for tower in model.towers:
        set_linear(tower, [[1.0]], [0.0])
    outputs = model(torch.tensor([[1.0]]))
    assert outputs["a"].item() == pytest.approx(16.4)
    assert outputs["b"].item() == pytest.approx(2.9)


@pytest.mark.parametrize(("tasks", "cross_weights"), [(1, []), (2, [0.25]), (4, [1 / 12] * 3)])
def test_a_matrix_starts_with_rows_that_sum_to_one(tasks: int, cross_weights: list[float]) -> None:
    """Breaks `model.same`, or the size of the features behind many stages."""
    rows = [row.tolist() for row in CrossStitchUnit(tasks, same=0.75).rows]
    for t, row in enumerate(rows):
        assert sum(row) == pytest.approx(1)
        assert row.pop(t) == pytest.approx(0.75 if tasks > 1 else 1)
        assert row == pytest.approx(cross_weights)


def test_a_channel_can_have_a_matrix_of_its_own() -> None:
    """Breaks `model.per_channel` on feature maps."""
    unit = CrossStitchUnit(2, same=1.0, channels=2)
    with torch.no_grad():
        unit.rows[0].copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    first, second = torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5)
    mixed = unit([first, second])
    assert torch.equal(mixed[0], torch.stack([first[:, 0], second[:, 1]], 1))
    assert torch.equal(mixed[1], second)


@pytest.mark.parametrize("per_channel", [False, True])
def test_all_networks_are_shared_up_to_the_last_unit(per_channel: bool) -> None:
    """Breaks strategies that look at shared parameters; the graph alone says who shares."""
    tasks = [task for task in TASKS if task.has_target]
    trunk = partial(MLPTrunk, hidden=[5, 4])
    model = CrossStitch(TASKS, (INPUTS,), trunk=trunk, per_channel=per_channel)
    assert shapes(model) == SHAPES
    names = [task.name for task in tasks]
    for name, served in owners(model, tasks, batch()).items():
        parts = name.split(".")
        is_own = parts[0] == "towers" or name.startswith("units.1.rows")
        assert served == (
            {names[int(parts[-1 if "rows" in parts else 1])]} if is_own else set(names)
        ), name
    assert last_shared(model, tasks, batch()) == [f"networks.{i}.1.0.weight" for i in range(2)]


def test_a_lenet_is_stitched_behind_each_of_its_stages() -> None:
    """Breaks `model/trunk=lenet`."""
    model = CrossStitch(TASKS, (1, 8, 8), trunk=LeNetTrunk, per_channel=True)
    assert shapes(model, 1, 8, 8) == SHAPES
    assert [tuple(unit.rows[0].shape) for unit in model.units] == [(2, 10), (2, 20), (2, 50)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"same": 1.5}, "model.same must lie in [0, 1]; found 1.5."),
        ({"per_channel": "yes"}, "model.per_channel must be true or false; found 'yes'."),
    ],
)
def test_impossible_options_get_their_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong option is an error of PyTorch's."""
    with pytest.raises(ConfigError) as raised:
        CrossStitch(TASKS, (INPUTS,), **options)
    assert str(raised.value) == sentence
