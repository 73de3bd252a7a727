"""A kind of a user's own is trained, evaluated, predicted and drawn like ours."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mtl_runner
from tests.support.commands import Command
from tests.support.lengths import long_but
from tests.unit.tasks import ordinal

DATA = """
import torch
from my_kind import Ordinal
from mtl_runner.data.dataset import random_splits
from mtl_runner.tasks.task import Task

class Grades:
    def __init__(self, rows=300):
        random = torch.Generator().manual_seed(0)
        x = torch.randn(rows, 3, generator=random)
        grade = (2 * x[:, 0]).round().clamp(-1, 2) + 1
        grade[torch.rand(rows, generator=random) < 0.2] = torch.nan
        self.tasks = [Task("grade", Ordinal(levels=4)), Task("y", "regression")]
        self.splits = random_splits(x, {"grade": grade, "y": x[:, 1]}, seed=0)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's with the kind in a file of its own."""
    (tmp_path / "my_kind.py").write_text(Path(ordinal.__file__).read_text())
    (tmp_path / "my_data.py").write_text(DATA)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "grades.yaml").write_text(
        "_target_: my_data.Grades\nbatch_size: 20\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))  # where `load` finds it
    for name in ("my_kind", "my_data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "likelihood",
    long_but(["heteroscedastic"], ["standard", "homoscedastic", "heteroscedastic"]),
)
def test_a_kind_of_ones_own_trains_evaluates_predicts_and_plots(
    mtl: Command, project: Path, likelihood: str
) -> None:
    """Breaks if the code knows the kinds by name anywhere but in their own home."""
    result = mtl(
        "mtl-run",
        "data=grades",
        "model=mlp",
        "model.hidden=[32]",
        "weighting=fixed",
        f"likelihood={likelihood}",
        "trainer.epochs=30",
        "trainer.monitor=grade.accuracy",
        "optimizer.lr=0.01",
        "record.predictions=true",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    run = project / "run"
    grade = json.loads((run / "summary.json").read_text())["tasks"]["grade"]
    assert (grade["kind"], grade["main_metric"]) == ("ordinal", "off_by")
    assert grade["metrics"]["accuracy"]["higher_is_better"]
    assert grade["final"]["val"]["accuracy"] > 0.7
    assert grade["final"]["val"]["relative_loss"] < 0.6
    assert (run / "losses.png").stat().st_size > 0
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["grade"] for row in rows} <= {"0", "1", "2", "3"}
    predictor = mtl_runner.load(run, trust=["my_kind"])
    inputs = torch.tensor([[-2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert predictor.predict(inputs)["grade"].flatten().tolist() == [0, 1, 3]


def test_a_column_of_a_table_can_be_of_a_kind_of_ones_own(mtl: Command, project: Path) -> None:
    """Breaks if a user's kind needs a dataset class of its own."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 2))
    grade = np.clip(np.round(2 * x[:, 0]), -1, 2) + 1
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "grade": grade, "y": x[:, 1]}).to_csv(
        project / "t.csv", index=False
    )
    result = mtl(
        "mtl-run",
        "data=table",
        "data.path=t.csv",
        "data.targets=[{name: grade, kind: {_target_: my_kind.Ordinal, levels: 4}}, y]",
        "weighting=fixed",
        "trainer.epochs=40",
        "optimizer.lr=0.01",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    summary = json.loads((project / "run" / "summary.json").read_text())
    assert summary["tasks"]["grade"]["final"]["test"]["accuracy"] > 0.7
    answers = mtl_runner.load(project / "run", trust=["my_kind"]).predict(
        pd.DataFrame({"a": [-3.0, 3.0], "b": [0.0, 0.0]})
    )
    assert answers["grade"].tolist() == [0, 3]
