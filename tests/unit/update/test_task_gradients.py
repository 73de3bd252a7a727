"""The gradient of each task as a row over the shared parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_runner.gradients.parameters import Parameters
from mtl_runner.update.task_gradients import TaskGradients
from tests.support.builders import (
    assert_near,
    gradients_of,
    losses_of,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.unit.update.learners import KINDS_OF, only

pytestmark = pytest.mark.usefixtures("float64")


def test_rows_and_private_gradients_are_those_of_the_weighted_losses() -> None:
    """Breaks if a row loses a column, an idle task has one, or a weight misses the head."""
    tasks = make_tasks(**KINDS_OF)
    model, split = make_mlp(tasks), make_split(tasks)
    weights = torch.tensor([0.5, 3.0, 20.0])
    expected = weights.unsqueeze(1) * gradients_of(model, tasks, split)
    columns = sum(p.numel() for p in model.trunk.parameters())
    losses = list(losses_of(model, tasks, split).unbind())
    owners = [frozenset({0, 1, 2})] * 2 + [frozenset({t}) for t in (0, 0, 1, 1, 2, 2)]
    gradients = TaskGradients(Parameters(list(model.parameters()), owners), tasks=3)
    model.zero_grad()
    ((block, rows),) = gradients.jacobians(losses, weights, only(0, 2))
    assert block == 0
    assert_near(rows, expected[[0, 2], :columns], 1e-14)
    assert all(p.grad is None for p in model.trunk.parameters())
    assert all(p.grad is None for p in model.heads[1].parameters())
    head = torch.cat([p.grad.flatten() for p in model.heads[2].parameters()])
    assert_near(head, expected[2, -len(head) :], 1e-14)


def test_a_vector_is_dealt_out_in_the_order_of_the_columns() -> None:
    """Breaks if a parameter gets the direction of another one."""
    first, second = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))
    owners = [frozenset({0, 1})] * 2
    gradients = TaskGradients(Parameters([first, second], owners), tasks=2)
    gradients.assign(0, torch.arange(7.0))
    assert_near(first.grad, torch.tensor([[0.0, 1.0], [2.0, 3.0]]), 0)
    assert_near(second.grad, torch.tensor([4.0, 5.0, 6.0]), 0)
