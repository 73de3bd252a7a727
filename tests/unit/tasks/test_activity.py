"""Which tasks take part in a step."""

from __future__ import annotations

import torch

from mtl_runner.tasks.activity import Active


def test_all_tasks_are_active() -> None:
    """Breaks if the default of `active` leaves a task out."""
    active = Active.all(3)
    assert active.values == (1.0, 1.0, 1.0)
    assert active.tasks == (0, 1, 2)
    assert active.none_idle
    assert active.none_if_all is None
    assert not active.partial


def test_an_inactive_task_is_left_out() -> None:
    """Breaks if a task with an activity of 0 gets a gradient."""
    active = Active((0.0, 0.5, 1.0))
    assert active.tasks == (1, 2)
    assert not active.none_idle
    assert active.none_if_all is active
    assert active.partial
    assert active.index(torch.device("cpu")).tolist() == [1, 2]


def test_the_values_are_copied_to_a_device_once() -> None:
    """Breaks if every step copies the activity to the device again, or in a wrong type."""
    active = Active((1.0, 0.5))
    single = active.tensor(torch.zeros(1))
    assert single.tolist() == [1.0, 0.5]
    assert active.tensor(torch.ones(3)) is single
    assert active.tensor(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
