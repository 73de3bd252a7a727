"""metrics.csv and summary.json under the likelihoods with a noise scale: the columns, and every number in them."""

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
from mtl_runner.errors import RunDirectoryError
from mtl_runner.experiment.build import build
from mtl_runner.experiment.forward import split_outputs
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.tasks.task import Task, log_variance_key
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.metrics_file import (
    BASE_COLUMNS,
    MetricsFile,
    cells_of_step,
    cells_of_task,
    further_columns,
)
from mtl_runner.train.totals import EpochTotals
from mtl_runner.train.trainer import Trainer
from tests.support.builders import KINDS, make_tasks
from tests.unit.likelihood.references import (
    composed,
    everything,
    finished,
    nll_by_hand,
    read_rows,
    restored,
)

TASKS = make_tasks(a="regression", b="classification")
EXACT = ("homoscedastic", "heteroscedastic")
EVERY_EPOCH = "trainer.evaluate_every=1"
QUANTILES = ("sigma_q05", "sigma_q50", "sigma_q95")


# The file


def text(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_columns_are_the_key_the_metrics_and_what_the_method_adds(tmp_path: Path) -> None:
    """Breaks if a metric that two tasks share is there twice, or a further column stands among the metrics."""
    tasks = [*TASKS, Task("c", "regression_l1", size=1)]
    file = MetricsFile(tmp_path / "m.csv", tasks, further=["nll", "sigma_q05"])
    metrics = ["rmse", "mae", "r2", "rrmse", "accuracy", "f1", "ece"]
    assert text(tmp_path / "m.csv") == [",".join([*BASE_COLUMNS, *metrics, "nll", "sigma_q05"])]
    assert file.columns == [*BASE_COLUMNS, *metrics, "nll", "sigma_q05"]


def test_numbers_are_written_in_full_and_undefined_ones_are_empty(tmp_path: Path) -> None:
    """Breaks if a CSV loses digits, or says nan where a number is not defined."""
    file = MetricsFile(tmp_path / "m.csv", TASKS)
    value = 0.1 + 0.2
    file.append(
        [
            {
                "epoch": 1,
                "split": "val",
                "task": 'a "b", c',
                "loss": value,
                "weight": math.nan,
                "sigma": None,
                "f1": 0.0,
            }
        ]
    )
    file.append([{"epoch": 2, "loss": math.inf, "unknown": 5}])
    first, second = text(tmp_path / "m.csv")[1:]
    assert first.startswith('1,,val,"a ""b"", c",0.30000000000000004,,,')
    assert "nan" not in first
    assert second.split(",")[:5] == ["2", "", "", "", "inf"]
    assert "5" not in second


def test_a_resumed_file_is_cut_back_to_its_checkpoint(tmp_path: Path) -> None:
    """Breaks if rows that were written after the last checkpoint are there twice."""
    file = MetricsFile(tmp_path / "m.csv", TASKS)
    file.append([{"epoch": 1}])
    position = file.position
    whole = (tmp_path / "m.csv").read_bytes()
    assert position == len(whole)
    file.append([{"epoch": 2}])
    again = MetricsFile(tmp_path / "m.csv", TASKS, position)
    assert (tmp_path / "m.csv").read_bytes() == whole
    assert again.position == position
    again.append([{"epoch": 2}])
    assert [line.split(",")[0] for line in text(tmp_path / "m.csv")] == ["epoch", "1", "2"]
    with pytest.raises(
        RunDirectoryError,
        match=r"m\.csv' is shorter than its checkpoint says; run again with mtl-run repeat=",
    ):
        MetricsFile(tmp_path / "m.csv", TASKS, 10_000)
    with pytest.raises(RunDirectoryError, match="is shorter than its checkpoint says"):
        MetricsFile(tmp_path / "none.csv", TASKS, 1)


def test_a_new_run_starts_a_new_file(tmp_path: Path) -> None:
    """Breaks if a run appends to what a failed one left."""
    (tmp_path / "m.csv").write_text("old\n")
    MetricsFile(tmp_path / "m.csv", TASKS)
    assert text(tmp_path / "m.csv")[0].startswith("epoch,")
    assert len(text(tmp_path / "m.csv")) == 1


def test_cosines_have_a_column_per_task_and_a_cell_for_the_others() -> None:
    """Breaks if a task's cosine to itself is written, or a row of the matrix lands in another task's row."""
    tasks = make_tasks(a="regression", b="regression", c="regression")
    assert further_columns(["nll", "cosine", "norm_ratio"], tasks) == [
        "nll",
        "cosine_a",
        "cosine_b",
        "cosine_c",
        "norm_ratio",
    ]
    matrix = [
        1.0,
        0.1,
        0.2,
        0.11,
        1.0,
        0.3,
        0.22,
        0.33,
        1.0,
    ]  # rows, though the real one is symmetric
    further = {"nll": [4.0, 5.0, 6.0], "cosine": matrix, "norm_ratio": [0.5]}
    assert cells_of_task(further, 1, tasks) == {"nll": 5.0, "cosine_a": 0.11, "cosine_c": 0.3}
    assert cells_of_task(further, 0, tasks) == {"nll": 4.0, "cosine_b": 0.1, "cosine_c": 0.2}
    assert cells_of_step(further) == {"norm_ratio": 0.5}
    assert cells_of_step({"nll": [1.0]}) == {}


# Whole runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run for each likelihood, on data of every kind with missing labels; in double precision."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "standard": (),
        "homoscedastic": (
            "trainer.epochs=12",
            "likelihood.lr=0.1",
            "optimizer.lr=0.1",
        ),  # soon too good on the training rows
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
            name: finished(
                folder / name,
                everything(
                    *more, *(() if name == "copies" else (f"likelihood={name}",)), EVERY_EPOCH
                ),
            )
            for name, more in options.items()
        }
    finally:
        torch.set_default_dtype(torch.float32)


