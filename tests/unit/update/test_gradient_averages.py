"""DB-MTL and MoCo: what their averages and weights come to where that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.update import Jacobian
from mtl_runner.update.gradient_averages import EqualLengths, TrackedGradients
from mtl_runner.weighting import LogSum
from tests.support.builders import (
    NO_DATA,
    QUICK,
    SGD,
    Point,
    assert_near,
    flat_parameters,
    make_terms,
)
from tests.unit.update.aggregations import aggregation_of, random_rows, shortest_by_scipy
from tests.unit.update.learners import learner_with, only

pytestmark = pytest.mark.usefixtures("float64")

seeds = st.integers(0, 10**6)
counts = st.integers(2, 5)


# DB-MTL


@QUICK
@given(seed=seeds, count=counts, steps=st.integers(1, 4))
def test_every_average_has_the_length_of_the_longest(seed: int, count: int, steps: int) -> None:
    """Breaks if a task is louder in the direction of DB-MTL than another."""
    equal = EqualLengths(count)
    for step in range(steps):
        _, weights = equal([random_rows(count, seed=seed + step)], tuple(range(count)), torch.clone)
    assert equal.averages is not None
    lengths = equal.averages.norm(dim=1)
    assert_near(weights * lengths, lengths.max().expand(count), 1e-9)


def test_the_averages_of_equal_gradients_grow_as_the_betas_say() -> None:
    """Breaks if beta does not fall with the root of the step, or an average does not begin at 0."""
    rows, equal, left = random_rows(3), EqualLengths(3), 1.0
    unit = (rows / rows.norm(dim=1, keepdim=True)).sum(0) * rows.norm(dim=1).max()
    for step in range(1, 8):
        direction, _ = equal([rows], (0, 1, 2), torch.clone)
        left *= 0.9 / math.sqrt(step)
        assert_near(direction, (1 - left) * unit, 1e-12)


def test_the_count_of_a_task_is_that_of_its_own_steps() -> None:
    """Breaks if a task that starts late is averaged as if it had been there before."""
    rows, late, fresh = random_rows(3), EqualLengths(3, decay=1.0), EqualLengths(3, decay=1.0)
    for _ in range(5):
        late([rows[:2]], (0, 1), torch.clone)
    late([rows], (0, 1, 2), torch.clone)
    fresh([rows], (0, 1, 2), torch.clone)
    assert late.averages is not None
    assert fresh.averages is not None
    assert_near(late.averages[2], fresh.averages[2], 0)
    assert (late.averages[0].norm() > fresh.averages[0].norm()).all()


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**12])
def test_the_scale_of_a_loss_drops_out_of_db_mtl(factor: float) -> None:
    """Breaks if the logarithm, or the common length, leaves a trace of a loss's unit."""
    ends = []
    for scale in (1.0, factor):
        tasks = make_terms(
            a=lambda p: 1 + (p[0] - 1) ** 2 + p[1] ** 2,
            b=lambda p, scale=scale: scale * (2 + (p[0] + p[1] - 3) ** 2),
        )
        model = Point(0.5, -0.5)
        learner = learner_with(
            Jacobian,
            tasks,
            NO_DATA,
            model=model,
            optimizer=SGD,
            weighting=LogSum(tasks),
            aggregator="db_mtl",
        )
        for _ in range(20):
            learner.step(NO_DATA, only(0, 1, of=2))
        ends.append(flat_parameters(model))
    assert (ends[0] - torch.tensor([0.5, -0.5])).norm() > 0.1
    assert_near(ends[1], ends[0], 1e-12)


# MoCo


@pytest.mark.parametrize(("count", "seed"), [(2, 0), (3, 1), (5, 2)])
def test_with_many_steps_at_one_point_the_weights_of_moco_are_those_of_mgda(
    count: int, seed: int
) -> None:
    """Breaks if the weights descend on something else than the length of the combination."""
    rows = random_rows(count, seed=seed)
    gamma = 0.5 / torch.linalg.matrix_norm(rows, 2).item() ** 2
    tracked = TrackedGradients(count, beta=1.0, gamma=gamma, rho=0.0)
    for _ in range(2000):
        direction, weights = tracked([rows], tuple(range(count)), torch.clone)
    assert_near(direction, shortest_by_scipy(rows), 1e-8)
    assert_near(weights.sum(), torch.tensor(1.0), 1e-12)


def test_the_average_of_moco_comes_to_the_gradient_and_is_less_noisy() -> None:
    """Breaks if the average has another rate than beta, or does not begin at 0."""
    rows, tracked = random_rows(3), TrackedGradients(3, beta=0.2, gamma=0.0)
    for step in range(1, 30):
        direction, weights = tracked([rows], (0, 1, 2), torch.clone)
        assert_near(weights, torch.full((3,), 1 / 3), 1e-15)
        assert_near(direction, (1 - 0.8**step) * rows.mean(0), 1e-12)


def test_rho_draws_the_weights_together() -> None:
    """Breaks if the regularisation has the wrong sign or place."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    for rho in (0.0, 1.0, 10.0):
        tracked = TrackedGradients(2, beta=1.0, gamma=0.01, rho=rho)
        for _ in range(600):
            _, weights = tracked([rows], (0, 1), torch.clone)
        # The minimum of w1^2 + 9 w2^2 + rho (w1^2 + w2^2) on the simplex.
        assert_near(weights, torch.tensor([9 + rho, 1 + rho]) / (10 + 2 * rho), 1e-9)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("db_mtl", {"beta": 1.0}, "update.options.beta must lie in [0, 1); found 1.0."),
        ("db_mtl", {"decay": -1}, "update.options.decay must be a number of at least 0; found -1."),
        ("moco", {"beta": 2}, "update.options.beta must lie in [0, 1]; found 2."),
        ("moco", {"gamma": "x"}, "update.options.gamma must be a number of at least 0; found 'x'."),
        ("moco", {"rho": -0.1}, "update.options.rho must be a number of at least 0; found -0.1."),
        ("moco", {"betta": 1}, "update.aggregator=moco refuses its options ({'betta': 1}): "),
    ],
)
def test_a_wrong_option_is_named(name: str, options: Mapping[str, Any], words: str) -> None:
    """Breaks if an option out of its range shows as numbers that are not finite."""
    with pytest.raises(ConfigError) as error:
        aggregation_of(name, **options)
    assert words in str(error.value)
