"""predictions.csv and the curve of fit.png: the final model's answers in the target's units, with their noise."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mtl_runner
from mtl_runner.experiment.build import build
from mtl_runner.results.plots import Fit
from mtl_runner.runs.fit_curve import POINTS, fit_curve
from mtl_runner.runs.predictions import write_predictions
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import log_variance_key
from mtl_runner.train.trainer import Trainer
from tests.support.builders import near
from tests.unit.likelihood.references import composed, everything, finished, restored

# Columns of an answer, and of its noise: one per output of a regression, else one per sample.
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
    """A finished run of each kind that writes predictions, in double precision; a quarter of the labels is missing."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("runs")
    try:
        return {
            name: finished(folder / name, everything(*options, "record.predictions=true"))
            for name, options in RUNS.items()
        }
    finally:
        torch.set_default_dtype(torch.float32)


def rows_of(directory: Path) -> list[dict[str, str]]:
    with (directory / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def names_of(task: str, width: int, suffix: str = "") -> list[str]:
    return [f"{task}{suffix}"] if width == 1 else [f"{task}.{i}{suffix}" for i in range(width)]


def column(rows: list[dict[str, str]], names: list[str]) -> Tensor:
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
        if name == "homoscedastic" or (
            name == "uncertainty" and task in UNITS
        ):  # a weighting's sigma of a class is no noise
            expected += [f"{task}.sigma"]
        elif name not in ("standard", "uncertainty"):
            expected += names_of(task, noise, ".sigma")
    assert list(rows[0]) == expected


@pytest.mark.usefixtures("float64")
@run_is
def test_answers_are_those_of_the_final_model_in_target_units(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if answers are of the best epoch, in training units, or logits."""
    trainer = restored(runs[name])
    for split in ("val", "test"):
        rows = [row for row in rows_of(runs[name]) if row["split"] == split]
        outputs = trainer.learner.model.eval()(trainer.experiment.data.splits[split].inputs)
        for task, (width, _) in WIDTHS.items():
            found, output = column(rows, names_of(task, width)), outputs[task].detach()
            if task in UNITS:
                offset, scale = UNITS[task]
                near(found, offset + scale * output, 1e-12)
            elif task == "classification":
                near(found.squeeze(1), output.argmax(1).double(), 0)
            else:
                near(found, (output.sigmoid() > 0.5).double(), 0)


@pytest.mark.usefixtures("float64")
@run_is
def test_targets_stand_beside_them_and_missing_ones_are_empty(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if a missing label reads as a number, -100 or nan, or a target is in training units."""
    trainer = restored(runs[name])
    for split in ("val", "test"):
        rows = [row for row in rows_of(runs[name]) if row["split"] == split]
        for task, (width, _) in WIDTHS.items():
            target = trainer.experiment.data.splits[split].targets[task]
            target = target.reshape(len(rows), -1)
            known = target != MISSING_CLASS if task == "classification" else ~target.isnan()
            offset, scale = UNITS.get(task, (0.0, 1.0))
            cells = [
                [row[f"{column}"] for column in names_of(task, width, ".target")] for row in rows
            ]
            assert [[cell != "" for cell in row] for row in cells] == known.tolist()
            assert not known.all()
            values = torch.tensor([[float(cell or "nan") for cell in row] for row in cells])
            near(values[known], (offset + scale * target)[known].double(), 1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["heteroscedastic", "copies"])
def test_the_predicted_sigma_stands_beside_every_answer(runs: dict[str, Path], name: str) -> None:
    """Breaks if a sigma belongs to another row or output, or is in training units."""
    trainer = restored(runs[name])
    for split in ("val", "test"):
        rows = [row for row in rows_of(runs[name]) if row["split"] == split]
        outputs = trainer.learner.model.eval()(trainer.experiment.data.splits[split].inputs)
        for task, (_, width) in WIDTHS.items():
            s = outputs[log_variance_key(task)].detach()
            sigma = UNITS.get(task, (0.0, 1.0))[1] * (s if task == "regression_l1" else s / 2).exp()
            near(column(rows, names_of(task, width, ".sigma")), sigma, 1e-12)
            assert sigma.std() > 0


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["homoscedastic", "uncertainty"])
def test_the_learned_sigma_is_the_same_in_every_row(runs: dict[str, Path], name: str) -> None:
    """Breaks if a learned sigma is not that of the summary."""
    trainer, rows = restored(runs[name]), rows_of(runs[name])
    for task, sigma in zip(WIDTHS, trainer.sigmas(), strict=True):
        if task in UNITS or name == "homoscedastic":
            assert {float(row[f"{task}.sigma"]) for row in rows} == {sigma}


@pytest.mark.usefixtures("float64")
@run_is
def test_the_loaded_model_is_the_best_one_of_the_summary(runs: dict[str, Path], name: str) -> None:
    """Breaks if a model with predicted noise, or its copies, cannot be rebuilt from best.pt."""
    data = restored(runs[name]).experiment.data.splits["test"]
    answers = mtl_runner.load(runs[name]).predict(data.inputs)
    recorded = json.loads((runs[name] / "summary.json").read_text())["tasks"]
    for task, (offset, scale) in UNITS.items():
        error = answers[task] - offset - scale * data.targets[task]
        rmse = error[~error.isnan()].square().mean().sqrt().item()
        assert rmse == pytest.approx(recorded[task]["best"]["test"]["rmse"], rel=1e-9)
    known = data.targets["classification"] != MISSING_CLASS
    share = (
        (answers["classification"] == data.targets["classification"])[known].double().mean().item()
    )
    assert share == pytest.approx(recorded["classification"]["best"]["test"]["accuracy"])


def test_the_true_class_and_its_noise_calibrate(runs: dict[str, Path]) -> None:
    """Breaks if a confidence interval from predictions.csv does not mean what it says, off by a unit or a root."""
    rows = [row for row in rows_of(runs["heteroscedastic"]) if row["regression.0.target"]]
    errors = [
        (float(r["regression.0"]) - float(r["regression.0.target"]))
        / float(r["regression.0.sigma"])
        for r in rows
    ]
    assert 0.5 < np.sqrt(np.mean(np.square(errors))) < 2.0, (
        "after four epochs; a wrong unit is a factor of 3"
    )


def test_a_run_without_record_predictions_writes_none(tmp_path: Path) -> None:
    """Breaks if every run leaves a table as large as its data."""
    assert not (
        finished(tmp_path / "run", everything("trainer.epochs=1")) / "predictions.csv"
    ).exists()


def test_loss_terms_have_no_column(tmp_path: Path) -> None:
    """Breaks if a task without an output of its own stops the table."""
    losses = {"small": {"_target_": "tests.unit.runs.test_predictions.small"}}
    directory = finished(
        tmp_path / "run", everything("trainer.epochs=1", "record.predictions=true", losses=losses)
    )
    assert not [name for name in rows_of(directory)[0] if name.startswith("small")]


def small(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """A loss term of the test above."""
    del targets
    return outputs["regression"].square().mean()


def test_a_later_table_replaces_an_earlier_one(tmp_path: Path) -> None:
    """Breaks if writing twice leaves two tables in one file."""
    trainer = Trainer(build(everything()), tmp_path)
    write_predictions(trainer)
    once = (tmp_path / "predictions.csv").read_bytes()
    write_predictions(trainer)
    assert (tmp_path / "predictions.csv").read_bytes() == once
    assert once.count(b"split") == 1


# The curve of fit.png


def fitted(directory: Path, *overrides: str) -> tuple[Trainer, dict[str, Fit]]:
    """A trainer on the toy before its first epoch, in the state that a seed gives it, and its curves."""
    config = composed("model.hidden=[8]", "trainer.device=cpu", "weighting=fixed", *overrides)
    trainer = Trainer(build(config), directory)
    return trainer, fit_curve(trainer)


@pytest.mark.usefixtures("float64")
def test_the_band_is_the_predicted_sigma_along_the_curve(tmp_path: Path) -> None:
    """Breaks if fit.png shows the mean of sigma, or sigma in training units, where the model predicts it per point."""
    trainer, _ = fitted(tmp_path, "likelihood=heteroscedastic")
    for head in trainer.learner.model.model.nets:
        torch.nn.init.normal_(head[-1].weight)
    curves = fit_curve(trainer)
    assert list(curves) == ["y1", "y2"]
    for task, curve in curves.items():
        x = trainer.experiment.data.splits["train"].inputs.squeeze(1).numpy()
        np.testing.assert_array_equal(curve.x, x)
        np.testing.assert_allclose(curve.grid, np.linspace(x.min(), x.max(), POINTS), atol=1e-12)
        outputs = trainer.learner.model(torch.as_tensor(curve.grid).unsqueeze(1))
        np.testing.assert_allclose(curve.line, outputs[task].detach().squeeze(1), atol=1e-12)
        assert curve.sigma is not None
        np.testing.assert_allclose(
            curve.sigma, (outputs[log_variance_key(task)].detach().squeeze(1) / 2).exp(), atol=1e-12
        )
        assert curve.sigma.shape == (POINTS,)
        assert curve.sigma.std() > 1e-3


@pytest.mark.usefixtures("float64")
def test_line_points_and_band_are_in_the_units_of_the_target(tmp_path: Path) -> None:
    """Breaks if a standardised target is drawn in standard deviations, or the band of an L1 task is a root."""
    x = np.linspace(-1, 1, 60)
    lines = [f"{a},{1000 * a + 100 * math.sin(9 * i)},{7 + i % 5}" for i, a in enumerate(x)]
    (tmp_path / "t.csv").write_text("x,y,z\n" + "\n".join(lines) + "\n")
    targets = "data.targets={y: regression, z: regression_l1}"
    options = (
        "data=table",
        f"data.path={tmp_path / 't.csv'}",
        targets,
        "likelihood=heteroscedastic",
        "optimizer.lr=0.01",
    )
    trainer, _ = fitted(tmp_path, *options, "trainer.epochs=1")
    trainer.run()
    curves = fit_curve(trainer)
    assert all(task.scale not in (0.0, 1.0) for task in trainer.tasks)
    assert set(curves["y"].y.round(6)) <= {round(float(line.split(",")[1]), 6) for line in lines}
    assert set(curves["z"].y.round(9)) == {7.0, 8.0, 9.0, 10.0, 11.0}
    for task in trainer.tasks:
        outputs = trainer.learner.model.eval()(torch.as_tensor(curves[task.name].grid).unsqueeze(1))
        line = task.offset + task.scale * outputs[task.name].detach().squeeze(1)
        s = outputs[log_variance_key(task.name)].detach().squeeze(1)
        np.testing.assert_allclose(curves[task.name].line, line, rtol=1e-12)
        assert curves[task.name].sigma is not None
        np.testing.assert_allclose(
            curves[task.name].sigma,
            task.scale * (s / {"y": 2, "z": 1}[task.name]).exp(),
            rtol=1e-12,
        )


@pytest.mark.parametrize("likelihood", ["standard", "homoscedastic"])
def test_where_nothing_is_predicted_there_is_no_band_of_its_own(
    likelihood: str, tmp_path: Path
) -> None:
    """Breaks if a constant sigma is drawn twice."""
    _, curves = fitted(tmp_path, f"likelihood={likelihood}")
    assert [curve.sigma for curve in curves.values()] == [None, None]


def test_more_than_one_input_has_no_curve(tmp_path: Path) -> None:
    """Breaks if a picture of a fit is tried where there is no line to draw."""
    assert fit_curve(Trainer(build(everything("likelihood=heteroscedastic")), tmp_path)) == {}
