"""Columns and numbers of metrics.csv and summary.json under likelihoods with a noise scale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mtl_runner
from mtl_runner.data.dataset import Split
from mtl_runner.experiment.build import build
from mtl_runner.experiment.forward import split_outputs
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.tasks.task import log_variance_key
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.trainer import Trainer
from tests.support.builders import KINDS
from tests.support.likelihoods import nll_by_hand
from tests.support.whole_runs import (
    compose_config,
    everything_config,
    finish_run,
    read_rows,
    restore_trainer,
)

EXACT = ("homoscedastic", "heteroscedastic")
EVERY_EPOCH = "trainer.evaluate_every=1"
QUANTILES = ("sigma_q05", "sigma_q50", "sigma_q95")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finish a run of each likelihood, on data of every kind with missing labels, in float64."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "standard": (),
        # With these rates it soon overfits.
        "homoscedastic": ("trainer.epochs=12", "likelihood.lr=0.1", "optimizer.lr=0.1"),
        "heteroscedastic": ("trainer.epochs=12", "likelihood.beta=0.5"),
        "copies": (
            "trainer.epochs=12",
            "likelihood=homoscedastic",
            "likelihood.lr=0.1",
            "optimizer.lr=0.1",
            "share=false",
        ),
    }
    try:
        return {
            name: finish_run(
                folder / name,
                everything_config(
                    *more, *(() if name == "copies" else (f"likelihood={name}",)), EVERY_EPOCH
                ),
            )
            for name, more in options.items()
        }
    finally:
        torch.set_default_dtype(torch.float32)


def outputs_and_log_variances(trainer: Trainer, split: Split) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each task's output before any temperature, and its log-variance."""
    outputs = split_outputs(trainer.learner.forward_pass, split, 10_000)
    likelihood = trainer.learner.likelihood
    if isinstance(likelihood, Homoscedastic):
        return {
            t.name: (outputs[t.name], s.detach())
            for t, s in zip(trainer.tasks, likelihood.log_variance, strict=True)
        }
    pairs = {}
    for task in trainer.tasks:
        s = outputs[log_variance_key(task.name)]
        temperature = 1 if task.kind.startswith("regression") else s.exp()
        pairs[task.name] = (outputs[task.name] * temperature, s)
    return pairs


def header_of(directory: Path) -> list[str]:
    """Return the names of the columns of a run's metrics.csv."""
    return (directory / "metrics.csv").read_text().splitlines()[0].split(",")


def test_a_standard_run_has_no_columns_of_noise(runs: dict[str, Path]) -> None:
    """Breaks if runs that have no noise scale carry empty columns of it."""
    header = header_of(runs["standard"])
    assert not {"nll", *QUANTILES} & set(header)
    assert header_of(runs["homoscedastic"]) == [*header, "nll"]
    assert header_of(runs["heteroscedastic"]) == [*header, "nll", *QUANTILES]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", EXACT)
