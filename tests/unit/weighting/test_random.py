"""Random loss weighting: what it draws, and that its draws are its own."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.experiment import seeding
from mtl_runner.models import MLP
from mtl_runner.schedule import RunLength, Schedule
from mtl_runner.train.batches import Batches
from mtl_runner.weighting import Fixed, Random, Weighting
from tests.support.builders import (
    INPUTS,
    assert_near,
    assert_same_bits,
    make_learner,
    make_split,
    make_tasks,
    only_active,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1", d="regression")
DISTRIBUTIONS = ("normal", "dirichlet")
LOSSES = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
distribution_is = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


def draw(weighting: Weighting, steps: int) -> Tensor:
    """Return the weights of so many steps, shape ``[steps, T]``."""
    return torch.stack([weighting.weigh(LOSSES[: len(weighting.tasks)])[0] for _ in range(steps)])


@distribution_is
@pytest.mark.parametrize(
    ("total", "tasks_total", "subset_total"), [("one", 1.0, 1.0), ("tasks", 4.0, 2.0)]
)
def test_the_weights_sum_to_one_or_to_the_number_of_active_tasks(
    distribution: str, total: str, tasks_total: float, subset_total: float
) -> None:
    """Breaks if the size of the step depends on the draw, or counts idle tasks."""
    weighting = Random(TASKS, distribution, total)
    weights = draw(weighting, 20)
    assert_near(weights.sum(1), torch.full((20,), tasks_total), 1e-14)
    assert (weights > 0).all()
    partly, objective = weighting.weigh(LOSSES, active=only_active(1, 3))
    assert partly.sum().item() == pytest.approx(subset_total, abs=1e-14)
    assert partly[[0, 2]].tolist() == [0, 0]
    assert_near(objective, torch.dot(partly, LOSSES), 1e-14)


def test_by_default_the_weights_sum_to_the_number_of_tasks() -> None:
    """Breaks if the default's learning rate means something else than with equal weights of 1."""
    assert_near(draw(Random(TASKS), 3).sum(1), torch.full((3,), 4.0), 1e-14)


@distribution_is
def test_every_task_weighs_the_same_on_average(distribution: str) -> None:
    """Breaks if some position is favoured: the mean weight is 1/T."""
    weights = draw(Random(TASKS, distribution, "one"), 3000)
    error = weights.std(0) / math.sqrt(3000)
    assert ((weights.mean(0) - 0.25).abs() < 3 * error).all()


def test_normal_weights_are_a_softmax_of_standard_normal_numbers() -> None:
    """Breaks if the spread of the weights is not the published one: log w_a/w_b is N(0, 2)."""
    weights = draw(Random(TASKS), 3000)
    for i, j in ((0, 1), (2, 3), (0, 3)):
        ratio = (weights[:, i] / weights[:, j]).log()
        assert stats.kstest(ratio.numpy(), stats.norm(0, math.sqrt(2)).cdf).pvalue > 0.01


def test_dirichlet_weights_are_uniform_on_the_simplex() -> None:
    """Breaks if the distribution is not Dirichlet(1).

    Each weight is Beta(1, T - 1), each sum of two is Beta(2, T - 2).
    """
    weights = draw(Random(TASKS, "dirichlet", "one"), 3000)
    for i in range(4):
        assert stats.kstest(weights[:, i].numpy(), stats.beta(1, 3).cdf).pvalue > 0.01
    assert stats.kstest(weights[:, :2].sum(1).numpy(), stats.beta(2, 2).cdf).pvalue > 0.01


@distribution_is
def test_steps_are_independent(distribution: str) -> None:
    """Breaks if consecutive steps repeat, or follow, each other's weights."""
    weights = draw(Random(TASKS, distribution), 3000)
    assert len(weights.unique(dim=0)) == 3000
    for i in range(4):
        correlation = torch.corrcoef(torch.stack([weights[:-1, i], weights[1:, i]]))[0, 1]
        assert abs(correlation) < 3 / math.sqrt(3000)


