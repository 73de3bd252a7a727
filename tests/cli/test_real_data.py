"""Commands on real data; skipped where the folder of real data is absent."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_runner.data import Reuters, Table
from mtl_runner.data.prepare import Prepared, prepare
from tests.support.commands import Command


@pytest.mark.long
def test_one_epoch_of_multi_fashion_beats_the_trivial_predictor_on_both_tasks(
    shared_data: Path,
    mtl: Command,
    tmp_path: Path,
) -> None:
    """Breaks the real problem: 20 000 real images, LeNet, one epoch, as a user types it."""
    path = shared_data / "fashion_mnist_20k"
    done = mtl(
        "mtl-run",
        "data=multi_mnist",
        f"data.path={path}",
        "trainer.epochs=1",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.err
    assert "train 18000, val 2000, test 4000 rows" in done.out
    for task in json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"].values():
        assert task["final"]["test"]["relative_loss"] < 0.6
        assert task["final"]["test"]["accuracy"] > 0.5


def metrics(run: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv of a run."""
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_real_texts_are_read(shared_data: Path) -> None:
    """Breaks the 7770 texts, 90 topics and shares of the file that the README speaks of."""
    data = Reuters(str(shared_data / "reuters"))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [5439, 777, 1554]
    assert len(data.tasks[0].classes) == 90
    assert len(data.vocabulary) == 10_002
    all_topics = torch.cat([split.targets["topics"] for split in data.splits.values()])
    counts = json.loads((shared_data / "reuters" / "topics90.json").read_text())["train_counts"]
    assert dict(zip(data.tasks[0].classes, all_topics.sum(0).int().tolist(), strict=True)) == counts


