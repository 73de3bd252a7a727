"""MoDo and SDMGrad: their formulas on different batches, what they come to, and who learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import BatchGroup, Split
from mtl_runner.errors import ConfigError
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian, Joint
from mtl_runner.update.several_batches import DirectionOriented, DoubleSampling
from tests.support.builders import (
    SGD,
    assert_near,
    losses_of,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.unit.update.aggregations import aggregation_of, random_rows, shortest_by_scipy
from tests.unit.update.learners import learner_with, only
from tests.unit.update.test_simplex import by_bisection

pytestmark = pytest.mark.usefixtures("float64")

FIRST, SECOND, THIRD = (random_rows(3, seed=seed, dtype=torch.float64) for seed in (11, 12, 13))
ALL = (0, 1, 2)
CASES = [(2, 0), (3, 1), (5, 2)]


# MoDo


def test_the_weights_of_modo_move_by_the_products_of_two_batches() -> None:
    """Breaks if a batch is multiplied by itself, or the direction is that of one batch."""
    modo, weights = DoubleSampling(3, gamma=0.05, rho=0.2), torch.full((3,), 1 / 3)
    for _ in range(3):
        direction, moved = modo([FIRST, SECOND], ALL, torch.clone)
        change = FIRST @ (SECOND.T @ weights) + 0.2 * weights
        weights = by_bisection(weights - 0.05 * change)
        assert_near(moved, weights, 1e-12)
        assert_near(direction, (FIRST.T @ weights + SECOND.T @ weights) / 2, 1e-12)


@pytest.mark.parametrize(("count", "seed"), CASES)
def test_with_equal_batches_the_weights_of_modo_flow_to_those_of_mgda(
    count: int, seed: int
) -> None:
    """Breaks if the weights descend on something else than the length of the combination."""
    rows = random_rows(count, seed=seed)
    gamma = 0.5 / torch.linalg.matrix_norm(rows, 2).item() ** 2
    modo = DoubleSampling(count, gamma=gamma, rho=0.0)
    for _ in range(2000):
        direction, _ = modo([rows, rows], tuple(range(count)), torch.clone)
    assert_near(direction, shortest_by_scipy(rows), 1e-8)


def test_without_a_step_of_the_weights_modo_is_the_mean_of_both_batches() -> None:
    """Breaks if the weights do not begin equal."""
    direction, _ = DoubleSampling(3, gamma=0.0)([FIRST, SECOND], ALL, torch.clone)
    assert_near(direction, torch.cat([FIRST, SECOND]).mean(0), 1e-12)


# SDMGrad


def test_the_weights_of_sdmgrad_move_by_the_products_of_the_extra_batches() -> None:
    """Breaks if the batch of the direction is in the weights, or the mean leans on another one."""
    sdmgrad = DirectionOriented(3, kappa=0.4, step_size=0.05, steps=2)
    weights = torch.full((3,), 1 / 3)
    lengths = [max(0.0, float(a @ b)) ** 0.5 for a, b in zip(SECOND, THIRD, strict=True)]
    size = (sum(lengths) / 3) ** 2
    for _ in range(3):
        direction, moved = sdmgrad([FIRST, SECOND, THIRD], ALL, torch.clone)
        for _ in range(2):
            slope = SECOND @ (THIRD.T @ weights + 0.4 * THIRD.mean(0)) / size
            weights = by_bisection(weights - 0.05 * slope)
        assert_near(direction, (FIRST.T @ weights + 0.4 * FIRST.mean(0)) / 1.4, 1e-10)
        assert_near(moved, (weights + 0.4 / 3) / 1.4, 1e-10)


@pytest.mark.parametrize(("count", "seed"), CASES)
def test_without_the_mean_sdmgrad_is_mgda(count: int, seed: int) -> None:
    """Breaks if kappa 0 leaves a trace of the mean gradient."""
    rows = random_rows(count, seed=seed)
    sdmgrad = DirectionOriented(count, kappa=0.0, step_size=0.2, steps=1000)
    direction, _ = sdmgrad([rows, rows, rows], tuple(range(count)), torch.clone)
    assert_near(direction, shortest_by_scipy(rows), 1e-6)


def test_with_a_large_kappa_sdmgrad_is_the_mean_gradient() -> None:
    """Breaks if the direction is not divided by 1 + kappa, or is of another batch."""
    sdmgrad = DirectionOriented(3, kappa=1e7)
    direction, _ = sdmgrad([FIRST, SECOND, THIRD], ALL, torch.clone)
    assert_near(direction, FIRST.mean(0), 1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("modo", {"gamma": -1}, "update.options.gamma must be a number of at least 0; found -1."),
        ("modo", {"rho": "x"}, "update.options.rho must be a number of at least 0; found 'x'."),
        ("sdmgrad", {"kappa": -1}, "update.options.kappa must be a number of at least 0"),
        ("sdmgrad", {"step_size": 0}, "update.options.step_size must be a positive number"),
        ("sdmgrad", {"steps": 0.5}, "update.options.steps must be a whole number of at least 1"),
    ],
)
def test_a_wrong_option_is_named(name: str, options: Mapping[str, Any], words: str) -> None:
    """Breaks if an option out of its range shows as numbers that are not finite."""
    with pytest.raises(ConfigError) as error:
        aggregation_of(name, **options)
    assert words in str(error.value)


# In a training step


def shared_rows(model: Any, tasks: list[Task], split: Split) -> Tensor:
    """Return the gradients of the losses over the trunk, ``[T, P]``, by autograd alone."""
    parameters = list(model.trunk.parameters())
    rows = []
    for loss in losses_of(model, tasks, split):
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


@pytest.mark.parametrize(("name", "extra"), [("modo", 1), ("sdmgrad", 2)])
def test_the_shared_parameters_learn_from_all_batches_and_the_heads_from_the_first(
    name: str, extra: int
) -> None:
    """Breaks if a batch is lost, comes twice, or its gradients are added to a head's."""
    tasks = make_tasks(a="regression", b="classification", c="multilabel")
    splits = [make_split(tasks, seed=seed) for seed in range(1 + extra)]
    models = [make_mlp(tasks) for _ in range(3)]
    rows = [shared_rows(models[2], tasks, split) for split in splits]
    expected, weights = aggregation_of(name)(rows[0], ALL, extra_jacobians=rows[1:])

    learner = learner_with(
        Jacobian, tasks, splits[0], model=models[0], optimizer=SGD, aggregator=name
    )
    record = learner.step(BatchGroup(splits[0], tuple(splits[1:])), only(*ALL))
    learner_with(Joint, tasks, splits[0], model=models[1], optimizer=SGD).step(
        splits[0], only(*ALL)
    )
    gradient = torch.cat([p.grad.flatten() for p in models[0].trunk.parameters()])
    assert_near(gradient, expected, 1e-12)
    assert_near(record.measured["aggregator_weight"], weights, 1e-12)
    assert_near(record.loss, losses_of(models[2], tasks, splits[0]), 1e-12)
    for head, joint_head in zip(models[0].heads, models[1].heads, strict=True):
        for parameter, joint in zip(head.parameters(), joint_head.parameters(), strict=True):
            assert_near(parameter.grad, joint.grad, 1e-12)


