"""SoftAdapt: the published formulas, and tasks that come late."""

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
from mtl_runner.weighting import SoftAdapt
from tests.support.builders import QUICK, assert_near, make_tasks, only_active

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
losses = st.lists(st.floats(0.01, 10), min_size=3, max_size=3)


def run(
    weighting: SoftAdapt, steps: Sequence[Sequence[float]], active: Active | None = None
) -> Tensor:
    """Return the weights of every step ``[steps, T]``."""
    return torch.stack([weighting.weigh(torch.tensor(step), active)[0] for step in steps])


@QUICK
@given(before=losses, now=losses, normalized=st.booleans(), loss_weighted=st.booleans())
def test_the_weights_are_the_published_formula(
    before: list[float], now: list[float], normalized: bool, loss_weighted: bool
) -> None:
    """Breaks if a slope has the wrong sign, or a variant is another one."""
    weighting = SoftAdapt(TASKS, 0.7, normalized, loss_weighted)
    actual = run(weighting, [before, now])[1]
    slopes = [b - a for a, b in zip(before, now, strict=True)]
    size = sum(map(abs, slopes)) if normalized else 1.0
    terms = [
        (loss if loss_weighted else 1.0) * math.exp(0.7 * slope / max(size, 1e-12))
        for loss, slope in zip(now, slopes, strict=True)
    ]
    assert_near(actual, torch.tensor(terms) / sum(terms), 1e-12)


@QUICK
@given(start=losses, fall=st.floats(0, 0.01))
def test_equal_falls_give_equal_weights(start: list[float], fall: float) -> None:
    """Breaks if the size of a loss counts where only its change should."""
    weights = run(SoftAdapt(TASKS, 5.0), [start, [loss - fall for loss in start]])
    assert_near(weights, torch.full((2, 3), 1 / 3), 1e-9)


def test_the_slowest_task_gets_most() -> None:
    """Breaks if the preference is turned round, as by a division by the signed sum of slopes."""
    for normalized in (False, True):
        weights = run(SoftAdapt(TASKS, 2.0, normalized), [[4.0, 4.0, 4.0], [1.0, 3.0, 4.5]])[1]
        assert weights[0] < weights[1] < weights[2]


@QUICK
@given(before=losses, now=losses, unit=st.floats(1e-2, 1e2))
def test_normalized_slopes_have_no_unit(before: list[float], now: list[float], unit: float) -> None:
    """Breaks if ``normalized`` leaves the common unit of the losses in the weights."""
    change = sum(abs(a - b) for a, b in zip(before, now, strict=True))
    if change < 1e-6:
        return
    histories = [[[k * loss for loss in step] for step in (before, now)] for k in (1.0, unit)]
    weights, scaled = (run(SoftAdapt(TASKS, 3.0, normalized=True), steps)[1] for steps in histories)
    assert_near(scaled, weights, 1e-6)


def test_a_late_task_begins_without_a_slope() -> None:
    """Breaks if the loss of an idle step, or a 0, is the loss before the first one."""
    weighting = SoftAdapt(TASKS, 1.0)
    run(weighting, [[4.0, 99.0, 1.0], [3.0, 88.0, 1.0]], only_active(0, 2))
    weights = run(weighting, [[3.0, 7.0, 1.0]])[0]
    assert_near(weights, torch.full((3,), 1 / 3), 1e-12)
    # Task a misses a step: its slope is since it last took part.
    run(weighting, [[0.0, 7.0, 1.0]], only_active(1, 2))
    weights = run(weighting, [[2.0, 7.0, 1.0]])[0]
    terms = torch.tensor([math.exp(-1.0), 1.0, 1.0])
    assert_near(weights, terms / terms.sum(), 1e-12)


@pytest.mark.parametrize(("total", "expected"), [("one", 1.0), ("tasks", 2.0)])
def test_the_weights_of_the_active_tasks_have_the_total(total: str, expected: float) -> None:
    """Breaks if the size of the step counts idle tasks."""
    weights = run(SoftAdapt(TASKS, total=total), [[1.0, 2.0, 3.0]] * 2, only_active(0, 2))
    assert_near(weights.sum(1), torch.full((2,), expected), 1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 0}, r"weighting\.beta must be a positive number; found 0\."),
        ({"normalized": 1}, r"weighting\.normalized must be true or false; found 1\."),
        ({"loss_weighted": "no"}, r"weighting\.loss_weighted must be true or false; found 'no'\."),
        ({"total": "two"}, r"weighting\.total='two' is unknown"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        SoftAdapt(TASKS, **options)


def test_a_loss_of_0_has_no_weight_where_losses_count() -> None:
    """Breaks if a task that is solved gets weight because it does not fall any more."""
    weighting = SoftAdapt(
        make_tasks(a="regression", b="regression", c="regression"), loss_weighted=True
    )
    weighting.weigh(torch.tensor([300.0, 300.0, 0.0]))
    weights, _ = weighting.weigh(torch.tensor([10.0, 10.0, 0.0]))
    assert_near(weights, torch.tensor([0.5, 0.5, 0.0]), 1e-12)
    weights, _ = weighting.weigh(torch.zeros(3))
    assert weights.isfinite().all()