@distribution_is
def test_the_seed_decides_the_draws(distribution: str) -> None:
    """Breaks if a run cannot be repeated, or other seeds see the same weights."""
    assert_same_bits(
        draw(Random(TASKS, distribution, seed=5), 10), draw(Random(TASKS, distribution, seed=5), 10)
    )
    different = draw(Random(TASKS, distribution, seed=6), 10) != draw(
        Random(TASKS, distribution, seed=5), 10
    )
    assert different.all()


@distribution_is
def test_the_global_generator_neither_feeds_it_nor_is_drawn_from(distribution: str) -> None:
    """Breaks if dropout depends on the strategy, or the weights on what else was drawn."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = draw(Random(TASKS, distribution), 10)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert_same_bits(draw(Random(TASKS, distribution), 10), first)


def test_batch_order_and_dropout_are_those_of_fixed_weights() -> None:
    """Breaks if strategies with the same seed see other batches or other dropout masks."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    seen: list[list[Tensor]] = []
    for weighting in (Fixed(tasks), Random(tasks, seed=0)):
        seeding.seed_everything(0)
        model = MLP(tasks, (INPUTS,), (16,), activation="tanh", dropout=0.5)
        masks: list[Tensor] = []
        model.trunk.register_forward_hook(
            lambda _, __, output, masks=masks: masks.append(output == 0)
        )
        learner = make_learner(tasks, split, model=model, weighting=weighting)
        masks.clear()  # of the look at the parameters
        batches = Batches(split, tasks, Schedule(tasks, RunLength(2, 4)), batch_size=6, seed=0)
        rows = []
        for epoch in range(2):
            for batch, active in batches.epoch(4 * epoch):
                learner.step(batch, active)
                rows.append(batch.inputs)
        seen.append([*rows, *masks])
    assert len(seen[0]) == len(seen[1]) == 16
    for of_fixed, of_random in zip(*seen, strict=True):
        assert torch.equal(of_fixed, of_random)
    assert any(mask.any() for mask in seen[0][8:])


@distribution_is
@pytest.mark.parametrize("steps", [0, 7])
def test_a_resumed_run_goes_on_with_the_same_draws(distribution: str, steps: int) -> None:
    """Breaks if resuming repeats the first weights or starts another stream."""
    weighting = Random(TASKS, distribution, seed=3)
    if steps:
        draw(weighting, steps)
    saved = copy.deepcopy(weighting.state_dict())
    expected = draw(weighting, 6)
    resumed = Random(TASKS, distribution, seed=3)
    resumed.load_state_dict(saved)
    # It can be saved again before the first step.
    assert_same_bits(resumed.state_dict()["_extra_state"], saved["_extra_state"])
    assert_same_bits(draw(resumed, 6), expected)
    worn = Random(TASKS, distribution, seed=3)
    draw(worn, 3)
    worn.load_state_dict(saved)
    assert_same_bits(draw(worn, 6), expected)


@distribution_is
def test_an_idle_task_does_not_shift_later_draws(distribution: str) -> None:
    """Breaks if later weights depend on which task was idle in an earlier step."""
    plain, partly = Random(TASKS, distribution), Random(TASKS, distribution)
    draw(plain, 3)
    for active in (None, only_active(1, 2), only_active(3)):
        partly.weigh(LOSSES, active)
    assert_same_bits(draw(partly, 5), draw(plain, 5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"distribution": "uniform"},
            r"weighting\.distribution='uniform' is unknown; allowed: normal, dirichlet\.",
        ),
        ({"total": "T"}, r"weighting\.total='T' is unknown; allowed: one, tasks\."),
        ({"seed": 1.5}, r"weighting\.seed must be a whole number; found 1\.5\."),
        ({"seed": True}, r"weighting\.seed must be a whole number; found True\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo draws from something else without a word."""
    with pytest.raises(ConfigError, match=words):
        Random(TASKS, **options)
