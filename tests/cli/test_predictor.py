"""The trained model of a run: what ``mtl_runner.load(run).predict`` answers.

It is checked against scikit-learn and against the metrics that the run recorded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mtl_runner
from mtl_runner.errors import DataError, RunDirectoryError

TARGETS = (
    "[{name: price, kind: regression}, {name: state, kind: classification},"
    " {name: heating, columns: [gas, oil, sun]}, {name: old, column: age, kind: regression_l1}]"
)


def houses(rows: int = 300) -> pd.DataFrame:
    """Return a table whose targets of every kind follow from its features, with a few gaps.

    The last 100 rows are validation and test.
    """
    rng = np.random.default_rng(0)
    area, city = rng.uniform(50, 250, rows), rng.choice(["Bonn", "Köln"], rows)
    frame = pd.DataFrame({"area": area, "city": city, "noise": rng.normal(size=rows)})
    frame["price"] = 1000 * area + 50_000 * (city == "Bonn") + rng.normal(0, 5000, rows)
    frame["state"] = np.where(area > 180, "large", np.where(city == "Bonn", "fine", "plain"))
    frame["gas"], frame["oil"], frame["sun"] = area > 100, city == "Bonn", rng.random(rows) < 0.3
    frame = frame.astype({"gas": int, "oil": int, "sun": int})
    frame["age"] = 10 + area / 10 + rng.laplace(0, 1, rows)
    frame["fold"] = ["train"] * (rows - 100) + ["val"] * 50 + ["test"] * 50
    # Missing labels and features, in training and in validation.
    frame.loc[[3, 210], "price"] = np.nan
    frame.loc[[5, 211], "state"] = None
    frame.loc[[7, 212], "area"] = np.nan
    return frame


@dataclass(frozen=True)
class Run:
    """A finished run, the table it was trained on and what it recorded."""

    path: Path
    frame: pd.DataFrame

    @property
    def val(self) -> pd.DataFrame:
        """The validation rows."""
        return self.frame[self.frame["fold"] == "val"]

    @property
    def recorded(self) -> dict[str, dict[str, float]]:
        """Validation metrics of the best epoch, whose weights `load` gives."""
        summary = json.loads((self.path / "summary.json").read_text())
        return {name: task["best"]["val"] for name, task in summary["tasks"].items()}


def train(folder: Path, *options: str) -> None:
    """Run ``mtl-run`` in a folder, as a user types it."""
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "record.plots=none",
        "model.hidden=[32]",
        "trainer.device=cpu",
        "hydra.run.dir=run",
        *options,
    ]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module", params=["true", "false"], ids=["shared", "copies"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on the table of houses, with one model and with a copy per task."""
    folder = tmp_path_factory.mktemp("houses")
    frame = houses()
    frame.to_csv(folder / "houses.csv", index=False)
    train(
        folder,
        "data=table",
        "data.path=houses.csv",
        f"data.targets={TARGETS}",
        "data.split={column: fold}",
        "trainer.epochs=12",
        f"share={request.param}",
    )
    return Run(folder / "run", frame)


