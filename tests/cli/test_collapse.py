"""Runs of ``data=collapse`` as typed: what they record, and when they stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracles.methods.runs import read as read_run
from tests.support.commands import Command

QUICK = (
    "data=collapse",
    "weighting=fixed",
    "data.batch_size=256",
    "trainer.epochs=2",
    "trainer.evaluate_every=1",
)


@pytest.mark.long
def test_a_run_records_and_draws_the_latent(mtl: Command, tmp_path: Path) -> None:
    """Breaks the columns that scripts/reproduce/collapse.py reads, or the picture."""
    result = mtl("mtl-run", *QUICK, "hydra.run.dir=run")
    assert result.code == 0, result.err
    rows = [row for row in read_run(tmp_path / "run") if row["split"] != "train"]
    for row in rows:
        assert (
            bool(row["latent_variance"])
            == bool(row["latent_agreement"])
            == (row["task"] == "align")
        )
    assert all(float(row["latent_variance"]) > 0 for row in rows if row["task"] == "align")
    assert (tmp_path / "run" / "latent_variance.png").stat().st_size > 1000


@pytest.mark.long
def test_stacked_runs_are_those_by_themselves(mtl: Command, tmp_path: Path) -> None:
    """Breaks stacks of runs with loss terms of the dataset.

    Once they were refused as having none.
    """
    sweep = (*QUICK, "record.plots=none", "trainer.threads=1", "seed=0,1")
    stacked = mtl("mtl-run", "-m", "hydra/launcher=stacked", *sweep, "hydra.sweep.dir=stacked")
    assert stacked.code == 0, stacked.err
    basic = mtl("mtl-run", "-m", *sweep, "hydra.sweep.dir=basic")
    assert basic.code == 0, basic.err
    for run in sorted((tmp_path / "basic").glob("*_seed*")):
        basic_rows, stacked_rows = (
            read_run(tmp_path / sweep / run.name) for sweep in ("basic", "stacked")
        )
        assert [float(row["loss"] or 0) for row in basic_rows] == pytest.approx(
            [float(row["loss"] or 0) for row in stacked_rows], rel=1e-3
        )


DISTANCE_TERM = """
import torch
from mtl_runner.data import Split
from mtl_runner.tasks.task import Task

class DistanceTerm:
    def __init__(self, end: float) -> None:
        distance = lambda outputs, targets: (outputs["point"] - end).square().sum()
        self.tasks = [Task("far", "term", loss_term=distance)]
        self.splits = {name: Split(torch.zeros(1, 1), {}) for name in ("train", "val", "test")}
"""


@pytest.mark.long
def test_terms_that_differ_in_a_number_do_not_stack(mtl: Command, tmp_path: Path) -> None:
    """Breaks in silence otherwise: the first run's objective would be everyone's."""
    (tmp_path / "distance_term.py").write_text(DISTANCE_TERM)
    options = (
        "data=cagrad_toy",
        "data._target_=distance_term.DistanceTerm",
        "+data.end=1,2",
        "model.start=[0]",
        "weighting=fixed",
        "optimizer.lr=0.1",
    )
    few = ("trainer.epochs=60", "record.plots=none", "trainer.threads=1", "hydra.sweep.dir=sweep")
    result = mtl("mtl-run", "-m", "hydra/launcher=stacked", *options, *few)
    assert result.code == 0, result.err
    ends = [
        float(read_run(run)[-2]["loss"]) for run in sorted((tmp_path / "sweep").glob("*_seed0"))
    ]
    assert len(ends) == 2
    assert max(ends) < 0.1
