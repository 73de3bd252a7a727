"""predictions.csv of trained runs: predictions of the final model, targets and noise."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mtl_runner
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import log_variance_key
from tests.support.builders import assert_near
from tests.support.whole_runs import everything_config, finish_run, restore_trainer

# The number of columns of a prediction, and of its noise.
WIDTHS = {
    "regression": (2, 2),
    "regression_l1": (1, 1),
    "classification": (1, 1),
    "multilabel": (3, 1),
}
UNITS = {"regression": (5.0, 3.0), "regression_l1": (-2.0, 0.5)}
RUNS = {
    "standard": (),
    "uncertainty": ("weighting=uncertainty",),
    "homoscedastic": ("likelihood=homoscedastic",),
    "heteroscedastic": ("likelihood=heteroscedastic",),
    "copies": ("likelihood=heteroscedastic", "share=false"),
}
run_is = pytest.mark.parametrize("name", RUNS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each kind in double precision; a quarter of the labels is missing."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("runs")
    try:
        return {
            name: finish_run(folder / name, everything_config(*options, "record.predictions=true"))
            for name, options in RUNS.items()
        }
    finally:
        torch.set_default_dtype(torch.float32)


def rows_of(directory: Path) -> list[dict[str, str]]:
    """Return the rows of a run's predictions.csv."""
    with (directory / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def names_of(task: str, width: int, suffix: str = "") -> list[str]:
    """Return the names of the columns of a task with so many outputs."""
    return [f"{task}{suffix}"] if width == 1 else [f"{task}.{i}{suffix}" for i in range(width)]


def column(rows: list[dict[str, str]], names: list[str]) -> Tensor:
    """Return some columns of the rows as numbers ``[N, columns]``."""
    return torch.tensor([[float(row[name]) for name in names] for row in rows], dtype=torch.float64)


@run_is
def test_there_is_a_row_per_row_of_validation_and_test_and_a_column_per_output(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if rows cannot be told apart, or an output has no column."""
    rows = rows_of(runs[name])
    assert [(row["split"], int(row["row"])) for row in rows] == [
        *(("val", i) for i in range(50)),
        *(("test", i) for i in range(40)),
    ]
    expected = ["split", "row"]
    for task, (width, noise) in WIDTHS.items():
        expected += [*names_of(task, width), *names_of(task, width, ".target")]
        # The sigma that a weighting learns for a class is no noise.
        if name == "homoscedastic" or (name == "uncertainty" and task in UNITS):
            expected += [f"{task}.sigma"]
        elif name not in ("standard", "uncertainty"):
            expected += names_of(task, noise, ".sigma")
    assert list(rows[0]) == expected


@pytest.mark.usefixtures("float64")
@run_is
def test_predictions_are_those_of_the_final_model_in_target_units(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if predictions are of the best epoch, in training units, or logits."""
    trainer = restore_trainer(runs[name])
    for split in ("val", "test"):
        rows = [row for row in rows_of(runs[name]) if row["split"] == split]
        outputs = trainer.learner.model.eval()(trainer.experiment.data.splits[split].inputs)
        for task, (width, _) in WIDTHS.items():
            predictions, output = column(rows, names_of(task, width)), outputs[task].detach()
            if task in UNITS:
                offset, scale = UNITS[task]
                assert_near(predictions, offset + scale * output, 1e-12)
            elif task == "classification":
                assert_near(predictions.squeeze(1), output.argmax(1).double(), 0)
            else:
                assert_near(predictions, (output.sigmoid() > 0.5).double(), 0)


@pytest.mark.usefixtures("float64")
@run_is
def test_targets_are_in_target_units_and_missing_ones_are_empty(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if a missing label reads as a number or nan, or a target is in training units."""
    trainer = restore_trainer(runs[name])
    for split in ("val", "test"):
        rows = [row for row in rows_of(runs[name]) if row["split"] == split]
        for task, (width, _) in WIDTHS.items():
            target = trainer.experiment.data.splits[split].targets[task]
            target = target.reshape(len(rows), -1)
            known = target != MISSING_CLASS if task == "classification" else ~target.isnan()
            offset, scale = UNITS.get(task, (0.0, 1.0))
            cells = [
                [row[column_name] for column_name in names_of(task, width, ".target")]
                for row in rows
            ]
            assert [[cell != "" for cell in row] for row in cells] == known.tolist()
            assert not known.all()
            values = torch.tensor([[float(cell or "nan") for cell in row] for row in cells])
            assert_near(values[known], (offset + scale * target)[known].double(), 1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["heteroscedastic", "copies"])
def test_every_prediction_has_its_predicted_sigma(runs: dict[str, Path], name: str) -> None:
    """Breaks if a sigma belongs to another row or output, or is in training units."""
    trainer = restore_trainer(runs[name])
    for split in ("val", "test"):
        rows = [row for row in rows_of(runs[name]) if row["split"] == split]
        outputs = trainer.learner.model.eval()(trainer.experiment.data.splits[split].inputs)
        for task, (_, width) in WIDTHS.items():
            s = outputs[log_variance_key(task)].detach()
            sigma = UNITS.get(task, (0.0, 1.0))[1] * (s if task == "regression_l1" else s / 2).exp()
            assert_near(column(rows, names_of(task, width, ".sigma")), sigma, 1e-12)
            assert sigma.std() > 0


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["homoscedastic", "uncertainty"])
def test_the_learned_sigma_is_the_same_in_every_row(runs: dict[str, Path], name: str) -> None:
    """Breaks if a learned sigma is not that of the summary."""
    trainer, rows = restore_trainer(runs[name]), rows_of(runs[name])
    for task, sigma in zip(WIDTHS, trainer.sigmas(), strict=True):
        if task in UNITS or name == "homoscedastic":
            assert {float(row[f"{task}.sigma"]) for row in rows} == {sigma}


@pytest.mark.usefixtures("float64")
@run_is
def test_the_loaded_model_is_the_best_one_of_the_summary(runs: dict[str, Path], name: str) -> None:
    """Breaks if a model with predicted noise, or its copies, cannot be rebuilt from best.pt."""
    data = restore_trainer(runs[name]).experiment.data.splits["test"]
    predictions = mtl_runner.load(runs[name]).predict(data.inputs)
    recorded = json.loads((runs[name] / "summary.json").read_text())["tasks"]
    for task, (offset, scale) in UNITS.items():
        error = predictions[task] - offset - scale * data.targets[task]
        rmse = error[~error.isnan()].square().mean().sqrt().item()
        assert rmse == pytest.approx(recorded[task]["best"]["test"]["rmse"], rel=1e-9)
    known = data.targets["classification"] != MISSING_CLASS
    share = (
        (predictions["classification"] == data.targets["classification"])[known]
        .double()
        .mean()
        .item()
    )
    assert share == pytest.approx(recorded["classification"]["best"]["test"]["accuracy"])


def test_errors_are_as_large_as_the_predicted_noise(runs: dict[str, Path]) -> None:
    """Breaks if the sigma in predictions.csv has another unit, or is a variance."""
    rows = [row for row in rows_of(runs["heteroscedastic"]) if row["regression.0.target"]]
    errors = [
        (float(r["regression.0"]) - float(r["regression.0.target"]))
        / float(r["regression.0.sigma"])
        for r in rows
    ]
    # The bounds hold after four epochs; a wrong unit is a factor of 3.
    assert 0.5 < np.sqrt(np.mean(np.square(errors))) < 2.0


def test_a_run_without_record_predictions_writes_none(tmp_path: Path) -> None:
    """Breaks if every run leaves a table as large as its data."""
    assert not (
        finish_run(tmp_path / "run", everything_config("trainer.epochs=1")) / "predictions.csv"
    ).exists()


def test_loss_terms_have_no_column(tmp_path: Path) -> None:
    """Breaks if a loss term, which has no prediction, has a column in the table."""
    losses = {"small": {"_target_": "tests.oracles.test_predictions.small"}}
    directory = finish_run(
        tmp_path / "run",
        everything_config("trainer.epochs=1", "record.predictions=true", losses=losses),
    )
    assert not [name for name in rows_of(directory)[0] if name.startswith("small")]


def small(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Return a loss term for the test above."""
    del targets
    return outputs["regression"].square().mean()
