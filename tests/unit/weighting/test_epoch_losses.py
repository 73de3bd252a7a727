"""The mean losses of an epoch: of the steps in which a task took part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.epoch_losses import EpochLosses
from tests.support.builders import assert_near, make_tasks, only_active

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")


class Summed(EpochLosses):
    """The sum of the losses, whose means nobody asks for."""

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        del active
        return losses.sum()


def test_the_means_are_those_of_the_steps_in_which_a_task_took_part() -> None:
    """Breaks if an idle step counts as a loss of 0, or several steps at once as one."""
    losses = Summed(TASKS)
    losses.accumulate(torch.tensor([1.0, 2.0, 3.0]))
    losses.accumulate(torch.tensor([5.0]), only_active(1))
    losses.accumulate(torch.tensor([[2.0, 6.0], [3.0, 0.0]]), only_active(0, 2))
    mean, seen = losses.close_epoch()
    assert_near(mean, torch.tensor([2.0, 3.5, 3.0]), 1e-15)
    assert seen.tolist() == [True, True, True]


def test_a_new_epoch_begins_with_nothing() -> None:
    """Breaks if the losses of one epoch are in the means of the next, or a mean is 0."""
    losses = Summed(TASKS)
    losses.accumulate(torch.tensor([1.0, 2.0, 3.0]))
    losses.close_epoch()
    losses.accumulate(torch.tensor([4.0, -1.0]), only_active(0, 2))
    mean, seen = losses.close_epoch()
    assert_near(mean, torch.tensor([4.0, TINY, TINY]), 0)
    assert seen.tolist() == [True, False, True]
