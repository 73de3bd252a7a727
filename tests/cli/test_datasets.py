"""Datasets of images and of points, from the command line to the results."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch

import mtl_runner
from mtl_runner.data import Cityscapes, NYUv2
from tests.support.commands import Command
from tests.support.npy_folders import write_npy_folders

SOURCE_HINT = "https://github.com/lorenmt/mtan links its files, and scripts/fetch_data.py of the source checks them."


@pytest.mark.parametrize("name", ["nyuv2", "cityscapes"])
@pytest.mark.long
def test_a_run_from_the_command_line(
    mtl: Command,
    tmp_path: Path,
    name: str,
) -> None:
    """Breaks the whole way from real files to results.

    Config, metrics, panel, predictions of the saved model.
    """
    kind = NYUv2 if name == "nyuv2" else Cityscapes
    size = kind.size if name == "cityscapes" else (16, 24)
    write_npy_folders(tmp_path / "files", kind, size, images={"train": 3, "val": 1})
    options = [f"data={name}"]
    if name == "nyuv2":  # small, to be fast
        (tmp_path / "tiny.py").write_text(
            "from mtl_runner.data import NYUv2\nclass Tiny(NYUv2):\n    size = (16, 24)\n"
        )
        options.append("data._target_=tiny.Tiny")
    done = mtl(
        "mtl-run",
        *options,
        "data.path=files",
        "data.val=0.34",
        "data.cache=cache",
        "model.width=4",
        "model.depth=1",
        "trainer.epochs=1",
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    tasks = ["segmentation", "depth", "normal"][: 3 if name == "nyuv2" else 2]
    columns = {
        "segmentation": ["miou", "pixel_accuracy"],
        "depth": ["abs_err", "rel_err"],
        "normal": ["angle_mean", "within_30"],
    }
    for task in tasks:
        here = rows[(rows.task == task) & rows.split.isin(["val", "test"])]
        assert here[["loss", *columns[task]]].notna().all(axis=None)
    assert (tmp_path / "run" / "panel.png").exists()
    answers = mtl_runner.load(tmp_path / "run").predict(torch.rand(2, 3, *size))
    assert {task: tuple(answer.shape[1:]) for task, answer in answers.items()} == dict(
        [("segmentation", size), ("depth", (1, *size)), ("normal", (3, *size))][: len(tasks)]
    )


def test_a_missing_folder_is_one_sentence_on_the_command_line(mtl: Command) -> None:
    """Breaks "a missing folder is one clear sentence"."""
    done = mtl("mtl-run", "data=nyuv2", "data.path=nowhere", "hydra.run.dir=run")
    assert done.code == 1
    assert done.last_line.endswith(f"data.path='nowhere' is not a folder; {SOURCE_HINT}")
    assert "Traceback" not in done.err


# Functions of a point


END = 1 - math.exp(-4)  # of the one objective of Fonseca and Fleming where the other is 0


@pytest.mark.long
def test_a_run_of_the_cagrad_toy_crosses_at_the_published_iteration(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the runner trains something else than the step does.

    The validation loss after epoch k is of iteration k.
    """
    options = (
        "weighting=fixed",
        "weighting.weights={l1: 0.5, l2: 0.5}",
        "optimizer.lr=1",
        "trainer.epochs=150",
    )
    result = mtl(
        "mtl-run", "data=cagrad_toy", *options, "trainer.evaluate_every=1", "hydra.run.dir=run"
    )
    assert result.code == 0, result.err
    run = tmp_path / "run"
    assert all(
        (run / name).stat().st_size > 0
        for name in ("losses.png", "weights.png", "checkpoint.pt", "best.pt")
    )
    with (run / "metrics.csv").open() as file:
        total = [
            row for row in csv.DictReader(file) if row["split"] == "val" and row["task"] == "total"
        ]
    assert next(int(row["epoch"]) for row in total if float(row["relative_loss"]) < -15) == 22
    assert [int(row["step"]) for row in total] == list(range(1, 151))
    x1, x2 = mtl_runner.load(run).model.get_parameter("point").tolist()
    assert (x1, x2) == pytest.approx((0, -8.36), abs=0.2), "between the bowls, on the front"


def test_a_run_of_fonseca_fleming_ends_at_an_end(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the defaults of the config do not reach the front."""
    result = mtl(
        "mtl-run",
        "data=fonseca_fleming",
        "weighting=fixed",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    tasks = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]
    assert [tasks[name]["final"]["test"]["loss"] for name in ("f1", "f2")] == pytest.approx(
        [0, END], abs=0.005
    )


def test_a_published_start_is_an_option_and_a_bad_one_a_sentence(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks `model.start=[9,9]`."""
    few = ("data=cagrad_toy", "weighting=fixed", "trainer.epochs=1", "record.plots=none")
    assert mtl("mtl-run", *few, "model.start=[9,9]", "hydra.run.dir=run").code == 0
    metrics = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    loss_at_the_start = 7.943949  # of l1, by its formula (tests/unit/data/toys/test_objectives.py)
    assert float(metrics[1].split(",")[4]) == pytest.approx(loss_at_the_start, rel=1e-5)
    bad = mtl("mtl-run", *few, "model.start=9")
    assert bad.code == 1
    assert bad.last_line == "model.start must be a list of finite numbers, e.g. [9, 9]; found 9."
    short = mtl("mtl-run", *few, "model.start=[9]")
    assert short.code == 1
    assert "give model.start 2 numbers (found 1)" in short.last_line
