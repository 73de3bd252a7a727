"""A kind of one's own is one file: it trains, is evaluated, predicts and is drawn like ours."""

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
from mtl_runner.data.dataset import Split, prepare, random_splits
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.runs.predictor import task_from
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import evaluate
from tests.support.builders import Data, make_mlp
from tests.support.commands import Command
from tests.unit.tasks import ordinal
from tests.unit.tasks.ordinal import Ordinal

SOURCE = Path(ordinal.__file__)

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
    (tmp_path / "my_kind.py").write_text(SOURCE.read_text())
    (tmp_path / "my_data.py").write_text(DATA)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "grades.yaml").write_text(
        "_target_: my_data.Grades\nbatch_size: 20\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))  # where `load` finds it
    for name in ("my_kind", "my_data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_kind_is_short() -> None:
    """Breaks if a kind wants more than one file of under 60 lines."""
    assert len(SOURCE.read_text().splitlines()) < 60


@pytest.mark.parametrize("likelihood", ["standard", "homoscedastic", "heteroscedastic"])
def test_a_kind_of_ones_own_trains_evaluates_predicts_and_plots(
    mtl: Command, project: Path, likelihood: str
) -> None:
    """Breaks if the code knows the kinds by name anywhere but in their own home."""
    result = mtl(
        "mtl-run", "data=grades", "model=mlp", "model.hidden=[32]", f"likelihood={likelihood}", "weighting=fixed",
        "trainer.epochs=30", "optimizer.lr=0.01", "trainer.monitor=grade.accuracy", "record.predictions=true",
        "hydra.run.dir=run",
    )  # fmt: skip
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
    predictor = mtl_runner.load(run)
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
        "mtl-run", "data=table", "data.path=t.csv", "weighting=fixed", "trainer.epochs=40", "optimizer.lr=0.01",
        "data.targets=[{name: grade, kind: {_target_: my_kind.Ordinal, levels: 4}}, y]", "hydra.run.dir=run",
        "record.plots=none",
    )  # fmt: skip
    assert result.code == 0, result.err
    summary = json.loads((project / "run" / "summary.json").read_text())
    assert summary["tasks"]["grade"]["final"]["test"]["accuracy"] > 0.7
    answers = mtl_runner.load(project / "run").predict(
        pd.DataFrame({"a": [-3.0, 3.0], "b": [0.0, 0.0]})
    )
    assert answers["grade"].tolist() == [0, 3]


@pytest.mark.usefixtures("float64")
def test_its_evaluation_in_parts_is_that_of_the_whole() -> None:
    """Breaks if what the base class adds up does not hold for a kind whose outputs and targets differ in shape."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(90, 3, generator=random)
    grade = (2 * x[:, 0]).round().clamp(-1, 2) + 1
    grade[torch.rand(90, generator=random) < 0.3] = torch.nan
    splits = random_splits(x, {"grade": grade, "y": x[:, 1]}, seed=0)
    data = prepare(Data([Task("grade", Ordinal(levels=4)), Task("y", "regression")], splits))
    split: Split = data.splits["train"]
    forward = ForwardPass(make_mlp(data.tasks), Homoscedastic(data.tasks))
    whole, parts = (evaluate(forward, data.tasks, split, [None, None], rows) for rows in (1000, 7))
    for name, row in whole.values.items():
        assert parts.values[name] == pytest.approx(row, rel=1e-12)
        assert parts.noise[name] == pytest.approx(whole.noise[name], rel=1e-12)


class Derived(Ordinal):
    """A kind that keeps more than its options."""

    def __init__(self, levels: int = 3) -> None:
        super().__init__(np.int64(levels))
        self.top = torch.tensor(levels - 1)


def test_a_checkpoint_holds_the_options_of_a_kind_and_nothing_else() -> None:
    """Breaks if a run trains to its end and leaves a model that nobody can load."""
    saved = Task("a", Derived(levels=4)).plain()
    assert saved["kind"] == {"_target_": "tests.unit.tasks.test_own_kind.Derived", "levels": 4}
    assert type(saved["kind"]["levels"]) is int
    again = task_from(saved)
    assert isinstance(again.kind, Derived)
    assert again.kind.levels == 4


def test_a_kind_that_cannot_be_made_again_is_an_error_before_the_training() -> None:
    """Breaks if the error comes when the model is loaded."""

    class Local(Ordinal):
        pass

    with pytest.raises(
        ConfigError, match=r"^the kind of task 'a'\._target_='.*Local' cannot be imported"
    ):
        task_from(Task("a", Local(levels=4)).plain())


def test_a_kind_that_is_none_is_named() -> None:
    """Breaks if a typing mistake in a dataset is an error deep in an evaluation."""
    with pytest.raises(
        ConfigError, match=r"^Task 'a' has the unknown kind 'regresion'; did you mean 'regression'"
    ):
        Task("a", "regresion")
