"""ReLoBRaLo: the published formula, its lookback, and tasks that come late."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import ReLoBRaLo
from tests.support.builders import QUICK, assert_near, make_tasks, only_active

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
losses = st.lists(st.floats(0.01, 10), min_size=3, max_size=3)


def run(
    weighting: ReLoBRaLo, steps: Sequence[Sequence[float]], active: Active | None = None
) -> Tensor:
    """Return the weights of every step ``[steps, T]``."""
    return torch.stack([weighting.weigh(torch.tensor(step), active)[0] for step in steps])


def relative(now: Sequence[float], base: Sequence[float], temperature: float) -> Tensor:
    """Return k times the softmax of the ratios of losses to earlier ones."""
    exponents = [loss / (temperature * start) for loss, start in zip(now, base, strict=True)]
    exponentials = [math.exp(exponent - max(exponents)) for exponent in exponents]
    return len(now) * torch.tensor(exponentials) / sum(exponentials)


@QUICK
@given(
    history=st.lists(losses, min_size=2, max_size=8),
    momentum=st.sampled_from([0.0, 0.5, 0.999]),
    memory=st.sampled_from([0.0, 1.0]),
    temperature=st.sampled_from([0.5, 2.0]),
)
def test_the_weights_are_the_published_formula(
    history: list[list[float]], momentum: float, memory: float, temperature: float
) -> None:
    """Breaks if the past, the start or the last step is mixed up with another."""
    actual = run(ReLoBRaLo(TASKS, temperature, momentum, memory), history)
    weights = torch.ones(3)
    for step, now in enumerate(history):
        since_first = relative(now, history[0], temperature)
        since_last = relative(now, history[max(step - 1, 0)], temperature)
        past = weights if memory == 1 else since_first
        weights = momentum * past + (1 - momentum) * since_last
        assert_near(actual[step], weights, 1e-10)
        assert weights.sum().item() == pytest.approx(3)


@QUICK
@given(start=losses, fall=st.floats(0.1, 1))
def test_losses_that_fall_alike_weigh_equally(start: list[float], fall: float) -> None:
    """Breaks if the unit of a loss counts."""
    history = [[loss * fall**step for loss in start] for step in range(5)]
    assert_near(run(ReLoBRaLo(TASKS, 0.3, 0.5, 0.5), history), torch.ones(5, 3), 1e-9)


def test_a_share_of_the_steps_looks_back_at_the_start() -> None:
    """Breaks if ``memory`` is the probability of a lookback, or is not drawn at every step."""
    weighting = ReLoBRaLo(TASKS, momentum=0.9, memory=0.8)
    # A constant step from here on: a lookback brings the weights back at once.
    history = [[1.0, 1.0, 1.0]] + [[0.1, 1.0, 1.0]] * 2000
    weights = run(weighting, history)[2:, 0]
    back = 0.9 * relative([0.1, 1.0, 1.0], [1.0] * 3, 1.0)[0].item() + 0.1
    lookbacks = (weights - back).abs() < 1e-12
    assert 0.17 < lookbacks.double().mean().item() < 0.23


def test_draws_are_those_of_the_seed_and_resume() -> None:
    """Breaks if two runs with one seed differ, or a resumed run starts its draws anew."""
    history = [[1.0, 2.0, 3.0]] + [[0.5 / (1 + step % 3), 1.0, 2.0] for step in range(30)]
    first, twin, unequal = (ReLoBRaLo(TASKS, 1.0, 0.5, 0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(run(first, history), run(twin, history))
    assert not torch.equal(run(unequal, history), run(ReLoBRaLo(TASKS, 1.0, 0.5, 0.5), history))
    resumed = ReLoBRaLo(TASKS, 1.0, 0.5, 0.5, seed=1)
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(run(resumed, history), run(first, history))


def test_a_late_task_begins_with_the_weight_one() -> None:
    """Breaks if an idle task's loss is taken for its first, or the sum counts idle tasks."""
    weighting = ReLoBRaLo(TASKS, momentum=0.5, memory=1.0)
    early = run(weighting, [[4.0, 99.0, 1.0], [2.0, 88.0, 1.0]], only_active(0, 2))
    assert_near(early.sum(1), torch.full((2,), 2.0), 1e-12)
    weights = run(weighting, [[2.0, 7.0, 1.0]])[0]
    past = torch.tensor([early[1, 0].item(), 1.0, early[1, 2].item()])
    assert_near(weights, 0.5 * past * 3 / past.sum() + 0.5, 1e-12)
    assert weighting.first.tolist() == [4.0, 7.0, 1.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0}, r"weighting\.temperature must be a positive number; found 0\."),
        ({"momentum": 1.0}, r"weighting\.momentum must lie in \[0, 1\); found 1\.0\."),
        ({"memory": 1.1}, r"weighting\.memory must lie in \[0, 1\]; found 1\.1\."),
        ({"seed": "x"}, r"weighting\.seed must be a whole number; found 'x'\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        ReLoBRaLo(TASKS, **options)