@pytest.mark.long
def test_two_epochs_beat_the_trivial_predictor(shared_data: Path, tmp_path: Path) -> None:
    """Breaks D3: `data=reuters` with the default settings must learn real texts."""
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "data=reuters",
        f"data.path={shared_data / 'reuters'}",
    ]
    command += [
        "data.tokens=40",
        "trainer.epochs=2",
        "record.plots=none",
        "trainer.device=cpu",
        "hydra.run.dir=run",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    final_rows = {row["task"]: row for row in metrics(tmp_path / "run") if row["split"] == "test"}
    for task, lowest_f1 in (("topics", 0.5), ("places", 0.6)):
        assert float(final_rows[task]["relative_loss"]) < 0.9
        assert float(final_rows[task]["micro_f1"]) > lowest_f1


# Tables: acceptance line A5; only the validation split is looked at


STRATEGIES = (
    "fixed",
    "uncertainty",
    "uncertainty_simplified",
    "per_task_adam",
    "staged",
    "single_task",
)
SOCIAL = "{num_views: regression, num_votes: regression, num_comments: regression}"
ADULT = (
    "[{name: income, kind: classification},"
    " {name: never_married, column: marital_status, kind: classification, positive: Never-married},"
    " {name: education_num, kind: regression}, {name: hours_per_week, kind: regression}]"
)
LEFT_OUT = (
    "education",
    "relationship",
    "fnlwgt",
)  # they say what education_num and marital_status are, or nothing


def sweep(folder: Path, table: Path, targets: str, *options: str) -> dict[str, Path]:
    """Run ``mtl-run -m`` over the strategies in one process; return the run directory of each."""
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "-m",
        f"weighting={','.join(STRATEGIES)}",
        "data=table",
    ]
    command += [
        f"data.path={table}",
        f"data.targets={targets}",
        "record.plots=none",
        "trainer.device=cpu",
    ]
    done = subprocess.run(
        [*command, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: folder / "sweep" / str(number) for number, name in enumerate(STRATEGIES)}


def summary(run: Path) -> dict[str, Any]:
    """Return what summary.json of a run holds."""
    return json.loads((run / "summary.json").read_text())


def adult_without_some_labels(shared_data: Path, folder: Path) -> Path:
    """Write a copy of Adult without a tenth of the labels of each target; return the file."""
    frame = pd.read_csv(shared_data / "adult" / "adult.csv")
    rng = np.random.default_rng(0)
    for column in ("income", "marital_status", "education_num", "hours_per_week"):
        frame[column] = frame[column].where(rng.random(len(frame)) >= 0.1)
    frame.to_csv(folder / "adult.csv", index=False)
    return folder / "adult.csv"


def test_adult_reads_as_two_classifications_and_two_regressions(shared_data, tmp_path):
    """Breaks a large table with categories, missing cells and labels, and a derived target."""
    targets = [
        "income",
        {
            "name": "never_married",
            "column": "marital_status",
            "kind": "classification",
            "positive": "Never-married",
        },
        "education_num",
        "hours_per_week",
    ]
    path = adult_without_some_labels(shared_data, tmp_path)
    table = Table(str(path), targets, features={"drop": list(LEFT_OUT)})
    prepared: Prepared = prepare(table)
    assert {t.name: (t.kind, t.classes, t.missing) for t in prepared.tasks} == {
        "income": ("classification", ("<=50K", ">50K"), True),
        "never_married": ("classification", ("not Never-married", "Never-married"), True),
        "education_num": ("regression", (), True),
        "hours_per_week": ("regression", (), True),
    }
    names = [column["name"] for column in prepared.preprocessing["columns"]]
    assert not {*LEFT_OUT, "marital_status", "income"} & set(names)
    train = prepared.splits["train"]
    assert sum(len(split) for split in prepared.splits.values()) == 32561
    assert bool(train.inputs.isfinite().all())
    assert float((train.targets["income"] == -100).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(train.targets["hours_per_week"].isnan().float().mean()) == pytest.approx(
        0.1, abs=0.01
    )


def test_social_posts_read_with_their_missing_inputs(shared_data):
    """Breaks numeric columns that are mostly empty: they need a value and a mark, never NaN."""
    path = shared_data / "multi_target" / "scpf.csv"
    gaps = pd.read_csv(path).iloc[:, :-3].isna().any()
    prepared = prepare(
        Table(
            str(path),
            dict.fromkeys(("num_views", "num_votes", "num_comments"), "regression"),
            scale_targets=False,
        )
    )
    train = prepared.splits["train"]
    assert gaps.any()
    assert train.inputs.shape[1] == len(gaps) + int(gaps.sum())
    assert bool(train.inputs.isfinite().all())
    assert [(task.offset, task.scale) for task in prepared.tasks] == [(0.0, 1.0)] * 3
    assert float(train.targets["num_views"].max()) > 100


@pytest.mark.long
def test_building_energy_is_predicted_within_14_percent_of_the_mean_predictor(
    shared_data, tmp_path
):
    """Breaks A5: `data=table` must be good with the default settings."""
    table = shared_data / "multi_target" / "enb.csv"
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "data=table",
        f"data.path={table}",
        "record.plots=none",
    ]
    command += [
        "data.targets={Y1: regression, Y2: regression}",
        "hydra.run.dir=run",
        "trainer.device=cpu",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    errors = [task["final"]["val"]["rrmse"] for task in summary(tmp_path / "run")["tasks"].values()]
    assert len(errors) == 2
    assert 100 * sum(errors) / 2 <= 14


@pytest.mark.long
def test_raw_targets_and_missing_inputs_stay_finite_for_every_strategy(shared_data, tmp_path):
    """Breaks A5: views of a post are 50 times its votes, and nothing is scaled."""
    runs = sweep(
        tmp_path, shared_data / "multi_target" / "scpf.csv", SOCIAL, "data.scale_targets=false"
    )
    for name, run in runs.items():
        with (run / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        labels = ("split", "task")
        numbers = [
            float(value)
            for row in rows
            for key, value in row.items()
            if key not in labels and value
        ]
        assert all(map(math.isfinite, numbers)), name
        for task in summary(run)["tasks"].values():
            assert all(math.isfinite(value) for value in task["final"]["test"].values()), name


@pytest.mark.long
def test_every_task_of_adult_beats_the_trivial_predictor_for_every_strategy(shared_data, tmp_path):
    """Breaks A5: classes and regressions together, a tenth of the labels missing."""
    table = adult_without_some_labels(shared_data, tmp_path)
    options = (
        f"data.features={{drop: [{', '.join(LEFT_OUT)}]}}",
        "trainer.epochs=20",
        "data.batch_size=256",
    )
    for name, run in sweep(tmp_path, table, ADULT, *options).items():
        relative = {
            task: row["final"]["val"]["relative_loss"]
            for task, row in summary(run)["tasks"].items()
        }
        assert set(relative) == {"income", "never_married", "education_num", "hours_per_week"}
        assert all(value < 0.9 for value in relative.values()), (name, relative)
