"""Runs of ``data=multi_digits`` as typed, with LeNet."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Command, send

QUICK = ("data.rows=200", "trainer.epochs=2", "record.plots=none", "trainer.threads=1")


@pytest.mark.long
def test_one_strategy_of_each_family_trains(mtl: Command, tmp_path: Path) -> None:
    """Breaks if images and LeNet do not fit an axis, with reconstruction or without.

    `mtl-run -m data=multi_digits ...`.
    """
    strategies = "uncertainty,upgrad,per_task_adam,staged,single_task,heteroscedastic"
    sweep = (
        "-m",
        "data=multi_digits",
        "data.reconstruct=false,true",
        f"weighting={strategies}",
        "hydra.sweep.dir=sweep",
    )
    done = mtl("mtl-run", *sweep, *QUICK)
    assert done.code == 0, done.err
    summaries = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "sweep").glob("*/summary.json"))
    ]
    assert [summary["status"] for summary in summaries] == 12 * ["finished"]
    assert sorted(len(summary["tasks"]) for summary in summaries) == 6 * [2] + 6 * [4]


@pytest.mark.long
def test_a_resumed_run_ends_as_the_one_that_was_never_stopped(mtl: Command, tmp_path: Path) -> None:
    """Breaks byte-identical resume: data, order and model must come back as they were."""
    options = ("data=multi_digits", *QUICK, "trainer.epochs=25")
    assert mtl("mtl-run", *options, "hydra.run.dir=whole").code == 0
    stop = send(signal.SIGKILL, after=(tmp_path / "killed" / "checkpoint.pt").exists)
    assert mtl("mtl-run", *options, "hydra.run.dir=killed", meanwhile=stop).code == -signal.SIGKILL
    done = mtl("mtl-run", "resume=killed")
    assert done.code == 0, done.err
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_bytes()


@pytest.mark.long
def test_thirty_epochs_tell_both_digits_apart(mtl: Command, tmp_path: Path) -> None:
    """Breaks the default run.

    5000 pairs must be enough to read most digits of the held-back ones.
    """
    done = mtl("mtl-run", "data=multi_digits", "record.plots=none", "hydra.run.dir=run")
    assert done.code == 0, done.err
    for task in json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"].values():
        assert task["final"]["test"]["accuracy"] > 0.93


@pytest.mark.long
def test_a_stacked_sweep_gives_the_numbers_of_single_runs(mtl: Command, tmp_path: Path) -> None:
    """Breaks `-m hydra/launcher=stacked` with convolutions.

    It must stack, and equal the runs by themselves.
    """
    quick = ("data.rows=200", "trainer.epochs=2", "trainer.threads=1", "record.plots=none")
    sweep = ("-m", "data=multi_digits", *quick, "seed=0,1", "weighting=fixed")
    stacked = mtl("mtl-run", *sweep, "hydra/launcher=stacked", "hydra.sweep.dir=stacked")
    assert stacked.code == 0, stacked.err
    assert "one by one" not in stacked.out
    single = mtl("mtl-run", *sweep, "hydra.sweep.dir=single")
    assert single.code == 0, single.err
    for single_file in sorted((tmp_path / "single").glob("*/metrics.csv")):
        stacked_rows = pd.read_csv(tmp_path / "stacked" / single_file.parent.name / "metrics.csv")
        pd.testing.assert_frame_equal(
            stacked_rows, pd.read_csv(single_file), rtol=1e-4, atol=1e-6, check_exact=False
        )
