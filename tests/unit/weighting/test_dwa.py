"""Dynamic weight average: the published formula, and tasks that come late or miss an epoch."""

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
from mtl_runner.weighting import DWA
from tests.support.builders import (
    NO_DATA,
    QUICK,
    SGD,
    Point,
    assert_near,
    assert_same_bits,
    make_learner,
    make_tasks,
    make_terms,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
Epoch = list[list[float]]
epochs = st.lists(
    st.lists(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), min_size=1, max_size=4),
    min_size=1,
    max_size=6,
)


def run_epoch(
    weighting: DWA, batches: Sequence[Sequence[float]], active: Active | None = None
) -> Tensor:
    """Return the weights of every step of an epoch."""
    weighting.begin_epoch()
    return torch.stack([weighting.weigh(torch.tensor(batch), active)[0] for batch in batches])


def softmax(rates: Sequence[float], temperature: float) -> Tensor:
    """Return k times the softmax of k rates."""
    exponentials = [math.exp(rate / temperature) for rate in rates]
    return len(rates) * torch.tensor(exponentials) / sum(exponentials)


@QUICK
@given(history=epochs)
def test_torchjds_dwa_agrees(history: list[Epoch]) -> None:
    """Breaks if weights or objective differ from TorchJD's, stepped at the end of every epoch."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    weighting, torchjd_dwa = DWA(TASKS), scalarization.DWA()
    for epoch in history:
        weighting.begin_epoch()
        for batch in epoch:
            values = torch.tensor(batch, requires_grad=True)
            expected = torchjd_dwa(values)
            weights, objective = weighting.weigh(values.detach())
            assert_near(weights, torch.autograd.grad(expected, values)[0], 1e-13)
            assert_near(objective, expected.detach(), 1e-12)
        torchjd_dwa.step()


def test_weights_follow_the_ratio_of_the_last_two_epochs() -> None:
    """Breaks if the rate is inverted, of other epochs, or of single batches."""
    weighting = DWA(TASKS, temperature=0.5)
    # Means 3, 2, 2 and 1.5, 2, 1.
    first, second = (
        [[4.0, 1.0, 2.0], [2.0, 3.0, 2.0]],
        [[1.0, 2.0, 0.5], [2.0, 2.0, 1.5]],
    )
    assert_near(run_epoch(weighting, first), torch.ones(2, 3), 1e-15)
    assert_near(run_epoch(weighting, second), torch.ones(2, 3), 1e-15)
    third = run_epoch(weighting, [[9.0, 9.0, 9.0], [0.1, 1.0, 10.0]])
    assert_near(third, softmax([0.5, 1.0, 0.5], 0.5).expand(2, 3), 1e-14)
    fourth = run_epoch(weighting, [[1.0, 1.0, 1.0]])
    assert_near(fourth[0], softmax([4.55 / 1.5, 5.0 / 2, 9.5 / 1], 0.5), 1e-13)


def test_the_published_temperature_is_the_default() -> None:
    """Breaks if the default is not the paper's 2."""
    weighting = DWA(TASKS)
    run_epoch(weighting, [[2.0, 1.0, 1.0]])
    run_epoch(weighting, [[1.0, 1.0, 1.0]])
    assert_near(run_epoch(weighting, [[1.0, 1.0, 1.0]])[0], softmax([0.5, 1.0, 1.0], 2.0), 1e-14)


@QUICK
@given(
    history=epochs,
    active=st.sampled_from([None, only_active(0), only_active(1, 2), only_active(0, 2)]),
)
def test_the_weights_sum_to_the_number_of_active_tasks(
    history: list[Epoch], active: Active | None
) -> None:
    """Breaks if the size of the step depends on the rates, or counts idle tasks."""
    weighting = DWA(TASKS, temperature=0.5)
    for epoch in history:
        weights = run_epoch(weighting, epoch, active)
        assert_near(
            weights.sum(1),
            torch.full((len(epoch),), float(3 if active is None else len(active.tasks))),
            1e-13,
        )


def test_a_high_temperature_gives_equal_weights() -> None:
    """Breaks if the temperature multiplies where it must divide."""
    weighting = DWA(TASKS, temperature=1e9)
    for batch in ([4.0, 1.0, 2.0], [1.0, 2.0, 0.5], [1.0, 1.0, 1.0]):
        weights = run_epoch(weighting, [batch])
    assert_near(weights[0], torch.ones(3), 1e-8)


def test_slow_tasks_get_more_weight_in_training() -> None:
    """Breaks if the method prefers tasks that learn fast."""
    tasks = make_terms(
        fast=lambda p: p.square().sum() + 1e-3, slow=lambda p: 0.01 * p.square().sum() + 1e-3
    )
    weighting = DWA(tasks)
    learner = make_learner(tasks, NO_DATA, model=Point(5.0), weighting=weighting, optimizer=SGD)
    for _ in range(3):
        weighting.begin_epoch()
        history = train(learner, NO_DATA, 30)
    fast, slow = history.weights[-1].tolist()
    assert slow > 1 > fast
    assert fast + slow == pytest.approx(2)


