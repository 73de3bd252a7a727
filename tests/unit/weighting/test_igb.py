"""Improvable gap balancing: the published formula, its base, and tasks that come late."""

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
from mtl_runner.weighting import IGB, LogSum
from tests.support.builders import QUICK, assert_near, make_tasks, only_active

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
rows = st.lists(st.floats(0.01, 10), min_size=3, max_size=3)


def run_epoch(
    weighting: IGB, batches: Sequence[Sequence[float]], active: Active | None = None
) -> Tensor:
    """Return the weights of every step of an epoch."""
    weighting.begin_epoch()
    return torch.stack([weighting.weigh(torch.tensor(batch), active)[0] for batch in batches])


@QUICK
@given(first=st.lists(rows, min_size=1, max_size=4), later=rows, base_epoch=st.integers(1, 3))
def test_the_weights_are_those_of_the_paper(
    first: list[list[float]], later: list[float], base_epoch: int
) -> None:
    """Breaks if the base is of another epoch, or the softmax of something else than the gaps."""
    weighting = IGB(TASKS, base_epoch=base_epoch)
    for epoch in range(base_epoch):
        batches = [[(1 + epoch) * loss for loss in batch] for batch in first]
        for batch, weights in zip(batches, run_epoch(weighting, batches), strict=True):
            assert_near(weights * torch.tensor(batch), torch.ones(3), 1e-12)
    means = [base_epoch * sum(batch[t] for batch in first) / len(first) for t in range(3)]
    gaps = [loss / mean for loss, mean in zip(later, means, strict=True)]
    shares = [math.exp(gap - max(gaps)) for gap in gaps]  # gaps of hundreds have no exponential
    expected = [3 * s / sum(shares) / loss for s, loss in zip(shares, later, strict=True)]
    for _ in range(3):  # the base stays
        (weights,) = run_epoch(weighting, [later])
        torch.testing.assert_close(weights, torch.tensor(expected), rtol=1e-9, atol=0)


def test_before_there_is_a_base_and_where_nothing_has_moved_it_is_the_sum_of_logarithms() -> None:
    """Breaks if the first epochs have other weights than the authors'."""
    losses, weighting = torch.tensor([4.0, 0.5, 2.0]), IGB(TASKS)
    expected, objective = LogSum(TASKS).weigh(losses)
    for _ in range(4):  # two without a base, two at the base
        weighting.begin_epoch()
        weights, value = weighting.weigh(losses)
        assert_near(weights, expected, 1e-12)
        assert_near(value, objective, 1e-12)


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_the_unit_of_a_loss_drops_out(factor: float) -> None:
    """Breaks if a loss in other units pulls more or less."""
    scale = torch.tensor([factor, 1.0, 1.0])
    plain, scaled = IGB(TASKS, base_epoch=1), IGB(TASKS, base_epoch=1)
    for losses in ([4.0, 1.0, 2.0], [1.0, 1.0, 1.5]):
        for weighting, unit in ((plain, torch.ones(3)), (scaled, scale)):
            (weights,) = run_epoch(weighting, [(unit * torch.tensor(losses)).tolist()])
            if weighting is plain:
                expected = weights
    assert_near(weights * scale, expected, 1e-12)


def test_a_task_that_comes_late_has_a_base_of_its_own() -> None:
    """Breaks if a task that starts late is compared with an epoch in which it was not there."""
    weighting = IGB(TASKS, base_epoch=2)
    early = only_active(0, 1)
    for losses in ([4.0, 1.0, 9.0], [3.0, 1.0, 9.0], [1.5, 1.0, 9.0]):
        (weights,) = run_epoch(weighting, [losses], early)
    shares = torch.tensor([0.5, 1.0]).exp()
    assert_near(
        weights * torch.tensor([1.5, 1.0, 0.0]),
        torch.cat([2 * shares / shares.sum(), torch.zeros(1)]),
        1e-12,
    )
    for losses in ([1.5, 1.0, 8.0], [1.5, 1.0, 6.0]):  # it has no base yet
        (weights,) = run_epoch(weighting, [losses])
        assert_near(weights * torch.tensor(losses), torch.ones(3), 1e-12)
    (weights,) = run_epoch(weighting, [[3.0, 1.0, 6.0]])
    assert_near(weights * torch.tensor([3.0, 1.0, 6.0]), torch.ones(3), 1e-12)
    (weights,) = run_epoch(weighting, [[3.0, 1.0, 3.0]])
    shares = torch.tensor([1.0, 1.0, 0.5]).exp()
    assert_near(weights * torch.tensor([3.0, 1.0, 3.0]), 3 * shares / shares.sum(), 1e-12)


@pytest.mark.parametrize("base_epoch", [0, 1.5, "second"])
def test_the_base_epoch_is_a_whole_number(base_epoch: Any) -> None:
    """Breaks if a base that is never measured leaves the weights equal in silence."""
    with pytest.raises(ConfigError) as error:
        IGB(TASKS, base_epoch=base_epoch)
    assert str(error.value) == (
        f"weighting.base_epoch must be a whole number of at least 1; found {base_epoch!r}."
    )