def test_a_step_with_another_number_of_batches_is_refused() -> None:
    """Breaks if a loop that forgets the second batch trains something else in silence."""
    point = nn.Parameter(torch.ones(2))
    parameters = Parameters([point], [frozenset({0, 1})])
    update = Jacobian(parameters, SGD, [Task("a"), Task("b")], aggregator="modo")
    with pytest.raises(ConfigError) as error:
        update([point[0], point[1]])
    assert str(error.value) == (
        "A step of this update takes 2 independent batches; found 1: give a function that computes the losses of each of the others as extra_losses=[...]."
    )
    update([point[0], point[1]], extra_losses=[lambda: [point[0], 2 * point[1]]])


@pytest.mark.parametrize("few", [0, 2**22], ids=["in stages", "at once"])
def test_every_block_has_weights_of_its_own_on_all_batches(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if update.blocks mixes the blocks of two batches, or drops one of the batches."""
    monkeypatch.setattr("mtl_runner.update.task_gradients.FEW_NUMBERS", few)
    rows = {
        batch: (random_rows(2, seed=seed), random_rows(2, seed=seed + 1))
        for batch, seed in ((0, 20), (1, 30))
    }
    blocks = [nn.Parameter(torch.zeros(rows[0][b].shape[1])) for b in (0, 1)]
    parameters = Parameters(blocks, [frozenset({0, 1})] * 2, names=["a", "b"])
    update = Jacobian(
        parameters,
        SGD,
        make_tasks(x="regression", y="regression"),
        aggregator="modo",
        blocks="tensor",
    )

    def losses_on(batch: int) -> list[Tensor]:
        sums = [rows[batch][b] @ block for b, block in enumerate(blocks)]
        return list((sums[0] + sums[1]).unbind())

    update(losses_on(0), extra_losses=[lambda: losses_on(1)])
    for b, block in enumerate(blocks):
        alone = DoubleSampling(2, gamma=0.1, rho=0.1)
        direction, _ = alone([rows[0][b], rows[1][b]], (0, 1), torch.clone)
        assert_near(block.grad, direction, 1e-12)
