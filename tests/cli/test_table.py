"""Commands on a table as people have them: how it is read and split, and how a run is judged."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import mtl_runner
from tests.support.commands import Command

ROWS = 240
SHORT = ("trainer.epochs=12", "model.hidden=[16]", "record.plots=none", "trainer.device=cpu")


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Write a table with semicolons, umlauts, dates, patients with several rows, and long tails."""
    random = np.random.default_rng(0)
    age = random.integers(20, 80, ROWS)
    with (tmp_path / "patients.csv").open("w", encoding="latin-1") as file:
        file.write("Größe;age;seen;patient;cost;sick\n")
        for row in range(ROWS):
            size = f"{150 + random.integers(50)},5"
            cost = f"{np.exp(3 + age[row] / 20 + random.normal() / 4):.2f}".replace(".", ",")
            sick = "ja" if age[row] + 10 * random.normal() > 70 else "nein"
            file.write(
                f"{size};{age[row]};{1 + row % 28:02}.{1 + row % 12:02}.2021;P{row // 3};{cost};{sick}\n"
            )
    return tmp_path / "patients.csv"


def test_a_european_file_is_read_split_and_predicted(
    patients: Path, mtl: Command, tmp_path: Path
) -> None:
    """Breaks a table of a hospital: every option as a user types it."""
    done = mtl(
        "mtl-run",
        "data=table",
        f"data.path={patients}",
        "data.targets=[{name: cost, kind: regression_log}, {name: sick, class_weights: balanced}]",
        'data.read={sep: ";", encoding: latin-1, decimal: ","}',
        "data.split.group=patient",
        "data.split.stratify=sick",
        "hydra.run.dir=run",
        *SHORT,
        "trainer.epochs=40",
    )
    assert done.code == 0, done.err
    assert "Inputs: 2 numeric (Größe, age); seen became 4 numbers (" in done.out
    assert "read as %d.%m.%Y); patient groups the split and is no feature." in done.out
    import pandas as pd

    rows = pd.read_csv(patients, sep=";", encoding="latin-1", decimal=",")
    answers = mtl_runner.load(tmp_path / "run").predict(rows)
    # In euros: the cost lies around exp(3 + age / 20), from 50 to 1200.
    assert np.corrcoef(np.log(answers["cost"]), np.log(rows["cost"]))[0, 1] > 0.8
    assert 0.5 < answers["cost"].median() / rows["cost"].median() < 2
    assert set(answers["sick"]) <= {"ja", "nein"}


@pytest.mark.long
def test_a_run_of_a_table_is_judged_at_its_best_evaluation(
    patients: Path, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the last epoch of an overfitted run is what a comparison sees."""
    base = (
        "mtl-run",
        "data=table",
        f"data.path={patients}",
        "data.targets=[{name: cost, kind: regression}]",
        'data.read={sep: ";", encoding: latin-1, decimal: ","}',
        "data.features=[patient, sick]",  # nothing but learning the patients by heart
        "optimizer=adam",
        "optimizer.lr=0.01",
        "trainer.lr_scheduler=null",
        "trainer.clip=null",
        *SHORT,
        "trainer.epochs=60",
        "model.hidden=[64]",
    )
    sweep = mtl(*base, "-m", "weighting=fixed,dwa", "hydra.sweep.dir=sweep")
    assert sweep.code == 0, sweep.err
    logs = [path.read_text() for path in (tmp_path / "sweep").glob("*/run.log")]
    assert [" the best (best.pt); " in text for text in logs] == [True, True]
    assert "(validation, best epoch, " in sweep.out
    assert "The best evaluation is long past: relative_loss was " in sweep.out
    summaries = [
        json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("*/summary.json")
    ]
    assert {summary["judge"] for summary in summaries} == {"best"}
    for summary in summaries:
        assert summary["monitor"]["final"] > 1.1 * summary["monitor"]["best"]
    run = next((tmp_path / "sweep").glob("0_*"))
    summary = json.loads((run / "summary.json").read_text())
    with (run / "metrics.csv").open() as file:
        (row,) = [r for r in csv.DictReader(file) if (r["split"], r["task"]) == ("test", "cost")]
    assert int(row["epoch"]) == summary["monitor"]["best_epoch"]
    assert float(row["rmse"]) == summary["tasks"]["cost"]["best"]["test"]["rmse"]
    final = mtl(*base, "trainer.judge=final", "weighting=fixed", "hydra.run.dir=sweep/last")
    assert final.code == 0, final.err
    assert "or judge the best evaluation (trainer.judge=best)" in final.out
    compared = mtl("mtl-compare", "sweep")
    assert "(2 as best and 1 as final), so all are compared at the last one" in compared.out
