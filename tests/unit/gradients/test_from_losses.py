"""Owners of parameters, read off the losses of a user's own loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import nn

from mtl_runner.errors import ModelError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.likelihood import Standard
from mtl_runner.tasks.task import Task
from mtl_runner.update import AdaTask
from tests.support.builders import assert_same_bits, copy_state, make_mlp, make_split, make_tasks
from tests.support.own_loop import task_losses
from tests.unit.update.learners import KINDS_OF, Pairs

pytestmark = pytest.mark.usefixtures("float64")

AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


@pytest.mark.parametrize("make_model", [make_mlp, Pairs], ids=["mlp", "pairs"])
def test_owners_from_losses_are_those_that_the_runner_finds(
    make_model: Callable[[Sequence[Task]], nn.Module],
) -> None:
    """Breaks if a user's own loop shares other parameters than the runner does."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_model(tasks)
    from_losses, from_model = (
        Parameters.from_losses(model, task_losses(model, split)),
        find_parameters(model, Standard(tasks), split),
    )
    assert list(map(id, from_losses.tensors)) == list(map(id, from_model.tensors))
    assert from_losses.owners == from_model.owners
    assert from_losses.last_shared
    assert list(map(id, from_losses.last_shared)) == list(map(id, from_model.last_shared))


def test_a_parameter_that_no_loss_reaches_or_that_is_frozen_is_left_alone() -> None:
    """Breaks if an update moves, decays or refuses what the losses do not use."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks, hidden=(8, 5))
    model.unused = nn.Linear(2, 2)
    model.trunk[0].requires_grad_(False)
    unchanged = {
        "unused": copy_state(model.unused.state_dict()),
        "frozen": copy_state(model.trunk[0].state_dict()),
    }
    parameters = Parameters.from_losses(model, task_losses(model, split))
    assert {id(p) for p in parameters.tensors} == {
        id(p) for p in (*model.trunk[2].parameters(), *model.heads.parameters())
    }
    update = AdaTask(parameters, AdamW, tasks)
    for _ in range(3):
        update(task_losses(model, split))
    assert_same_bits(
        {
            "unused": copy_state(model.unused.state_dict()),
            "frozen": copy_state(model.trunk[0].state_dict()),
        },
        unchanged,
    )


def test_stacked_losses_have_no_owners_and_are_refused() -> None:
    """Breaks if heads silently become shared parameters, because all losses hang on one graph."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    with pytest.raises(ModelError, match="Give the losses as a list of scalars, one per task"):
        Parameters.from_losses(model, torch.stack(task_losses(model, split)))
