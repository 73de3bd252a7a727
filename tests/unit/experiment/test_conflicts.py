"""How the tasks' gradients lie to each other: norms and cosines of gradients that are taken here a second time, in another way."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
    flat,
    losses_of,
    make_mlp,
    make_split,
    make_tasks,
    near,
    same_bits,
)
from tests.unit.update.learners import KINDS_OF, PATTERNS, Pairs, learner_with, only

pytestmark = pytest.mark.usefixtures("float64")


def backward_alone(model: nn.Module, tasks: Sequence[Task], split: object, index: int) -> Tensor:
    """One task's gradient over what is not a head, by a backward pass of its own on a fresh graph; 0 where it does not reach."""
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
    """Breaks if a gradient is of the weighted loss, over heads too, of another task; or an idle task is not left out."""
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
            near(norms[t], rows[t].norm(), 1e-13)
        else:
            assert norms[t].isnan()
    for (first, second), found in zip(itertools.product(range(3), repeat=2), cosines, strict=True):
        if first in active and second in active:
            near(
                found,
                torch.nn.functional.cosine_similarity(rows[first], rows[second], dim=0),
                1e-13,
            )
        else:
            assert found.isnan()


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
    near(
        cosines.view(2, 2),
        torch.tensor([[1.0, torch.tensor(angle).cos()], [torch.tensor(angle).cos(), 1.0]]),
        1e-12,
    )
    assert cosines.abs().max() <= 1


def test_a_gradient_of_zero_has_no_direction() -> None:
    """Breaks if a task that has arrived is said to agree or to be at right angles with the others."""
    point = nn.Parameter(torch.ones(2))
    losses = [0.0 * point.sum(), point[0], -2 * point[0]]
    norms, cosines = Conflicts(Parameters([point], [frozenset({0, 1, 2})]), 3).measure(
        losses, only(0, 1, 2)
    )
    near(norms, torch.tensor([0.0, 1.0, 2.0]), 0)
    table = cosines.view(3, 3)
    assert table[0].isnan().all()
    assert table[:, 0].isnan().all()
    near(table[1:, 1:], torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), 0)


@pytest.mark.parametrize("update", [Joint, PerTask, AdaTask, Jacobian])
def test_looking_does_not_change_the_training(update: type[Update]) -> None:
    """Breaks if the measurement frees a graph, leaves gradients behind, or draws a random number."""
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
    same_bits(flat(models[1]), flat(models[0]))


def test_frozen_parameters_do_not_count() -> None:
    """Breaks if the measurement wants the gradient of a parameter that has none."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks, hidden=(8, 5))
    model.trunk[0].requires_grad_(False)
    conflicts = Conflicts(find_parameters(model, Standard(tasks), split), 3)
    rows = []
    for loss in losses_of(model, tasks, split):
        found = torch.autograd.grad(loss, list(model.trunk[2].parameters()), retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    norms, _ = conflicts.measure(list(losses_of(model, tasks, split).unbind()), only(0, 1, 2))
    near(norms, torch.stack(rows).norm(dim=1), 1e-13)


def test_the_command_writes_them_in_columns_of_their_own(tmp_path: Path) -> None:
    """Breaks if `record.gradients=true` leaves nothing to read, or writes a task's cosine with itself."""
    options = (
        "record.gradients=true",
        "record.plots=none",
        "model=mlp",
        "model.hidden=[4]",
        "trainer.epochs=2",
    )
    stages = ("schedule=staged", "schedule.start={y2: 1}")
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "trainer.device=cpu",
        "hydra.run.dir=run",
        *options,
        *stages,
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = {(r["epoch"], r["split"], r["task"]): r for r in csv.DictReader(file)}
    alone, both = rows["1", "train", "y1"], [rows["2", "train", name] for name in ("y1", "y2")]
    assert float(alone["gradient_norm"]) > 0
    assert (
        alone["cosine_y2"] == alone["cosine_y1"] == rows["1", "train", "y2"]["gradient_norm"] == ""
    )
    assert both[0]["cosine_y1"] == both[1]["cosine_y2"] == ""
    assert both[0]["cosine_y2"] == both[1]["cosine_y1"]
    assert -1 <= float(both[0]["cosine_y2"]) <= 1
    assert min(float(row["gradient_norm"]) for row in both) > 0
    assert {
        r["gradient_norm"]
        for (_, split, task), r in rows.items()
        if split != "train" or task == "total"
    } == {""}
