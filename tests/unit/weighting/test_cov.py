"""CoV-Weighting: the authors' statistics, what drops out of them, and tasks that come late."""

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
from mtl_runner.weighting import CoV
from tests.support.builders import QUICK, assert_near, make_tasks, only_active

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
histories = st.lists(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), min_size=1, max_size=12)


def run(weighting: CoV, steps: Sequence[Sequence[float]], active: Active | None = None) -> Tensor:
    """Return the weights of every step ``[steps, T]``."""
    return torch.stack([weighting.weigh(torch.tensor(losses), active)[0] for losses in steps])


def variation(losses: Sequence[float]) -> float:
    """Return the coefficient of variation of a task's ratios, from the whole of its history."""
    means = [sum(losses[: i or 1]) / (i or 1) for i in range(len(losses))]
    ratios = [loss / mean for loss, mean in zip(losses, means, strict=True)]
    mean = sum(ratios) / len(ratios)
    variance = sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios)
    return math.sqrt(variance + 1e-8) / mean


@QUICK
@given(history=histories)
def test_the_weights_are_the_coefficients_of_variation_of_the_steps_before(
    history: list[list[float]],
) -> None:
    """Breaks if Welford's running sums are not mean and variance, or this step's loss enters."""
    weights = run(CoV(TASKS), history)
    for step, actual in enumerate(weights):
        columns = list(zip(*history[:step], strict=True))
        terms = [variation(column) for column in columns] if step > 1 else [1.0] * 3
        assert_near(actual, torch.tensor(terms) / sum(terms), 1e-6)
        assert actual.sum().item() == pytest.approx(1)


@QUICK
@given(history=histories, scale=st.floats(1e-3, 1e3))
def test_the_unit_of_a_loss_drops_out(history: list[list[float]], scale: float) -> None:
    """Breaks if a loss in another unit gets another weight."""
    scaled = [[scale * a, b, c] for a, b, c in history]
    assert_near(run(CoV(TASKS), scaled), run(CoV(TASKS), history), 1e-8)


def test_constant_losses_weigh_equally() -> None:
    """Breaks if 0 is divided by 0 where no loss moves, or the larger loss gets more."""
    weights = run(CoV(TASKS), [[1.0, 100.0, 0.01]] * 6)
    assert_near(weights, torch.full((6, 3), 1 / 3), 1e-12)


def test_a_loss_that_does_not_move_any_more_loses_its_weight() -> None:
    """Breaks if the coefficient is inverted."""
    history = [[1.0 * 0.9**step, 5.0, 5.0 * 0.99**step] for step in range(30)]
    falling, still, slow = run(CoV(TASKS), history)[-1].tolist()
    assert falling > slow > still


def test_moving_means_forget() -> None:
    """Breaks if ``decay`` is turned round, or not used at all."""
    decayed, kept = CoV(TASKS, decay=0.5), CoV(TASKS)
    for weighting in (decayed, kept):
        run(weighting, [[8.0, 1.0, 1.0], [4.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    assert decayed.mean_loss[0].item() == pytest.approx(0.5 * (0.5 * (8 + 4)) + 0.5 * 2)
    assert kept.mean_loss[0].item() == pytest.approx(14 / 3)


@pytest.mark.parametrize(("total", "expected"), [("one", 1.0), ("tasks", 2.0)])
def test_the_weights_of_the_active_tasks_have_the_total(total: str, expected: float) -> None:
    """Breaks if the size of the step counts idle tasks."""
    history = [[1.0, 2.0, 3.0], [0.5, 2.5, 2.0], [0.4, 1.5, 1.0], [0.4, 1.0, 1.0]]
    weights = run(CoV(TASKS, total=total), history, only_active(0, 2))
    assert_near(weights.sum(1), torch.full((4,), expected), 1e-12)
    assert weights[-1, 0] != weights[-1, 2]


def test_a_late_task_begins_with_equal_weights_and_statistics_of_its_own() -> None:
    """Breaks if an idle task's loss enters its mean, or a late task divides by no steps."""
    weighting = CoV(TASKS)
    run(weighting, [[1.0, 99.0, 2.0], [0.5, 77.0, 1.9], [0.4, 55.0, 1.7]], only_active(0, 2))
    late = [[0.3, 4.0, 1.6], [0.2, 2.0, 1.5], [0.1, 1.0, 1.4]]
    weights = run(weighting, late)
    assert_near(weights[:2], torch.full((2, 3), 1 / 3), 1e-12)
    terms = [
        variation([1.0, 0.5, 0.4, 0.3, 0.2]),
        variation([4.0, 2.0]),
        variation([2.0, 1.9, 1.7, 1.6, 1.5]),
    ]
    assert_near(weights[2], torch.tensor(terms) / sum(terms), 1e-6)


def test_looking_in_evaluation_mode_is_not_remembered() -> None:
    """Breaks if a look at the weights outside of training enters the statistics."""
    weighting = CoV(TASKS)
    run(weighting, [[1.0, 2.0, 3.0]] * 2)
    weighting.eval()
    run(weighting, [[9.0, 9.0, 9.0]])
    assert weighting.steps.tolist() == [2, 2, 2]
    assert_near(weighting.mean_loss, torch.tensor([1.0, 2.0, 3.0]), 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": 1.0}, r"weighting\.decay must lie in \[0, 1\); found 1\.0\."),
        ({"decay": "slow"}, r"weighting\.decay must lie in \[0, 1\); found 'slow'\."),
        ({"total": "two"}, r"weighting\.total='two' is unknown"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        CoV(TASKS, **options)
