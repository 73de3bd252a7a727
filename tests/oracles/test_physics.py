"""Loss terms that see the model: one result however they are trained, and by L-BFGS."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.data import Helmholtz, Split
from mtl_runner.data.prepare import prepare as prepared
from mtl_runner.experiment.build import build
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.micro_batches import MicroBatches
from mtl_runner.experiment.term_points import TermPoints
from mtl_runner.gradients import door
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.likelihood import Homoscedastic, Standard
from mtl_runner.models import PinnMLP
from mtl_runner.train.stack.eligibility import reason_not_to_stack
from mtl_runner.update import Joint
from tests.oracles.methods.runs import compose, finish, prepare, stop_after
from tests.oracles.test_stacked_equals_single import (
    assert_all_same,
    trained_as_stack,
    trained_singly,
)
from tests.support.builders import assert_near

SMALL = (
    "data=helmholtz",
    "data.n_boundary=24",
    "data.batch_size=8",
    "data.n_interior=20",
    "data.grid_lines=9",
    "model.hidden=[6]",
    "trainer.epochs=3",
    "trainer.evaluate_every=1",
    "trainer.device=cpu",
    "trainer.threads=1",
)
LBFGS = ("weighting=fixed", "optimizer=lbfgs", "optimizer.max_iter=4", "data.resample=false")


@pytest.mark.parametrize(
    "options", [("weighting=gradnorm",), LBFGS, ("weighting=famo", "data.resample=false")]
)
def test_a_stop_changes_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Breaks if points, or the memory of L-BFGS, are others after a resume."""
    uninterrupted = finish(prepare(tmp_path / "whole", *SMALL, *options))
    stopped = prepare(tmp_path / "stopped", *SMALL, *options)
    stop_after(stopped, 2)
    assert finish(stopped) == uninterrupted


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "method", ["uncertainty", "gradnorm", pytest.param("famo", marks=pytest.mark.long)]
)
def test_a_replica_is_the_single_run(tmp_path: Path, method: str) -> None:
    """Breaks if a stack draws other points, derives otherwise or evaluates at other places."""
    runs = [(*SMALL, f"weighting={method}", f"seed={s}", f"optimizer.lr=0.0{s}") for s in (1, 2)]
    replicas = trained_as_stack(tmp_path / "stack", runs)
    assert_all_same(replicas, trained_singly(tmp_path / "single", runs))


def test_runs_with_a_residual_stack() -> None:
    """Breaks if an equation keeps runs from being stacked, or L-BFGS is stacked."""
    assert reason_not_to_stack(build(compose(*SMALL, "weighting=uncertainty"))) == ""
    reason = reason_not_to_stack(build(compose(*SMALL, *LBFGS)))
    assert reason == "the optimizer LBFGS is not one of those that treat every number by itself"


def test_double_precision_changes_the_last_digits_only() -> None:
    """Breaks if points or derivatives stay in single precision in a run in double precision."""
    losses = {}
    for precision in ("float32", "float64"):
        options = ("weighting=fixed", f"trainer.precision={precision}")
        experiment = build(compose(*SMALL, *options))
        batch = experiment.data.splits["train"].rows(slice(0, 8))
        batch.points = TermPoints(experiment.data.tasks, 0, 1, experiment.device).of_step(0)
        losses[precision] = experiment.learner.forward_pass.of_rows(batch).values
        assert losses[precision].dtype == getattr(torch, precision)
    assert_near(losses["float32"].double() / losses["float64"], torch.ones(2).double(), 1e-4)
    assert not torch.equal(losses["float32"].double(), losses["float64"])


@pytest.fixture
def small() -> tuple[list[Any], PinnMLP, Split]:
    """Return tasks, model and a batch of a small problem in double precision."""
    torch.manual_seed(0)
    data = prepared(Helmholtz(n_boundary=12, n_interior=9, grid_lines=5))
    model = PinnMLP(data.tasks, (2,), hidden=(6,)).double()
    batch = data.splits["train"]
    assert isinstance(batch, Split)
    batch.points = TermPoints(data.tasks, 0, 1, torch.device("cpu")).of_step(0)
    return data.tasks, model, batch.apply(lambda tensor: tensor.double())


def test_the_losses_are_those_by_hand(small: tuple[list[Any], PinnMLP, Split]) -> None:
    """Breaks if a term sees other points than its own, or rows see the points."""
    tasks, model, batch = small
    result = ForwardPass(model, Standard(tasks)).of_rows(batch)
    points = batch.points["pde"]
    assert isinstance(points, Tensor)
    residual = tasks[1].loss_term.equation.residual("pde", model, points)
    assert_near(result.values[1], residual.square().mean().detach(), 1e-12)
    boundary = (model(batch.inputs)["u"] - batch.targets["u"]).square().mean()
    assert_near(result.values[0], boundary.detach(), 1e-14)
    noisy = ForwardPass(model, Homoscedastic(tasks, init=0.0).double()).of_rows(batch)
    assert_near(noisy.standard, result.values, 1e-12)


@pytest.mark.parametrize("rows", [4, 5])
def test_parts_of_a_batch_add_up(small: tuple[list[Any], PinnMLP, Split], rows: int) -> None:
    """Breaks if trainer.accumulate counts the points of a term once per part."""
    tasks, model, batch = small
    forward_pass, parameters = ForwardPass(model, Standard(tasks)), list(model.parameters())
    of_batch = forward_pass.of_rows(batch)
    parts = MicroBatches(forward_pass, batch, rows)
    assert_near(parts.values, of_batch.values, 1e-12)
    lanes = [door.Lane((t,), parameters) for t in range(2)]
    pairs = zip(door.of(of_batch.losses, lanes), door.of(parts.losses, lanes), strict=True)
    for expected, gradients in pairs:
        for a, b in zip(expected, gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert_near(b, a, 1e-12 * max(1.0, a.abs().max().item()))


def test_lbfgs_finds_the_minimum_of_the_weighted_sum() -> None:
    """Breaks if the weights of a step count for its first evaluation only."""
    point = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    scales = torch.tensor([1.0, 30.0], dtype=torch.float64)

    def losses() -> list[Tensor]:
        return [((point - 1).square() * scales).sum(), (point + 1).square().sum()]

    make = partial(
        torch.optim.LBFGS,
        max_iter=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )
    update = Joint(Parameters([point], [frozenset({0, 1})]), make)
    weights = torch.tensor([2.0, 6.0], dtype=torch.float64)
    assert update.needs_recompute
    for _ in range(3):
        update(losses(), weights, recompute=losses)
    # Where 2 s (x - 1) + 6 (x + 1) = 0.
    assert_near(point.detach(), (2 * scales - 6) / (2 * scales + 6), 1e-9)
