"""``update.blocks``: an aggregator for each block of the shared parameters."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.learner import Learner
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian
from mtl_runner.update.aggregators import aggregate
from mtl_runner.update.block_aggregation import BlockAggregation
from tests.support.builders import (
    SGD,
    assert_near,
    assert_same_bits,
    copy_state,
    gradients_of,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.unit.update.learners import KINDS_OF, learner_with, only, through_a_file

pytest.importorskip("torchjd.aggregation")

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(**KINDS_OF)
# Of a trunk of two layers with weight and bias: the number of its parameters in each block.
BLOCKS = {"whole": [4], "module": [2, 2], "layer": [2, 2], "tensor": [1, 1, 1, 1]}


@functools.cache
def split_of_tasks() -> Split:
    """Return the rows, in double precision: the fixture of the file is on when it is called."""
    return make_split(TASKS)


def learner_of(blocks: str, aggregator: str = "mgda", hidden: tuple[int, ...] = (8, 5)) -> Learner:
    """Return a learner on a small MLP."""
    model = make_mlp(TASKS, hidden)
    return learner_with(
        Jacobian,
        TASKS,
        split_of_tasks(),
        model=model,
        aggregator=aggregator,
        blocks=blocks,
        optimizer=SGD,
    )


@pytest.fixture(params=["at once", "in stages"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the gradients of all blocks come at once, or those of one block at a time."""
    if request.param == "in stages":
        monkeypatch.setattr("mtl_runner.update.task_gradients.FEW_NUMBERS", 0)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("aggregator", ["mgda", "aligned_mtl", "pcgrad", "excess_mtl", "graddrop"])
def test_every_block_gets_the_direction_of_its_own_rows(blocks: str, aggregator: str) -> None:
    """Breaks if a Gramian covers more or less than a block, or blocks swap their directions."""
    learner = learner_of(blocks, aggregator)
    learner.update.optimizers[0].param_groups[0]["lr"] = 0.0
    trunk = list(learner.model.trunk.parameters())
    rows = gradients_of(learner.model, TASKS, split_of_tasks())
    columns = iter(rows.split([p.numel() for p in learner.model.parameters()], 1))
    of_blocks = [torch.cat([next(columns) for _ in range(n)], 1) for n in BLOCKS[blocks]]
    # Every block has a stream of its own, whatever the order in which they come.
    reference = BlockAggregation(aggregator, {}, TASKS, 0, [1] * len(of_blocks))
    expected = torch.cat(
        [reference(b, jacobian, (0, 1, 2)) for b, jacobian in enumerate(of_blocks)]
    )
    measured = learner.step(split_of_tasks(), only(0, 1, 2)).measured
    direction = torch.cat([p.grad.flatten() for p in trunk])
    assert_near(direction, expected, 1e-13)
    if aggregator == "mgda":
        parts = [aggregate("mgda", jacobian) for jacobian in of_blocks]
        assert_near(direction, torch.cat(parts), 1e-13)
    total = torch.cat([jacobian.sum(0) for jacobian in of_blocks])
    assert_near(measured["norm_ratio"].squeeze(), expected.norm() / total.norm(), 1e-13)


def test_few_gradients_come_at_once_and_many_by_blocks(way: str) -> None:
    """Breaks if a small model pays for stages, or a large one has all gradients in memory."""
    learner = learner_of("layer")
    losses = list(learner.forward(split_of_tasks()).losses)
    gradients = learner.update.task_gradients
    order = [block for block, _ in gradients.jacobians(losses, torch.ones(3), only(0, 1, 2))]
    # The backward pass comes to the last block first.
    assert order == ([0, 1] if way == "at once" else [1, 0])


def test_the_recorded_weights_are_the_mean_over_the_parameters() -> None:
    """Breaks if a small block counts in aggregator_weight like a large one."""
    learner = learner_of("layer")
    rows = gradients_of(learner.model, TASKS, split_of_tasks())
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in learner.model.trunk[::2]]
    weights = []
    for jacobian in rows[:, : sum(sizes)].split(sizes, 1):
        solution = torch.linalg.lstsq(jacobian.T, aggregate("mgda", jacobian)).solution
        weights.append(solution)
    expected = sum(size * weight for size, weight in zip(sizes, weights, strict=True)) / sum(sizes)
    used = learner.step(split_of_tasks(), only(0, 1, 2)).measured["aggregator_weight"]
    assert_near(used, expected, 1e-9)


@pytest.mark.parametrize("aggregator", ["upgrad", "pcgrad", "gradvac"])
def test_one_block_is_the_method_itself(aggregator: str) -> None:
    """Breaks if a model of one layer trains otherwise with blocks than without, by a single bit."""
    if aggregator == "upgrad":
        pytest.importorskip("quadprog")
    learners = [learner_of(blocks, aggregator, hidden=(8,)) for blocks in ("whole", "layer")]
    for learner in learners:
        for _ in range(4):
            learner.step(split_of_tasks(), only(0, 1, 2))
    assert_same_bits(learners[1].model.state_dict(), learners[0].model.state_dict())
    states = [learner.update.state_dict()["aggregation"] for learner in learners]
    assert states[0].keys() == states[1].keys() == {"random", "states"}


@pytest.mark.parametrize("aggregator", ["gradvac", "excess_mtl"])
def test_a_state_of_each_block_is_saved(aggregator: str) -> None:
    """Breaks if a resumed run continues with the state of the first block, or of none."""
    learner, twin = (learner_of("tensor", aggregator) for _ in range(2))
    for _ in range(3):
        learner.step(split_of_tasks(), only(0, 1, 2))
    twin.model.load_state_dict(copy_state(learner.model.state_dict()))
    twin.update.load_state_dict(through_a_file(learner.update.state_dict()))
    for continued in (learner, twin):
        for active in ((0, 1, 2), (0, 2), (0, 1, 2)):
            continued.step(split_of_tasks(), only(*active))
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())


@pytest.mark.usefixtures("way")
def test_a_frozen_layer_is_no_block() -> None:
    """Breaks if an aggregator is given rows without columns, or moves what is frozen."""
    learner = learner_of("layer")
    first = learner.model.trunk[0].requires_grad_(False)
    before = copy_state(first.state_dict())
    learner.step(split_of_tasks(), only(0, 1, 2))
    assert_same_bits(first.state_dict(), before)
    assert all(p.grad is None for p in first.parameters())
    assert all(p.grad is not None for p in learner.model.trunk[2].parameters())


def test_blocks_by_name_need_names() -> None:
    """Breaks if a loop of your own gets blocks that are not those of its model."""
    point = nn.Parameter(torch.ones(2))
    parameters = Parameters([point], [frozenset({0, 1})])
    tasks = [Task("a"), Task("b")]
    options: dict[str, Any] = {"parameters": parameters, "make_optimizer": SGD, "tasks": tasks}
    sentence = r"update.blocks=layer needs the names of the parameters; make them by Parameters.from_losses\(model, losses\)."
    with pytest.raises(ConfigError, match=f"^{sentence}$"):
        Jacobian(**options, blocks="layer")
    Jacobian(**options, blocks="tensor")


def test_from_losses_knows_the_names() -> None:
    """Breaks if blocks cannot be had in a loop of your own."""
    model = make_mlp(TASKS, (8, 5))
    outputs = model(split_of_tasks().inputs)
    losses: list[Tensor] = [output.square().mean() for output in outputs.values()]
    parameters = Parameters.from_losses(model, losses)
    assert [len(block) for block in parameters.shared_blocks("layer")] == [2, 2]