def test_nll_in_the_file_is_that_of_the_final_model(
    runs: dict[str, Path], name: str, split: str
) -> None:
    """Breaks if nll is not the exact negative log-likelihood of the split, with beta and gaps."""
    trainer = restore_trainer(runs[name])
    data = trainer.experiment.data.splits[split]
    pairs = outputs_and_log_variances(trainer, data)
    for task in trainer.tasks:
        (row,) = read_rows(runs[name], split=split, task=task.name, epoch=12)
        output, s = pairs[task.name]
        assert float(row["nll"]) == pytest.approx(
            nll_by_hand(task, output, data.targets[task.name], s).item(), rel=1e-12
        )
        summary = json.loads((runs[name] / "summary.json").read_text())["tasks"][task.name]
        assert summary["noise"][split]["nll"] == float(row["nll"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", EXACT)
def test_the_best_epochs_nll_is_that_of_the_loaded_model(runs: dict[str, Path], name: str) -> None:
    """Breaks if `mtl_runner.load` gives another model than the one of the best epoch's rows."""
    best = json.loads((runs[name] / "summary.json").read_text())["monitor"]["best_epoch"]
    trainer = restore_trainer(runs[name])
    data = trainer.experiment.data.splits["val"]
    predictor = mtl_runner.load(runs[name])
    outputs = predictor.model(data.inputs)
    for task in trainer.tasks:
        (train,) = read_rows(runs[name], split="train", task=task.name, epoch=best)
        (row,) = read_rows(runs[name], split="val", task=task.name, epoch=best)
        output = outputs[task.name]
        # The sigma of a homoscedastic likelihood is in metrics.csv, not among the outputs.
        if name == "homoscedastic":
            power = 1 if task.kind == "regression_l1" else 2
            unit = task.scale if task.kind.startswith("regression") else 1.0
            s = power * torch.tensor(float(train["sigma"]) / unit).log()
        else:
            s = outputs[log_variance_key(task.name)]
            output = output if task.kind.startswith("regression") else output * s.exp()
        assert float(row["nll"]) == pytest.approx(
            nll_by_hand(task, output, data.targets[task.name], s).item(), rel=1e-12
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", EXACT)
def test_loaded_models_predict_in_target_units(runs: dict[str, Path], name: str) -> None:
    """Breaks if log-variances are among the predictions, or these are not in target units."""
    trainer = restore_trainer(runs[name])
    data = trainer.experiment.data.splits["val"]
    predictor = mtl_runner.load(runs[name])
    predictions = predictor.predict(data.inputs)
    summary = json.loads((runs[name] / "summary.json").read_text())
    assert list(predictions) == list(KINDS)
    for task in trainer.tasks[:2]:
        known = ~data.targets[task.name].isnan()
        targets = task.offset + task.scale * data.targets[task.name]
        error = (predictions[task.name] - targets)[known]
        assert error.square().mean().sqrt().item() == pytest.approx(
            summary["tasks"][task.name]["best"]["val"]["rmse"], rel=1e-9
        )
    labels = data.targets["classification"]
    accuracy = (predictions["classification"] == labels)[labels >= 0].double().mean().item()
    assert accuracy == pytest.approx(summary["tasks"]["classification"]["best"]["val"]["accuracy"])
    assert set(predictor.outputs(data.inputs)) == set(KINDS)


@pytest.mark.parametrize("name", [*EXACT, "copies"])
def test_the_best_epoch_of_the_summary_is_its_row_in_the_file(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if the best model is evaluated with another epoch's sigma."""
    summary = json.loads((runs[name] / "summary.json").read_text())
    best = summary["monitor"]["best_epoch"]
    epochs = best if name == "copies" else dict.fromkeys(KINDS, best)
    assert epochs["classification"] < 12, "the last epoch would prove nothing"
    for task, numbers in summary["tasks"].items():
        (row,) = read_rows(runs[name], split="val", task=task, epoch=epochs[task])
        for metric, value in numbers["best"]["val"].items():
            assert float(row[metric]) == pytest.approx(value, rel=1e-12), (task, metric)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["homoscedastic", "copies"])
def test_loaded_logits_are_divided_by_the_best_epochs_temperature(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if the loss of a loaded model's logits is not its recorded loss."""
    data = restore_trainer(runs[name]).experiment.data.splits["val"]
    outputs = mtl_runner.load(runs[name]).outputs(data.inputs)
    best = json.loads((runs[name] / "summary.json").read_text())["tasks"]["classification"]["best"][
        "val"
    ]
    known = data.targets["classification"] >= 0
    loss = torch.nn.functional.cross_entropy(
        outputs["classification"][known], data.targets["classification"][known]
    )
    assert loss.item() == pytest.approx(best["loss"], rel=1e-12)


@pytest.mark.usefixtures("float64")
def test_sigma_in_the_file_is_the_learned_one(runs: dict[str, Path]) -> None:
    """Breaks if a learned sigma is written in training units, or for the wrong task or split."""
    trainer = restore_trainer(runs["homoscedastic"])
    units = {"regression": 3.0, "regression_l1": 0.5}
    for task, s in zip(trainer.tasks, trainer.learner.likelihood.log_variance, strict=True):
        sigma = units.get(task.kind, 1.0) * math.exp(
            s.item() / (1 if task.kind == "regression_l1" else 2)
        )
        (row,) = read_rows(runs["homoscedastic"], split="train", task=task.name, epoch=12)
        assert float(row["sigma"]) == pytest.approx(sigma, rel=1e-12)
        summary = json.loads((runs["homoscedastic"] / "summary.json").read_text())["tasks"][
            task.name
        ]
        assert summary["sigma"] == pytest.approx(sigma, rel=1e-12)
    assert all(row["sigma"] == "" for row in read_rows(runs["homoscedastic"], split="val"))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_predicted_sigmas_in_the_file_are_those_of_the_final_model(
    runs: dict[str, Path], split: str
) -> None:
    """Breaks if mean and quantiles of sigma are of log-variances, a batch or another split."""
    trainer = restore_trainer(runs["heteroscedastic"])
    pairs = outputs_and_log_variances(trainer, trainer.experiment.data.splits[split])
    units = {"regression": 3.0, "regression_l1": 0.5}
    for task in trainer.tasks:
        s = pairs[task.name][1].numpy()
        sigma = units.get(task.kind, 1.0) * np.exp(s / (1 if task.kind == "regression_l1" else 2))
        (row,) = read_rows(runs["heteroscedastic"], split=split, task=task.name, epoch=12)
        assert float(row["sigma"]) == pytest.approx(sigma.mean(), rel=1e-12)
        for column, level in zip(QUANTILES, (0.05, 0.5, 0.95), strict=True):
            assert float(row[column]) == pytest.approx(np.quantile(sigma, level), rel=1e-12)
        summary = json.loads((runs["heteroscedastic"] / "summary.json").read_text())["tasks"][
            task.name
        ]
        if split == "val":
            assert summary["sigma"] == float(row["sigma"])
        if split != "train":
            assert summary["noise"][split] == {
                key: float(row[key]) for key in ("nll", "sigma", *QUANTILES)
            }


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", EXACT)
def test_loss_stays_the_standard_one(runs: dict[str, Path], name: str) -> None:
    """Breaks if the column `loss`, by which strategies are compared, holds the likelihood."""
    trainer = restore_trainer(runs[name])
    data = trainer.experiment.data.splits["val"]
    pairs = outputs_and_log_variances(trainer, data)
    for task in trainer.tasks:
        output, s = pairs[task.name]
        prediction = output if task.kind.startswith("regression") else output / s.exp()
        (row,) = read_rows(runs[name], split="val", task=task.name, epoch=12)
        assert float(row["loss"]) == pytest.approx(
            task.loss({task.name: prediction}, data.targets).item(), rel=1e-12
        )
        baseline = trainer.experiment.trivial_losses("val")[KINDS.index(task.name)]
        assert float(row["relative_loss"]) == pytest.approx(
            float(row["loss"]) / baseline, rel=1e-12
        )


def test_only_regressions_have_a_true_sigma(tmp_path: Path) -> None:
    """Breaks if a classification has a true sigma, whose temperature means nothing."""
    options = (
        "data=toy_mixed",
        "model.hidden=[4]",
        "trainer.epochs=1",
        "record.plots=none",
        "trainer.device=cpu",
    )
    for name in EXACT:
        config = compose_config(*options, f"likelihood={name}", "weighting=fixed")
        summary = json.loads((finish_run(tmp_path / name, config) / "summary.json").read_text())
        assert [task["true_sigma"] for task in summary["tasks"].values()] == [2.0, None]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("weighting", "weight"), [("fixed", 1.0), ("half", 0.5)])
def test_the_weight_column_is_the_slope_with_respect_to_the_nll(
    weighting: str, weight: float, tmp_path: Path
) -> None:
    """Breaks if weights of an exact likelihood are logged as those of the standard losses."""
    more = () if weighting == "fixed" else ("weighting.weights=0.5",)
    directory = finish_run(tmp_path / "run", everything_config("likelihood=homoscedastic", *more))
    rows = read_rows(directory, split="train", epoch=4)
    assert [float(row["weight"]) for row in rows if row["task"] != "total"] == [weight] * 4


@pytest.mark.usefixtures("float64")
def test_the_weight_of_a_logarithm_is_one_over_the_nll_of_its_row(tmp_path: Path) -> None:
    """Breaks if weight and nll of a row are of different steps, or the weight is that of `loss`."""
    config = everything_config(
        "likelihood=heteroscedastic", "weighting=log_sum", "trainer.epochs=3", batch_size=60
    )
    directory = finish_run(tmp_path / "run", config)
    for row in read_rows(directory, split="train"):
        if row["task"] != "total":
            assert float(row["weight"]) * float(row["nll"]) == pytest.approx(1.0, rel=1e-12)
            assert (
                row["task"] == "classification"
                or abs(float(row["nll"]) - float(row["loss"])) > 1e-3
            )
    totals = [float(row["loss"]) for row in read_rows(directory, split="train", task="total")]
    sums = [
        sum(
            math.log(float(row["nll"]))
            for row in read_rows(directory, split="train", epoch=e)
            if row["nll"]
        )
        for e in (1, 2, 3)
    ]
    assert totals == [pytest.approx(value, rel=1e-12) for value in sums]


@pytest.mark.parametrize("name", EXACT)
def test_a_stopped_run_goes_on_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Breaks if a likelihood's parameters, their Adam or their best epoch are not saved."""
    overfits = ("optimizer.lr=0.1", "trainer.monitor=classification.loss")
    config = everything_config(f"likelihood={name}", "trainer.epochs=10", EVERY_EPOCH, *overfits)
    for name in ("uninterrupted", "stopped"):
        (tmp_path / name).mkdir()
    uninterrupted = Trainer(build(config), tmp_path / "uninterrupted")
    uninterrupted.run()
    stopped = Trainer(build(config), tmp_path / "stopped")

    def stop(epoch: int, objective: float) -> None:
        del objective
        stopped.stop = epoch == 8

    stopped.on_epoch = stop
    with pytest.raises(Interrupted):
        stopped.run()
    resumed = Trainer(build(config), tmp_path / "stopped")
    assert resumed.resumed
    assert resumed.epoch == 8
    resumed.run()
    assert uninterrupted.best.latest_epoch < 8, "the best epoch lies before the stop"
    assert resumed.finish() == uninterrupted.finish()
    assert (tmp_path / "stopped" / "metrics.csv").read_bytes() == (
        tmp_path / "uninterrupted" / "metrics.csv"
    ).read_bytes()
    assert resumed.sigmas() == uninterrupted.sigmas()
