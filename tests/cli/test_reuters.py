"""Runs of ``data=reuters`` as typed, on tiny texts."""

from __future__ import annotations

import csv
import math
import signal
from pathlib import Path

import pytest
import torch

import mtl_runner
from tests.support.commands import Command, send
from tests.support.reuters_folders import ROWS, texts, tiny_reuters, write_json

TINY = (
    "data=reuters", "data.min_texts=2", "data.tokens=24", "data.words=60", "data.batch_size=16",
    "model.embedding=12", "model.hidden=8", "model.features=24",
    "record.plots=none", "trainer.device=cpu",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of tiny texts, whose labels follow from their words."""
    return write_json(tmp_path / "reuters", train=texts(ROWS))


def metrics(run: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv of a run."""
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_the_command_learns_the_tiny_texts(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks `mtl-run data=reuters`.

    Both tasks follow from the words, so both must be learned; and the model can be used.
    """
    run = tmp_path / "run"
    result = mtl(
        "mtl-run",
        *TINY,
        f"data.path={folder}",
        "optimizer.lr=0.02",
        "trainer.epochs=25",
        f"hydra.run.dir={run}",
    )
    assert result.code == 0, result.err
    final_rows = {row["task"]: row for row in metrics(run) if row["split"] == "test"}
    assert float(final_rows["topics"]["micro_f1"]) > 0.95
    assert float(final_rows["places"]["micro_f1"]) > 0.8
    inputs = tiny_reuters(folder, words=60).splits["test"].inputs
    answers = mtl_runner.load(run).predict(inputs)
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "topics": (24, 3),
        "places": (24, 3),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        ("share=false", "weighting=fixed"),
        ("weighting=upgrad",),
        ("weighting=per_task_adam",),
        ("schedule=staged", "schedule.start.places=1"),
        ("weighting=heteroscedastic",),
    ],
)
def test_every_axis_takes_texts(
    mtl: Command, folder: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Breaks if a strategy assumes inputs of floating point.

    Nor may it assume gradients that a recurrent network does not have.
    """
    run = tmp_path / "run"
    result = mtl(
        "mtl-run",
        *TINY,
        f"data.path={folder}",
        "trainer.epochs=2",
        f"hydra.run.dir={run}",
        *options,
    )
    assert result.code == 0, result.err
    assert all(math.isfinite(float(row["loss"])) for row in metrics(run) if row["loss"])


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bytes(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks D5: a recurrent network and its dropout must go on as if nothing had happened."""
    unbroken, killed = tmp_path / "whole", tmp_path / "killed"
    options = (*TINY, f"data.path={folder}", "trainer.epochs=12", "model.dropout=0.2")
    assert mtl("mtl-run", *options, f"hydra.run.dir={unbroken}").code == 0
    kill_when_begun = send(signal.SIGKILL, lambda: (killed / "checkpoint.pt").exists())
    assert mtl("mtl-run", *options, f"hydra.run.dir={killed}", meanwhile=kill_when_begun).code != 0
    assert mtl("mtl-run", f"resume={killed}").code == 0
    assert (killed / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


@pytest.mark.long
def test_a_stack_falls_back_to_single_runs(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks `-m hydra/launcher=stacked` with texts.

    Every run must end, with what it would have learned alone.
    """
    options = (
        *TINY,
        f"data.path={folder}",
        "trainer.epochs=2",
        "seed=0,1",
        "hydra/launcher=stacked",
    )
    result = mtl("mtl-run", "-m", *options, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert result.code == 0, result.err
    alone = mtl("mtl-run", *options[:-2], "seed=1", f"hydra.run.dir={tmp_path / 'alone'}")
    assert alone.code == 0, alone.err
    runs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.csv"))
    assert len(runs) == 2
    stacked_loss, single_loss = (
        float(metrics(run)[-2]["loss"]) for run in (runs[1], tmp_path / "alone")
    )
    assert stacked_loss == pytest.approx(single_loss, rel=1e-4)


@pytest.mark.long
def test_the_experiment_sweeps_the_factor(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks the command at the head of conf/experiment/reuters_constant_factor.yaml."""
    options = [option for option in TINY if option != "data=reuters"]
    result = mtl(
        "mtl-run", "-m", "experiment=reuters_constant_factor", "weighting.weights.topics=1,0.08",
        f"data.path={folder}", *options, "trainer.epochs=2",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )  # fmt: skip
    assert result.code == 0, result.err
    runs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.csv"))
    assert [
        {row["weight"] for row in metrics(run) if row["task"] == "topics" and row["weight"]}
        for run in runs
    ] == [
        {"1.0"},
        {str(float(torch.tensor(0.08)))},
    ]


def test_a_missing_path_is_one_sentence(mtl: Command) -> None:
    """Breaks `mtl-run data=reuters` typed without a path."""
    result = mtl("mtl-run", "data=reuters")
    assert result.code != 0
    assert "data=reuters needs data.path, the folder of Reuters-21578" in result.last_line