def test_numbers_come_back_in_target_units(run: Run) -> None:
    """Breaks if predictions are standardised prices, or the recorded metrics are of other ones."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    answer = mtl_runner.load(run.path).predict(run.val)
    known = run.val["price"].notna()
    true, guess = run.val["price"][known], answer["price"][known]
    assert 80_000 < guess.mean() < 300_000
    assert run.recorded["price"]["rmse"] == pytest.approx(
        root_mean_squared_error(true, guess), rel=1e-4
    )
    assert run.recorded["price"]["mae"] == pytest.approx(mean_absolute_error(true, guess), rel=1e-4)
    assert run.recorded["price"]["r2"] == pytest.approx(r2_score(true, guess), rel=1e-4)
    assert run.recorded["old"]["mae"] == pytest.approx(
        mean_absolute_error(run.val["age"], answer["old"]), rel=1e-4
    )


def test_relative_rmse_is_to_the_mean_of_the_training_rows(run: Run) -> None:
    """Breaks if `rrmse`, by which regressions on tables are reported, has another denominator."""
    answer = mtl_runner.load(run.path).predict(run.val)
    known = run.val["price"].notna()
    true, guess = run.val["price"][known], answer["price"][known]
    mean = run.frame["price"][run.frame["fold"] == "train"].mean()
    expected = np.sqrt(((true - guess) ** 2).sum() / ((true - mean) ** 2).sum())
    assert run.recorded["price"]["rrmse"] == pytest.approx(expected, rel=1e-4)


def test_classes_come_back_by_name(run: Run) -> None:
    """Breaks if classes are predicted as indices, or the recorded metrics are of other answers."""
    from sklearn.metrics import accuracy_score, f1_score

    answer = mtl_runner.load(run.path).predict(run.val)
    known = run.val["state"].notna()
    true, guess = run.val["state"][known], answer["state"][known]
    assert set(guess) <= {"large", "fine", "plain"}
    assert run.recorded["state"]["accuracy"] == pytest.approx(accuracy_score(true, guess), rel=1e-6)
    assert run.recorded["state"]["f1"] == pytest.approx(
        f1_score(true, guess, average="macro"), rel=1e-6
    )


def test_labels_come_back_as_one_column_each(run: Run) -> None:
    """Breaks if a multilabel task is not answered by zeros and ones in a column per label."""
    from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

    answer = mtl_runner.load(run.path).predict(run.val)
    names = ["gas", "oil", "sun"]
    true, guess = (
        run.val[names].to_numpy(),
        answer[[f"heating.{name}" for name in names]].to_numpy(),
    )
    assert set(np.unique(guess)) <= {0, 1}
    options: dict[str, Any] = {"average": "samples", "zero_division": 0}
    assert run.recorded["heating"]["f1"] == pytest.approx(
        f1_score(true, guess, **options), rel=1e-6
    )
    assert run.recorded["heating"]["accuracy"] == pytest.approx(
        jaccard_score(true, guess, **options), rel=1e-6
    )
    assert run.recorded["heating"]["precision"] == pytest.approx(
        precision_score(true, guess, **options), rel=1e-6
    )
    assert run.recorded["heating"]["recall"] == pytest.approx(
        recall_score(true, guess, **options), rel=1e-6
    )


def test_the_answer_has_the_rows_and_the_index_of_the_question(run: Run) -> None:
    """Breaks if `frame.join(answer)` mixes up rows."""
    answer = mtl_runner.load(run.path).predict(run.val)
    assert answer.index.equals(run.val.index)
    assert list(answer.columns) == [
        "price",
        "state",
        "heating.gas",
        "heating.oil",
        "heating.sun",
        "old",
    ]


def test_features_are_enough_in_any_order(run: Run) -> None:
    """Breaks if new rows, which have no targets, cannot be answered."""
    predictor = mtl_runner.load(run.path)
    pd.testing.assert_frame_equal(
        predictor.predict(run.val[["noise", "city", "area"]]), predictor.predict(run.val)
    )


def test_one_row_has_the_answer_it_has_among_others(run: Run) -> None:
    """Breaks if other rows of the question enter the preprocessing of a row."""
    predictor = mtl_runner.load(run.path)
    alone = predictor.predict(run.val.iloc[[4]])
    pd.testing.assert_frame_equal(alone, predictor.predict(run.val).iloc[[4]], rtol=1e-5)


def test_an_unknown_category_and_a_gap_are_answered(run: Run) -> None:
    """Breaks if rows that hold what training never saw cannot be answered."""
    new = pd.DataFrame({"area": [100.0, np.nan], "city": ["Elsewhere", None], "noise": [0.0, 0.0]})
    answer = mtl_runner.load(run.path).predict(new)
    assert bool(np.isfinite(answer["price"]).all())


def test_tensors_are_answered_with_tensors(run: Run) -> None:
    """Breaks if tensors are not answered by numbers, class indices, and zeros and ones."""
    predictor = mtl_runner.load(run.path)
    assert predictor.features is not None
    x = torch.as_tensor(predictor.features.transform(run.val))
    answer, frame = predictor.predict(x), predictor.predict(run.val)
    assert {name: tuple(value.shape) for name, value in answer.items()} == {
        "price": (50, 1),
        "state": (50,),
        "heating": (50, 3),
        "old": (50, 1),
    }
    np.testing.assert_allclose(answer["price"][:, 0].numpy(), frame["price"])
    classes = predictor.tasks[1].classes
    assert [classes[i] for i in answer["state"].tolist()] == frame["state"].tolist()
    assert (
        answer["heating"].tolist()
        == frame[["heating.gas", "heating.oil", "heating.sun"]].to_numpy().tolist()
    )


def test_raw_outputs_are_logits_and_training_units(run: Run) -> None:
    """Breaks if a user cannot take probabilities from `outputs`."""
    predictor = mtl_runner.load(run.path)
    outputs, answer = predictor.outputs(run.val), predictor.predict(run.val)
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "price": (50, 1),
        "state": (50, 3),
        "heating": (50, 3),
        "old": (50, 1),
    }
    assert not any(value.requires_grad for value in outputs.values())
    task = predictor.tasks[0]
    np.testing.assert_allclose(
        task.offset + task.scale * outputs["price"][:, 0].numpy(), answer["price"], rtol=1e-6
    )


def test_a_missing_column_is_named(run: Run) -> None:
    """Breaks if a table without one of the features is answered, or not explained."""
    with pytest.raises(
        DataError, match="The table has no column 'city', which the training table had"
    ):
        mtl_runner.load(run.path).predict(run.val.drop(columns="city"))


def test_text_in_a_numeric_column_is_shown(run: Run) -> None:
    """Breaks if text in a column that was numeric in training ends in an error of pandas'."""
    with pytest.raises(
        DataError, match="Column 'area' is numeric in the training rows but holds 'large'"
    ):
        mtl_runner.load(run.path).predict(run.val.assign(area="large"))