# A clock per task


def test_a_late_task_has_two_epochs_of_rate_one() -> None:
    """Breaks if a task is compared with a time when it did not train, or makes the others wait."""
    weighting = DWA(TASKS, temperature=0.5)
    run_epoch(weighting, [[4.0, 77.0, 1.0]], active=only_active(0, 2))
    run_epoch(weighting, [[2.0, 0.0, 1.0]], active=only_active(0, 2))
    assert_near(run_epoch(weighting, [[1.0, 8.0, 1.0]])[0], softmax([0.5, 1.0, 1.0], 0.5), 1e-14)
    assert_near(run_epoch(weighting, [[1.0, 2.0, 1.0]])[0], softmax([0.5, 1.0, 1.0], 0.5), 1e-14)
    assert_near(run_epoch(weighting, [[1.0, 2.0, 1.0]])[0], softmax([1.0, 0.25, 1.0], 0.5), 1e-14)


def test_what_counts_are_the_last_two_epochs_in_which_a_task_took_part() -> None:
    """Breaks if an idle task's loss, or a 0 in its place, becomes the mean of an epoch.

    Its next rate would be 0 or infinite.
    """
    weighting = DWA(TASKS, temperature=0.5)
    run_epoch(weighting, [[4.0, 8.0, 1.0]])
    run_epoch(weighting, [[2.0, 2.0, 1.0]])
    assert_near(
        run_epoch(weighting, [[1.0, 99.0, 1.0]], active=only_active(0, 2))[0, [0, 2]],
        softmax([0.5, 1.0], 0.5),
        1e-14,
    )
    assert_near(run_epoch(weighting, [[1.0, 3.0, 1.0]])[0], softmax([0.5, 0.25, 1.0], 0.5), 1e-14)
    assert_near(run_epoch(weighting, [[1.0, 1.0, 1.0]])[0], softmax([1.0, 1.5, 1.0], 0.5), 1e-14)


def test_a_negative_loss_counts_as_zero() -> None:
    """Breaks the warning of negative losses: such a task has the rate 0, the smallest."""
    weighting = DWA(TASKS, temperature=0.5)
    run_epoch(weighting, [[1.0, 1.0, 1.0]])
    run_epoch(weighting, [[-1.0, 0.0, 1.0]])
    assert_near(run_epoch(weighting, [[1.0, 1.0, 1.0]])[0], softmax([0.0, 0.0, 1.0], 0.5), 1e-10)


def test_batches_without_a_label_do_not_count_in_the_mean() -> None:
    """Breaks if a batch without labels, whose loss is 0, pulls the mean of its epoch down."""
    weighting = DWA(TASKS, temperature=0.5)
    for scale in (1.0, 0.5):
        weighting.begin_epoch()
        weighting.weigh(scale * torch.tensor([4.0, 2.0, 1.0]))
        weighting.weigh(scale * torch.tensor([0.0, 6.0, 1.0]), active=only_active(1, 2))
        weighting.weigh(scale * torch.tensor([4.0, 1.0, 1.0]))
    weighting.begin_epoch()
    assert_near(weighting.epoch_means, torch.tensor([[2.0, 1.5, 0.5], [4.0, 3.0, 1.0]]), 1e-15)


def test_the_means_travel_in_the_checkpoint() -> None:
    """Breaks if a resumed run begins with two epochs of equal weights."""
    weighting = DWA(TASKS)
    for batch in ([4.0, 1.0, 2.0], [1.0, 2.0, 0.5]):
        run_epoch(weighting, [batch])
    state = {name: value.clone() for name, value in weighting.state_dict().items()}
    expected = run_epoch(weighting, [[1.0, 1.0, 1.0]] * 2)
    resumed = DWA(TASKS)
    resumed.load_state_dict(state)
    assert_same_bits(run_epoch(resumed, [[1.0, 1.0, 1.0]] * 2), expected)
    assert expected[0].std() > 0.1


def test_looking_in_evaluation_mode_does_not_count() -> None:
    """Breaks if a look at the weights outside of training enters the epoch's mean."""
    weighting = DWA(TASKS)
    weighting.begin_epoch()
    weighting.weigh(torch.tensor([2.0, 2.0, 2.0]))
    weighting.eval()
    weighting.weigh(torch.tensor([100.0, 100.0, 100.0]))
    weighting.train()
    weighting.begin_epoch()
    assert_near(weighting.epoch_means[0], torch.full((3,), 2.0), 0)


@pytest.mark.parametrize("temperature", [0, -2.0, math.inf, math.nan, "warm", False, None])
def test_a_temperature_that_is_not_positive_is_refused(temperature: Any) -> None:
    """Breaks if a typo divides by 0 or turns the preference round."""
    with pytest.raises(
        ConfigError, match=r"weighting\.temperature must be a positive number; found"
    ):
        DWA(TASKS, temperature)