def scales(trainer: Trainer, split: Split) -> dict[str, tuple[Tensor, Tensor]]:
    """Each task's output before any temperature, and its s."""
    outputs = split_outputs(trainer.learner.forward_pass, split, 10_000)
    likelihood = trainer.learner.likelihood
    if isinstance(likelihood, Homoscedastic):
        return {
            t.name: (outputs[t.name], s.detach())
            for t, s in zip(trainer.tasks, likelihood.log_variance, strict=True)
        }
    found = {}
    for task in trainer.tasks:
        s = outputs[log_variance_key(task.name)]
        found[task.name] = (
            outputs[task.name] * (1 if task.kind.startswith("regression") else s.exp()),
            s,
        )
    return found


def test_a_standard_run_has_no_columns_of_noise(runs: dict[str, Path]) -> None:
    """Breaks if runs that have no noise scale carry empty columns of it."""
    header = text(runs["standard"] / "metrics.csv")[0].split(",")
    assert not {"nll", *QUANTILES} & set(header)
    assert text(runs["homoscedastic"] / "metrics.csv")[0].split(",") == [*header, "nll"]
    assert text(runs["heteroscedastic"] / "metrics.csv")[0].split(",") == [
        *header,
        "nll",
        *QUANTILES,
    ]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", EXACT)
