"""summary.json and the lines that a run ends with."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.experiment.build import build
from mtl_runner.runs.runner import run
from mtl_runner.runs.summary import monitor_line, summarize, task_table
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.trainer import Trainer
from tests.unit.runs.small_runs import tiny_request


def task(sigma: float | None = None, true_sigma: float | None = None, **val: Any) -> dict[str, Any]:
    """Return what summary.json says of a task."""
    return {"weight": 0.5, "sigma": sigma, "true_sigma": true_sigma, "final": {"val": val}}


def test_columns_of_sigma_are_there_only_where_there_is_one() -> None:
    """Breaks if the table has empty columns, or a known noise is not beside the learned one."""
    columns = {
        (None, None): "task val loss relative_loss metrics (val) weight",
        (2.0, None): "task val loss relative_loss metrics (val) weight sigma",
        (2.0, 1.5): "task val loss relative_loss metrics (val) weight sigma true sigma",
        (None, 1.5): "task val loss relative_loss metrics (val) weight",
    }
    for (sigma, true_sigma), expected in columns.items():
        table = task_table({"tasks": {"a": task(sigma, true_sigma, loss=1.0)}})
        assert " ".join(table.splitlines()[0].split()) == expected


def test_two_metrics_of_a_task_are_shown() -> None:
    """Breaks if a table of twenty metrics is too wide for a terminal."""
    val = {"loss": 1.0, "relative_loss": 0.5, "rmse": 1.0, "mae": 2.0, "r2": 0.5}
    assert "rmse 1, mae 2 " in task_table({"tasks": {"a": task(**val)}})


def test_a_run_does_not_show_its_test_split() -> None:
    """Breaks if one reads test after every run, and so chooses options by it."""
    results = task(loss=0.25, rmse=0.5)
    results["final"]["test"] = {"loss": 0.75, "rmse": 0.875}
    table = task_table({"tasks": {"a": results}})
    assert "0.25" in table
    assert "0.75" not in table


@pytest.mark.parametrize("judge", ["best", "final"])
def test_a_run_ends_with_the_numbers_that_judge_it(tmp_path: Path, judge: str) -> None:
    """Breaks if the table, the predictions and the monitor are of different models."""
    options = ("data=toy_mixed", "model=mlp", "data.n=40", "record.predictions=true")
    # It learns its 40 rows by heart, so that its last epoch is far from its best one.
    worse = ("optimizer.lr=0.05", "trainer.lr_scheduler=null", "trainer.epochs=60")
    request = tiny_request(tmp_path, f"trainer.judge={judge}", *options, *worse)
    outcome = run(request)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["judge"] == judge
    assert outcome.monitor == summary["monitor"][judge]
    assert summary["monitor"]["best"] < summary["monitor"]["final"]
    loss = summary["tasks"]["value"][judge]["val"]["loss"]
    assert f"{loss:.4g}" in task_table(summary)
    order = ["best", "at the end"] if judge == "best" else ["at the end", "best"]
    line = monitor_line(summary)
    assert line.index(order[0]) < line.index(order[1])
    with (tmp_path / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    errors = [(float(row["value"]) - float(row["value.target"])) ** 2 for row in rows]
    rmse = summary["tasks"]["value"][judge]["test"]["rmse"]
    assert math.sqrt(sum(errors) / len(errors)) == pytest.approx(rmse, rel=1e-4)


def test_copies_have_a_best_epoch_each() -> None:
    """Breaks if the line about single-task runs names the best epoch of one of them."""
    monitor = {
        "name": "relative_loss",
        "final": 0.5,
        "best": 0.25,
        "best_epoch": {"depth": 3, "label": 7},
    }
    line = monitor_line({"monitor": monitor})
    assert line.endswith("best 0.25 at epoch 3 of depth, epoch 7 of label (best.pt)")


@pytest.mark.parametrize("judge", ["final", "best"])
def test_a_metric_that_is_maximised_has_its_own_sign(judge: str) -> None:
    """Breaks if a person reads an accuracy of -0.94."""
    accuracy = {"higher_is_better": True, "in_delta_m": True}
    task = {"kind": "classification", "main_metric": "accuracy", "metrics": {"accuracy": accuracy}}
    monitor = {"name": "digit.accuracy", "final": -0.93, "best": -0.94, "best_epoch": 3}
    line = monitor_line({"monitor": monitor, "tasks": {"digit": task}, "judge": judge})
    assert "digit.accuracy 0.9" in line
    assert "-" not in line


def test_a_summary_knows_the_direction_of_every_metric(tmp_path: Path) -> None:
    """Breaks if a comparison has to guess whether more of a metric is better."""
    assert run(tiny_request(tmp_path, "data=toy_mixed", "model=mlp")).error == ""
    summary = json.loads((tmp_path / "summary.json").read_text())
    for recorded in summary["tasks"].values():
        assert recorded["main_metric"] in recorded["metrics"]
        for metric in recorded["metrics"].values():
            assert metric["higher_is_better"] in (True, False)
    metrics = summary["tasks"]["label"]["metrics"]
    assert metrics["accuracy"]["higher_is_better"] is True
    assert summary["tasks"]["value"]["metrics"]["rmse"]["higher_is_better"] is False
    assert summary["monitor"]["name"] == "relative_loss"
    assert summary["parameters"]["trained"] <= summary["parameters"]["model"]


def test_the_last_and_the_best_epoch_are_told_apart(tmp_path: Path) -> None:
    """Breaks if the numbers called final are those of the best model, or the other way round."""
    trainer = Trainer(build(tiny_request(tmp_path).config), tmp_path)

    def evaluation(loss: float) -> Evaluation:
        return Evaluation({t.name: {"loss": loss, "relative_loss": loss} for t in trainer.tasks})

    trainer.best.update(5, evaluation(0.25))
    final = {"val": evaluation(0.5), "test": evaluation(0.75)}
    best = {"val": evaluation(0.25), "test": evaluation(0.125)}
    summary = summarize(trainer, final, best)
    monitor = {"name": "relative_loss", "best": 0.25, "best_epoch": 5, "final": 0.5}
    assert summary["monitor"] == monitor
    for recorded in summary["tasks"].values():
        assert (recorded["final"]["val"]["loss"], recorded["final"]["test"]["loss"]) == (0.5, 0.75)
        assert (recorded["best"]["val"]["loss"], recorded["best"]["test"]["loss"]) == (0.25, 0.125)


def test_the_table_of_a_run_can_be_made_of_its_summary(tmp_path: Path) -> None:
    """Breaks if JSON loses what the terminal showed, such as infinite numbers."""
    assert run(tiny_request(tmp_path)).error == ""
    summary = json.loads((tmp_path / "summary.json").read_text())
    log = (tmp_path / "run.log").read_text()
    assert task_table(summary) in log
    assert monitor_line(summary) in log


@pytest.mark.parametrize("name", ["depth", "a very long name of a task"])
def test_rows_line_up(name: str) -> None:
    """Breaks if long names push the numbers out of their columns."""
    header, _, first, second = task_table(
        {"tasks": {name: task(loss=1.0), "b": task(loss=2.0)}}
    ).splitlines()
    column = header.index("val loss")
    assert column == len(name) + 2
    assert (first[column], second[column]) == ("1", "2")