def test_a_question_of_another_kind_is_named(run: Run) -> None:
    """Breaks if a NumPy array, or a list, ends in an AttributeError."""
    with pytest.raises(DataError, match=r"DataFrame.*ndarray|ndarray.*DataFrame"):
        mtl_runner.load(run.path).predict(np.zeros((3, 3)))


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    """Breaks if a wrong path ends in a traceback."""
    with pytest.raises(RunDirectoryError, match=str(tmp_path)):
        mtl_runner.load(tmp_path)


def test_a_model_of_tensors_takes_tensors_and_no_table(tmp_path: Path) -> None:
    """Breaks if `load` needs a table, or a table for a model of tensors is not explained."""
    train(tmp_path, "data=toy_regression", "trainer.epochs=2")
    predictor = mtl_runner.load(str(tmp_path / "run"))
    answer = predictor.predict(torch.zeros(3, 1))
    assert {name: tuple(value.shape) for name, value in answer.items()} == {
        "y1": (3, 1),
        "y2": (3, 1),
    }
    with pytest.raises(DataError, match="This model was not trained on a table"):
        predictor.predict(pd.DataFrame({"x": [1.0]}))


@pytest.mark.long
def test_a_run_with_a_loss_term_loads(tmp_path: Path) -> None:
    """Breaks if `load` asks a loss term, which has neither output nor answer, for one."""
    (tmp_path / "my_terms.py").write_text(
        "def smooth(strength):\n    return lambda o, t: strength * o['y1'].square().mean()\n"
    )
    train(
        tmp_path,
        "data=toy_regression",
        "trainer.epochs=2",
        "data.losses={smooth: {_target_: my_terms.smooth, strength: 0.1}}",
    )
    answer = mtl_runner.load(tmp_path / "run").predict(torch.zeros(3, 1))
    assert set(answer) == {"y1", "y2"}
