"""Equations from the command line: what a run leaves, own residuals, L-BFGS, stacks."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import mtl_runner
from tests.support.commands import Command

SMALL = (
    "data.batch_size=16",
    "data.n_interior=32",
    "data.grid_lines=9",
    "model.hidden=[8]",
    "trainer.epochs=2",
)
ROWS = {
    "poisson": ("data.n_boundary=32",),
    "klein_gordon": ("data.n_initial=32", "data.n_boundary=8"),
    "burgers": ("data.n_initial=32", "data.n_boundary=8"),
    "burgers_inverse": ("data.n_measured=32",),
}
TERMS = {
    "poisson": ["u", "pde"],
    "klein_gordon": ["u", "pde", "boundary", "velocity"],
    "burgers": ["u", "pde", "boundary"],
    "burgers_inverse": ["u", "pde"],
}


@pytest.mark.parametrize(
    "problem",
    [
        *("poisson", "burgers_inverse"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("klein_gordon", "burgers")),
    ],
)
def test_an_equation_leaves_errors_picture_and_model(
    mtl: Command, tmp_path: Path, problem: str
) -> None:
    """Breaks if a run lacks the error on the grid, a term, its picture, or a model to load."""
    done = mtl(
        "mtl-run", f"data={problem}", "weighting=fixed", *SMALL, *ROWS[problem], "hydra.run.dir=run"
    )
    assert done.code == 0, done.err
    assert "relative_l2" in done.out
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    test = rows[rows.split == "test"].set_index("task")
    assert list(test.index.unique())[: len(TERMS[problem])] == TERMS[problem]
    assert test.loc[TERMS[problem], "loss"].notna().all()
    assert 0 < test.loc["u", "relative_l2"] < 5
    assert (tmp_path / "run" / "solution.png").stat().st_size > 5000
    if problem == "burgers_inverse":
        assert 0.03 < test.loc["pde", "viscosity"] < 0.07
        truth = 0.0031830988618379067
        error = test.loc["pde", "viscosity"] / truth - 1
        assert abs(test.loc["pde", "viscosity_error"] - error) < 1e-4
    answers = mtl_runner.load(tmp_path / "run").predict(torch.rand(2, 2))
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {"u": (2, 1)}


RESIDUAL = """
from mtl_runner.data import Box, PointSet, derivatives

def residual(model, batch, speed=1.0):
    u_t, u_x = derivatives(model, batch.inputs, "u_t", "u_x", coordinates="xy")
    return (u_t + speed * u_x).square().mean()

residual.points = PointSet(Box((-1, -1), (1, 1)), n=8)

def slope(model, batch):
    (u_x,) = derivatives(model, batch.inputs, "u_x", coordinates="xy")
    return u_x.square().mean()

slope.metrics = {"steepest": lambda model, batch: slope(model, batch) * 0 + len(batch)}

def outside(model, batch):
    return model(batch.inputs)["w"].mean()
"""


def test_a_loss_term_of_the_command_line_sees_the_model(mtl: Command, tmp_path: Path) -> None:
    """Breaks if data.losses takes no function of (model, batch), with points or without."""
    (tmp_path / "travelling.py").write_text(RESIDUAL.replace("u_t", "u_y"))
    options = ("data=helmholtz", "data.n_boundary=32", *SMALL, "weighting=fixed")
    done = mtl(
        "mtl-run",
        *options,
        "data.losses.wave={_target_: travelling.residual, speed: 2.0}",
        "data.losses.slope._target_=travelling.slope",
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    val = rows[(rows.split == "val") & (rows.epoch == 2)].set_index("task")
    assert val.loc[["wave", "slope"], "loss"].gt(0).all()
    # On rows: all of them, which is the grid of validation, in one batch.
    assert val.loc["slope", "steepest"] == 25
    done = mtl(
        "mtl-run", *options, "data.losses.wave._target_=travelling.outside", "hydra.run.dir=second"
    )
    assert done.code == 1
    assert "Traceback" not in done.err


@pytest.mark.long
def test_runs_of_an_equation_stack_and_lbfgs_says_why_not(mtl: Command, tmp_path: Path) -> None:
    """Breaks if an equation trains one run after another, or nobody says why."""
    options = ("data=helmholtz", "data.n_boundary=32", *SMALL, "hydra/launcher=stacked")
    done = mtl("mtl-run", "-m", *options, "weighting=gradnorm", "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    assert "one after another" not in done.out + done.err
    for folder in sorted((tmp_path / "sweep").glob("[01]_*")):
        assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
    done = mtl(
        "mtl-run",
        "-m",
        *options,
        *("weighting=fixed", "optimizer=lbfgs", "optimizer.max_iter=2", "data.resample=false"),
        *("seed=0,1", "hydra.sweep.dir=second"),
    )
    assert done.code == 0, done.err
    assert "the optimizer LBFGS is not one of those" in done.out + done.err
