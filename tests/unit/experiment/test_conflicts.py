"""Norms and cosines of the tasks' gradients, against gradients that are taken in another way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.likelihood import Standard
from mtl_runner.tasks.task import Task
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask, Update
from mtl_runner.weighting import Fixed
from tests.support.builders import (
    QUICK,
    assert_near,
    assert_same_bits,
    flat_parameters,
    losses_of,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.unit.update.learners import KINDS_OF, PATTERNS, Pairs, learner_with, only

pytestmark = pytest.mark.usefixtures("float64")


def backward_alone(model: nn.Module, tasks: Sequence[Task], split: object, index: int) -> Tensor:
    """Return one task's gradient over all but the heads, by a backward pass on a fresh graph."""
    model.zero_grad()
    losses_of(model, tasks, split)[index].backward()
    shared = [(name, p) for name, p in model.named_parameters() if not name.startswith("heads")]
    gradient = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for _, p in shared]
    )
    model.zero_grad()
    return gradient


@pytest.mark.parametrize("make_model", [make_mlp, Pairs], ids=["mlp", "pairs"])
@pytest.mark.parametrize("active", PATTERNS)
def test_norms_and_cosines_are_those_of_the_gradients(
    make_model: type[Pairs], active: tuple[int, ...]
) -> None:
    """Breaks if the gradient is another one, or an idle task is not left out."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_model(tasks)
    rows = [backward_alone(model, tasks, split, t) for t in range(3)]
    learner = learner_with(Joint, tasks, split, model=model, weighting=Fixed(tasks, {"a": 100.0}))
    learner.conflicts = Conflicts(learner.update.parameters, 3)
    measured = learner.step(split, only(*active)).measured
    norms, cosines = measured["gradient_norm"], measured["cosine"]
    assert learner.layout.measured == {"gradient_norm": 3, "cosine": 9}
    for t in range(3):
        if t in active:
            assert_near(norms[t], rows[t].norm(), 1e-13)
        else:
            assert norms[t].isnan()
    for (first, second), cosine in zip(itertools.product(range(3), repeat=2), cosines, strict=True):
        if first in active and second in active:
            assert_near(
                cosine,
                torch.nn.functional.cosine_similarity(rows[first], rows[second], dim=0),
                1e-13,
            )
        else:
            assert cosine.isnan()


@QUICK
@given(angle=st.floats(0, 3.14159), first=st.floats(1e-6, 1e6), second=st.floats(1e-6, 1e6))
def test_the_cosine_is_that_of_the_angle_whatever_the_norms(
    angle: float, first: float, second: float
) -> None:
    """Breaks if the size of a gradient reaches the cosine, or rounding takes it beyond 1."""
    point = nn.Parameter(torch.zeros(2))
    losses = [
        first * point[0],
        second * (torch.tensor(angle).cos() * point[0] + torch.tensor(angle).sin() * point[1]),
    ]
    conflicts = Conflicts(Parameters([point], [frozenset({0, 1})]), 2)
    norms, cosines = conflicts.measure(losses, only(0, 1, of=2))
    torch.testing.assert_close(norms, torch.tensor([first, second]), rtol=1e-12, atol=0)
    assert_near(
        cosines.view(2, 2),
        torch.tensor([[1.0, torch.tensor(angle).cos()], [torch.tensor(angle).cos(), 1.0]]),
        1e-12,
    )
    assert cosines.abs().max() <= 1


def test_a_gradient_of_zero_has_no_direction() -> None:
    """Breaks if a gradient of 0 is said to agree with others, or to be at right angles."""
    point = nn.Parameter(torch.ones(2))
    losses = [0.0 * point.sum(), point[0], -2 * point[0]]
    norms, cosines = Conflicts(Parameters([point], [frozenset({0, 1, 2})]), 3).measure(
        losses, only(0, 1, 2)
    )
    assert_near(norms, torch.tensor([0.0, 1.0, 2.0]), 0)
    table = cosines.view(3, 3)
    assert table[0].isnan().all()
    assert table[:, 0].isnan().all()
    assert_near(table[1:, 1:], torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), 0)


@pytest.mark.parametrize("update", [Joint, PerTask, AdaTask, Jacobian])
def test_looking_does_not_change_the_training(update: type[Update]) -> None:
    """Breaks if measuring frees a graph, leaves gradients behind, or draws a random number."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models = []
    for looking in (False, True):
        models.append(Pairs(tasks))
        options = {"aggregator": "pcgrad"} if update is Jacobian else {}
        learner = learner_with(update, tasks, split, model=models[-1], **options)
        if looking:
            learner.conflicts = Conflicts(learner.update.parameters, 3)
        for active in PATTERNS:
            learner.step(split, only(*active))
    assert_same_bits(flat_parameters(models[1]), flat_parameters(models[0]))


def test_frozen_parameters_do_not_count() -> None:
    """Breaks if the measurement wants the gradient of a parameter that has none."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks, hidden=(8, 5))
    model.trunk[0].requires_grad_(False)
    conflicts = Conflicts(find_parameters(model, Standard(tasks), split), 3)
    rows = []
    for loss in losses_of(model, tasks, split):
        gradients = torch.autograd.grad(loss, list(model.trunk[2].parameters()), retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    norms, _ = conflicts.measure(list(losses_of(model, tasks, split).unbind()), only(0, 1, 2))
    assert_near(norms, torch.stack(rows).norm(dim=1), 1e-13)