def test_nll_in_the_file_is_that_of_the_final_model(
    runs: dict[str, Path], name: str, split: str
) -> None:
    """Breaks if nll is not the exact negative log-likelihood of the whole split, beta or gaps or not."""
    trainer = restored(runs[name])
    data = trainer.experiment.data.splits[split]
    found = scales(trainer, data)
    for task in trainer.tasks:
        (row,) = read_rows(runs[name], split=split, task=task.name, epoch=12)
        output, s = found[task.name]
        assert float(row["nll"]) == pytest.approx(
            nll_by_hand(task, output, data.targets[task.name], s).item(), rel=1e-12
        )
        summary = json.loads((runs[name] / "summary.json").read_text())["tasks"][task.name]
        assert summary["noise"][split]["nll"] == float(row["nll"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", EXACT)
def test_the_best_epochs_nll_is_that_of_the_model_that_load_gives(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if `mtl_runner.load` gives another model than the one whose numbers stand in the best epoch's rows."""
    best = json.loads((runs[name] / "summary.json").read_text())["monitor"]["best_epoch"]
    trainer = restored(runs[name])
    data = trainer.experiment.data.splits["val"]
    predictor = mtl_runner.load(runs[name])
    outputs = predictor.model(data.inputs)
    for task in trainer.tasks:
        (train,) = read_rows(runs[name], split="train", task=task.name, epoch=best)
        (row,) = read_rows(runs[name], split="val", task=task.name, epoch=best)
        output = outputs[task.name]
        if name == "homoscedastic":  # sigma stands beside it
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
def test_loaded_models_answer_in_target_units(runs: dict[str, Path], name: str) -> None:
    """Breaks if the log-variances among a model's outputs, or the units of a target, end in the answers."""
    trainer = restored(runs[name])
    data = trainer.experiment.data.splits["val"]
    predictor = mtl_runner.load(runs[name])
    answers, best = (
        predictor.predict(data.inputs),
        json.loads((runs[name] / "summary.json").read_text()),
    )
    assert list(answers) == list(KINDS)
    for task in trainer.tasks[:2]:
        known = ~data.targets[task.name].isnan()
        error = (answers[task.name] - (task.offset + task.scale * data.targets[task.name]))[known]
        assert error.square().mean().sqrt().item() == pytest.approx(
            best["tasks"][task.name]["best"]["val"]["rmse"], rel=1e-9
        )
    labels = data.targets["classification"]
    share = (answers["classification"] == labels)[labels >= 0].double().mean().item()
    assert share == pytest.approx(best["tasks"]["classification"]["best"]["val"]["accuracy"])
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
def test_what_load_gives_is_calibrated_by_the_best_epochs_temperature(
    runs: dict[str, Path], name: str
) -> None:
    """Breaks if the logits of a loaded model are not those that its recorded loss and calibration error judge."""
    data = restored(runs[name]).experiment.data.splits["val"]
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
    trainer = restored(runs["homoscedastic"])
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
    """Breaks if mean and quantiles of sigma are of log variances, of a batch, or of another split."""
    trainer = restored(runs["heteroscedastic"])
    found = scales(trainer, trainer.experiment.data.splits[split])
    units = {"regression": 3.0, "regression_l1": 0.5}
    for task in trainer.tasks:
        s = found[task.name][1].numpy()
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
    """Breaks if the column that strategies are compared by holds the likelihood."""
    trainer = restored(runs[name])
    data = trainer.experiment.data.splits["val"]
    found = scales(trainer, data)
    for task in trainer.tasks:
        output, s = found[task.name]
        answer = output if task.kind.startswith("regression") else output / s.exp()
        (row,) = read_rows(runs[name], split="val", task=task.name, epoch=12)
        assert float(row["loss"]) == pytest.approx(
            task.loss({task.name: answer}, data.targets).item(), rel=1e-12
        )
        baseline = trainer.experiment.trivial_losses("val")[KINDS.index(task.name)]
        assert float(row["relative_loss"]) == pytest.approx(
            float(row["loss"]) / baseline, rel=1e-12
        )


def test_the_true_sigma_is_shown_beside_numbers_only(tmp_path: Path) -> None:
    """Breaks if a temperature that a free last layer leaves without meaning is drawn beside the generator's."""
    options = (
        "data=toy_mixed",
        "model.hidden=[4]",
        "trainer.epochs=1",
        "record.plots=none",
        "trainer.device=cpu",
    )
    for name in EXACT:
        config = composed(*options, f"likelihood={name}", "weighting=fixed")
        summary = json.loads((finished(tmp_path / name, config) / "summary.json").read_text())
        assert [task["true_sigma"] for task in summary["tasks"].values()] == [2.0, None]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("weighting", "weight"), [("fixed", 1.0), ("half", 0.5)])
def test_the_weight_column_is_the_slope_with_respect_to_the_nll(
    weighting: str, weight: float, tmp_path: Path
) -> None:
    """Breaks if the weights of an exact likelihood are logged as those of the standard losses (1 / (2 sigma^2))."""
    more = () if weighting == "fixed" else ("weighting.weights=0.5",)
    directory = finished(tmp_path / "run", everything("likelihood=homoscedastic", *more))
    rows = read_rows(directory, split="train", epoch=4)
    assert [float(row["weight"]) for row in rows if row["task"] != "total"] == [weight] * 4


@pytest.mark.usefixtures("float64")
def test_the_weight_of_a_logarithm_is_one_over_the_nll_beside_it(tmp_path: Path) -> None:
    """Breaks if weights and likelihoods of a row are not of the same step, or the weight is with respect to `loss`."""
    config = everything(
        "likelihood=heteroscedastic", "weighting=log_sum", "trainer.epochs=3", batch_size=60
    )
    directory = finished(tmp_path / "run", config)
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


@pytest.mark.usefixtures("float64")
def test_train_rows_average_over_the_batches_that_hold_a_label(tmp_path: Path) -> None:
    """Breaks if a batch without a label of a task counts as one with a likelihood of 0, in the noise scales or in the loss."""
    config = everything("likelihood=heteroscedastic", "optimizer.lr=1e-12")
    config.data.batch_size = 2  # every fourth row has no label at all, so many batches lack one
    experiment = build(config)
    trainer = Trainer(experiment, tmp_path)
    seen: dict[str, list[float]] = {task.name: [] for task in trainer.tasks}
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    train = experiment.data.splits["train"]
    for rows in order.split(2):
        batch = train.rows(rows)
        outputs = experiment.learner.model(batch.inputs)
        for task in trainer.tasks:
            target = batch.targets[task.name]
            if task.labelled(target).any():
                s = outputs[log_variance_key(task.name)].detach()
                output = outputs[task.name].detach() * (
                    1 if task.kind.startswith("regression") else s.exp()
                )
                seen[task.name].append(nll_by_hand(task, output, target, s).item())
    totals = EpochTotals(
        trainer.tasks, trainer.batches.count, experiment.device, trainer.learner.layout
    )
    means = trainer.train_epoch(totals).means()
    assert all(len(values) < 30 for values in seen.values())
    assert means.further["nll"] == [
        pytest.approx(np.mean(values), abs=1e-8) for values in seen.values()
    ]


@pytest.mark.parametrize("name", EXACT)
def test_a_stopped_run_goes_on_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Breaks if a likelihood's parameters, their Adam, or those of the best epoch are missing from what is saved."""
    overfits = ("optimizer.lr=0.1", "trainer.monitor=classification.loss")
    config = everything(f"likelihood={name}", "trainer.epochs=10", EVERY_EPOCH, *overfits)
    whole = Trainer(build(config), _made(tmp_path / "whole"))
    whole.run()
    stopped = Trainer(build(config), _made(tmp_path / "stopped"))

    def stop(epoch: int, objective: float) -> None:
        del objective
        stopped.stop = epoch == 8

    stopped.on_epoch = stop
    with pytest.raises(Interrupted):
        stopped.run()
    again = Trainer(build(config), tmp_path / "stopped")
    assert again.resumed
    assert again.epoch == 8
    again.run()
    assert whole.best.latest_epoch < 8, "the best epoch lies before the stop"
    assert again.finish() == whole.finish()
    assert (tmp_path / "stopped" / "metrics.csv").read_bytes() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_bytes()
    assert again.sigmas() == whole.sigmas()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
