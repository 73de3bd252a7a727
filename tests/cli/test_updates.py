"""The options of an update as typed: parts of the model, aggregators, measured gradients."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import Command

SMALL = (
    "data=toy_regression",
    "trainer.device=cpu",
    "model=mlp",
    "model.hidden=[4]",
    "record.plots=none",
    "hydra.run.dir=run",
)


# The parts of the model


def optimizer_states(folder: Path) -> Sequence[dict[str, Any]]:
    """Return the state of every optimizer of the update, from the checkpoint of a run."""
    state: dict[str, Any] = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    return state["update"]["optimizers"]  # type: ignore[no-any-return]


def test_the_command_gives_a_part_another_class_and_other_settings(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if Hydra makes the `_target_` of a part, or passes Adam's options to SGD."""
    result = mtl(
        "mtl-run",
        *SMALL,
        "trainer.epochs=4",
        "optimizer.weight_decay=0.25",
        "+optimizer.eps=1e-6",  # SGD knows none
        "update.groups.y1._target_=torch.optim.SGD",
        "update.groups.y1.lr=0.5",
        "update.groups.shared.start=50%",
        "trainer.lr_scheduler=null",
    )
    assert result.code == 0, result.err
    shared, y1, y2 = optimizer_states(tmp_path)
    assert "dampening" in y1["param_groups"][0]  # only SGD has it
    assert y1["param_groups"][0]["lr"] == 0.5
    assert y1["param_groups"][0]["weight_decay"] == 0.25
    for adam in (shared, y2):
        assert adam["param_groups"][0]["eps"] == 1e-6
        assert adam["param_groups"][0]["lr"] == 0.001
    assert {s["step"].item() for s in shared["state"].values()} == {10.0}  # of 20 steps
    assert {s["step"].item() for s in y2["state"].values()} == {20.0}


HALF_UNLABELLED = """
import torch
from mtl_runner.data.dataset import Split
from mtl_runner.tasks.task import Task

class HalfUnlabelled:
    def __init__(self, **unused):
        self.tasks = [Task("y1"), Task("y2")]
        x = torch.linspace(-1, 1, 4).unsqueeze(1)
        nothing = torch.tensor([[0.0], [torch.nan], [0.0], [torch.nan]])
        labelled = Split(x, {"y1": 2 * x, "y2": 3 * x})
        train = Split(x, {"y1": 2 * x + nothing, "y2": 3 * x + nothing})
        self.splits = {"train": train, "val": labelled, "test": labelled}
"""


def test_a_start_is_a_time_of_the_run_also_where_batches_have_no_label(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if batches without labels delay the start of a part."""
    (tmp_path / "half_unlabelled.py").write_text(HALF_UNLABELLED)
    result = mtl(
        "mtl-run",
        *SMALL,
        "trainer.epochs=4",
        "data._target_=half_unlabelled.HalfUnlabelled",
        "data.batch_size=1",
        "update.groups.shared.start=2",
    )
    assert result.code == 0, result.err
    shared, *_ = optimizer_states(tmp_path)
    # Two labelled rows in each of the last two epochs.
    assert {s["step"].item() for s in shared["state"].values()} == {4.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("update.groups.y3.lr=0.5",), "update.groups names 'y3', which is no part of the model;"),
        (("update.groups.y1.lrr=0.5",), "lrr is not an option of Adam; did you mean 'lr'?"),
        (("update.groups.y1._target_=torch.optim.Sgd",), "'torch.optim.Sgd' cannot be imported"),
        (("update.groups.y1.start=soon",), "update.groups.y1.start='soon' is not a time"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.long
def test_the_command_names_what_is_wrong_with_a_part(
    mtl: Command, options: Sequence[str], words: str
) -> None:
    """Breaks if a mistake in a part's settings ends in a traceback."""
    result = mtl("mtl-run", *SMALL, "trainer.epochs=4", *options)
    assert result.code == 1
    assert words in result.last_line


# Aggregators


MY_AGGREGATOR = """
import torch

class FirstRow(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, jacobian):
        return self.factor * jacobian[0]
"""


def metrics_of_jacobian_run(mtl: Command, folder: Path, *options: str) -> list[dict[str, str]]:
    """Run `mtl-run update=jacobian` with these options, and return the rows of its metrics.csv."""
    result = mtl("mtl-run", *SMALL, "trainer.epochs=2", "update=jacobian", *options)
    assert result.code == 0, result.err
    with (folder / "run" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_command_logs_weights_and_norms_in_columns_of_their_own(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if what the aggregator did cannot be read off metrics.csv."""
    rows = metrics_of_jacobian_run(
        mtl, tmp_path, "update.aggregator=constant", "update.options.weights={y1: 2.0, y2: 0.5}"
    )
    by_task = {(row["split"], row["task"]): row for row in rows}
    assert float(by_task["train", "y1"]["aggregator_weight"]) == 2.0
    assert float(by_task["train", "y2"]["aggregator_weight"]) == 0.5
    assert float(by_task["train", "total"]["norm_ratio"]) > 0
    assert by_task["val", "y1"]["aggregator_weight"] == by_task["train", "y1"]["norm_ratio"] == ""


def test_the_command_takes_an_aggregator_of_the_users_own(mtl: Command, tmp_path: Path) -> None:
    """Breaks if `_target_` below `update.aggregator` is not made, or gets other arguments."""
    (tmp_path / "my_aggregator.py").write_text(MY_AGGREGATOR)
    rows = metrics_of_jacobian_run(
        mtl, tmp_path, "update.aggregator={_target_: my_aggregator.FirstRow, factor: 1.0}"
    )
    train_rows = [row for row in rows if row["split"] == "train" and row["task"] != "total"]
    assert all(row["aggregator_weight"] == "" for row in train_rows)


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    """Breaks if a user without the extra gets a traceback from the command line."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torchjd'] = None\n")
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "update=jacobian",
        "model=mlp",
        "trainer.device=cpu",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "update.aggregator=upgrad needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        )
    )


# Measured gradients


def test_the_command_writes_norms_and_cosines_in_columns_of_their_own(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if `record.gradients` writes nothing, or a task's cosine with itself."""
    result = mtl(
        "mtl-run",
        *SMALL,
        "trainer.epochs=2",
        "record.gradients=true",
        "schedule=staged",
        "schedule.start={y2: 1}",
    )
    assert result.code == 0, result.err
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = {(r["epoch"], r["split"], r["task"]): r for r in csv.DictReader(file)}
    alone, both = rows["1", "train", "y1"], [rows["2", "train", name] for name in ("y1", "y2")]
    assert float(alone["gradient_norm"]) > 0
    assert (
        alone["cosine_y2"] == alone["cosine_y1"] == rows["1", "train", "y2"]["gradient_norm"] == ""
    )
    assert both[0]["cosine_y1"] == both[1]["cosine_y2"] == ""
    assert both[0]["cosine_y2"] == both[1]["cosine_y1"]
    assert -1 <= float(both[0]["cosine_y2"]) <= 1
    assert min(float(row["gradient_norm"]) for row in both) > 0
    assert {
        r["gradient_norm"]
        for (_, split, task), r in rows.items()
        if split != "train" or task == "total"
    } == {""}
