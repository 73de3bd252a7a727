"""The commands as a user meets them: help, tables, files, pictures, options that combine."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_runner import load
from tests.support.commands import QUICK, Command
from tests.support.paths import ROOT

CONTRACT = (
    *(".hydra/config.yaml", "metrics.csv", "summary.json", "run.log"),
    *("losses.png", "weights.png", "sigmas.png", "fit.png"),
    *("checkpoint.pt", "best.pt"),
)


def test_the_command_is_installed_and_help_is_quick_and_complete() -> None:
    """Breaks if help imports torch, or leaves out a group, an option or the examples."""
    script = Path(sys.executable).with_name("mtl-run")
    result = subprocess.run([str(script), "--help"], capture_output=True, text=True, check=True)
    for group in (
        "data",
        "model",
        "likelihood",
        "weighting",
        "schedule",
        "update",
        "optimizer",
        "trainer",
        "experiment",
    ):
        options = sorted(p.stem for p in (ROOT / "conf" / group).glob("*.yaml"))
        assert f"{group}: {', '.join(options)}" in result.stdout
    assert result.stdout.count("\nmtl-run ") >= 3
    assert result.stderr == ""


def test_the_command_line_imports_nothing_heavy() -> None:
    """Breaks if `mtl-run --help` takes seconds."""
    code = "import sys, mtl_runner.cli, mtl_runner.launch; print([m for m in ('torch','pandas','matplotlib','sklearn') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_a_run_leaves_every_file_of_the_contract_and_ends_with_a_table(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a file of the run directory is missing, or the terminal hides the result."""
    result = mtl("mtl-run", "data=toy_regression", "trainer.epochs=5", "hydra.run.dir=run")
    assert result.code == 0, result.err
    for name in CONTRACT:
        assert (tmp_path / "run" / name).stat().st_size > 0, name
    assert not list((tmp_path / "run").glob(".*.tmp"))
    header = next(line for line in result.out.splitlines() if line.startswith("task"))
    assert header.split() == [
        "task",
        "val",
        "loss",
        "relative_loss",
        "metrics",
        "(val)",
        "weight",
        "sigma",
        "true",
        "sigma",
    ]
    assert result.out.strip().splitlines()[-1] == "run"
    assert result.err == "", "the progress bar is silent when piped"
    log = (tmp_path / "run" / "run.log").read_text()
    assert result.out.strip() in log


def test_metrics_are_tidy(mtl: Command, tmp_path: Path) -> None:
    """Breaks if pandas cannot read a curve off metrics.csv in one line."""
    assert (
        mtl(
            "mtl-run",
            "data=toy_regression",
            "trainer.epochs=450",
            "model.hidden=[8]",
            "record.plots=none",
            "hydra.run.dir=run",
        ).code
        == 0
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:9] == [
        "epoch",
        "step",
        "split",
        "task",
        "loss",
        "weight",
        "sigma",
        "active",
        "relative_loss",
    ]
    epochs = sorted({int(row["epoch"]) for row in rows})
    assert epochs[0] == 1
    assert epochs[-1] == 450
    assert len(epochs) <= 201
    assert [row["epoch"] for row in rows if row["split"] == "test"] == ["450"] * 3, (
        "the test split is read once, at the end"
    )
    train = [row for row in rows if row["split"] == "train" and row["task"] == "y1"]
    assert all(
        float(row["weight"]) > 0 and float(row["sigma"]) > 0 and float(row["active"]) == 1
        for row in train
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert math.isclose(summary["tasks"]["y1"]["sigma"], float(train[-1]["sigma"]))
    best = min(
        float(row["relative_loss"])
        for row in rows
        if row["split"] == "val" and row["task"] == "total"
    )
    assert summary["monitor"]["best"] == best


def test_a_dataset_that_draws_at_random_is_the_same_in_every_run_of_a_seed(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a user's unseeded dataset makes a run, or its resumption, another one."""
    (tmp_path / "drawn.py").write_text(
        "import numpy as np, torch\nfrom mtl_runner.data import random_splits\nfrom mtl_runner.tasks.task import Task\n"
        "class Drawn:\n"
        "    tasks = [Task('y')]\n"
        "    def __init__(self):\n"
        "        self.splits = random_splits(torch.randn(50, 2), {'y': torch.as_tensor(np.random.rand(50))})\n"
    )
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "drawn.yaml").write_text("_target_: drawn.Drawn\n")
    for run, options in {"first": (), "second": (), "seed1": ("seed=1",)}.items():
        assert (
            mtl(
                "mtl-run",
                "data=drawn",
                "trainer.epochs=2",
                "record.plots=none",
                f"hydra.run.dir={run}",
                *options,
            ).code
            == 0
        )
    first, second, seed1 = (
        (tmp_path / run / "metrics.csv").read_bytes() for run in ("first", "second", "seed1")
    )
    assert first == second != seed1


def test_debug_is_short_and_watches_for_anomalies(mtl: Command, tmp_path: Path) -> None:
    """Breaks if +debug=true does not make a quick check of a new problem."""
    result = mtl("mtl-run", "+debug=true", "data=digits", "record.plots=none", "hydra.run.dir=run")
    assert result.code == 0, result.err
    assert "train 128, val 128, test 128 rows" in result.out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 2


def test_plots_can_be_left_out(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a large sweep cannot be had without its pictures."""
    assert mtl("mtl-run", *QUICK, "hydra.run.dir=run").code == 0
    assert not list((tmp_path / "run").glob("*.png"))


@pytest.mark.long
def test_early_stopping_ends_a_run_that_gets_no_better(mtl: Command, tmp_path: Path) -> None:
    """Breaks if patience is not counted in epochs, or another model than the best is kept."""
    result = mtl(
        "mtl-run",
        "trainer.epochs=200",
        "trainer.patience=10",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == summary["monitor"]["best_epoch"] + 10
    assert "Stopped early" in result.out


@pytest.mark.long  # tests/oracles/methods runs every method once by default
@pytest.mark.parametrize(
    "weighting",
    ["fixed", "uncertainty", "uncertainty_simplified", "per_task_adam", "staged", "single_task"],
)
@pytest.mark.parametrize("schedule", ["all", "staged"])
@pytest.mark.parametrize("data", ["toy_regression", "toy_mixed", "digits"])
def test_every_strategy_runs_on_every_problem(
    mtl: Command, tmp_path: Path, data: str, weighting: str, schedule: str
) -> None:
    """Breaks if the axes do not combine freely."""
    options = (
        f"data={data}",
        f"weighting={weighting}",
        f"schedule={schedule}",
        "model=mlp",
        *QUICK,
        "hydra.run.dir=run",
    )
    result = mtl("mtl-run", *options)
    assert result.code == 0, result.err
    with (tmp_path / "run" / "metrics.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.long
@pytest.mark.parametrize("model", ["mlp", "separate_mlps"])
@pytest.mark.parametrize("share", ["true", "false"])
def test_every_model_runs_shared_and_copied(
    mtl: Command, tmp_path: Path, model: str, share: str
) -> None:
    """Breaks if a model cannot be sized from data and tasks, or shares what it should not."""
    options = (
        f"model={model}",
        f"share={share}",
        "data=digits",
        "weighting=fixed",
        *QUICK,
        "hydra.run.dir=run",
    )
    result = mtl("mtl-run", *options)
    assert result.code == 0, result.err
    shared = json.loads((tmp_path / "run" / "summary.json").read_text())["parameters"]["shared"]
    assert (shared > 0) == (model == "mlp" and share == "true")


def test_the_axes_combine(mtl: Command) -> None:
    """Breaks if options of different axes get in each other's way."""
    options = (
        "weighting=uncertainty",
        "schedule=staged",
        "update=per_task",
        "update.gradients=fresh",
        "model=mlp",
        "model.dropout=0.1",
    )
    training = (
        "optimizer=adamw",
        "trainer.clip=1.0",
        "trainer.monitor=y1.r2",
        "schedule.start.y2=1",
        "weighting.frozen.y1=10",
    )
    scheduler = (
        "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 2}"
    )
    result = mtl("mtl-run", "data=toy_regression", *options, *training, scheduler, *QUICK)
    assert result.code == 0, result.err


def test_sigma_is_in_target_units_when_the_target_is_standardised(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a learned sigma is reported in training units."""
    import numpy as np

    random = np.random.default_rng(0)
    x = random.standard_normal(400)
    lines = [
        f"{a},{1000 * a + 50 * e}" for a, e in zip(x, random.standard_normal(400), strict=True)
    ]
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    options = (
        "data=table",
        "data.path=t.csv",
        "data.targets={y: regression}",
        "model.hidden=[]",
        "optimizer.lr=0.02",
    )
    result = mtl("mtl-run", *options, "trainer.epochs=60", "record.plots=none", "hydra.run.dir=run")
    assert result.code == 0, result.err
    task = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]["y"]
    assert task["sigma"] == pytest.approx(50, rel=0.1)
    assert task["final"]["val"]["rmse"] == pytest.approx(50, rel=0.2)


@pytest.mark.long
def test_a_terminal_shows_a_bar_with_the_total_loss_and_the_rate(tmp_path: Path) -> None:
    """Breaks if a user at a terminal cannot see that a run goes on."""
    import fcntl
    import os
    import pty
    import struct
    import termios

    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    script = str(Path(sys.executable).with_name("mtl-run"))
    command = [script, "data=toy_regression", "trainer.epochs=300", "record.plots=none"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=terminal, stdin=terminal
    )
    os.close(terminal)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # the other end closed: the run is over
        pass
    os.close(main)
    assert process.wait() == 0
    assert b"/300 [" in seen
    assert b"total loss " in seen
    assert b" steps/s" in seen


TERMS = """
def plain(outputs, targets):
    return outputs["y1"].square().mean()

def negative(outputs, targets):
    return -1 - outputs["y1"].square().mean()

def vector(outputs, targets):
    return outputs["y1"].square()

def scaled_mae(outputs, targets):
    return 100 * (outputs["y1"] - targets["y1"]).abs().mean()
"""


def test_a_loss_term_may_be_a_plain_function(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a function of (outputs, targets) is called without them."""
    (tmp_path / "terms.py").write_text(TERMS)
    result = mtl(
        "mtl-run",
        "data=toy_regression",
        "model=mlp",
        "data.losses.small._target_=terms.plain",
        *QUICK,
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    assert (
        json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]["small"]["kind"]
        == "term"
    )


def test_a_loss_that_is_no_scalar_is_named(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a term without its mean ends in an error of torch.stack."""
    (tmp_path / "terms.py").write_text(TERMS)
    result = mtl(
        "mtl-run",
        "data=toy_regression",
        "model=mlp",
        "data.losses.small._target_=terms.vector",
        *QUICK,
    )
    assert (
        result.last_line
        == "The loss of task 'small' is a tensor of shape (20, 1); it must be a scalar tensor, e.g. a .mean()."
    )


def test_a_negative_loss_under_uncertainty_is_warned_of(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run is silently destroyed by a weight that grows without bound."""
    (tmp_path / "terms.py").write_text(TERMS)
    result = mtl(
        "mtl-run",
        "data=toy_regression",
        "model=mlp",
        "data.losses.odd._target_=terms.negative",
        *QUICK,
    )
    assert result.out.count("Task 'odd' has a negative loss (") == 1
    fixed = mtl(
        "mtl-run",
        "data=toy_regression",
        "weighting=fixed",
        "model=mlp",
        "data.losses.odd._target_=terms.negative",
        *QUICK,
    )
    assert "negative loss" not in fixed.out


def test_a_replaced_loss_is_not_divided_by_the_trivial_loss(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a loss in other units is divided by the trivial predictor's squared error."""
    (tmp_path / "terms.py").write_text(TERMS)
    assert (
        mtl(
            "mtl-run",
            "data=toy_regression",
            "data.losses.y1._target_=terms.scaled_mae",
            *QUICK,
            "hydra.run.dir=run",
        ).code
        == 0
    )
    tasks = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]
    assert "relative_loss" not in tasks["y1"]["final"]["val"]
    assert "relative_loss" in tasks["y2"]["final"]["val"]


def test_a_constant_target_has_no_relative_loss(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a target without variance reads as nearly solved."""
    (tmp_path / "t.csv").write_text("x,y,c\n" + "".join(f"{i},{i % 5},7\n" for i in range(60)))
    options = (
        "data=table",
        "data.path=t.csv",
        "data.targets={y: regression, c: regression}",
        *QUICK,
        "hydra.run.dir=run",
    )
    assert mtl("mtl-run", *options).code == 0
    tasks = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]
    assert "relative_loss" not in tasks["c"]["final"]["val"]


def test_an_odd_table_is_trained_and_drawn_as_it_is_meant(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a comma at the ends shifts the columns, or a dollar sign costs the result."""
    lines = "".join(f"{i},{1000 + i % 7},{'yes' if i % 2 else 'no'},\n" for i in range(60))
    (tmp_path / "t.csv").write_text("x,in_$#_out_$,sold\n" + lines)
    options = (
        "data=table",
        "data.path=t.csv",
        "data.targets=['in_$#_out_$',{name: sold, positive: yes}]",
        "model.hidden=[4]",
        "trainer.epochs=2",
        "hydra.run.dir=run",
    )
    result = mtl("mtl-run", *options)
    assert result.code == 0, result.err
    assert "pictures" not in result.out
    assert (tmp_path / "run" / "losses.png").exists()
    predictor = load(tmp_path / "run")
    (price, sold) = predictor.tasks
    assert (price.name, sold.classes) == ("in_$#_out_$", ("no", "yes"))
    assert 1000 < price.offset < 1006


def test_a_task_that_never_takes_part_is_named(mtl: Command) -> None:
    """Breaks if a start after the end looks like a trained task."""
    result = mtl(
        "mtl-run", "data=toy_regression", "weighting=staged", "schedule.start.y2=50", *QUICK
    )
    assert "Task 'y2' never takes part in this run; check its times under schedule." in result.out


def test_a_task_that_waits_has_no_sigma_yet(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a sigma is logged that nothing has been learned for."""
    assert (
        mtl(
            "mtl-run",
            "data=toy_regression",
            "schedule=staged",
            "schedule.start.y2=2",
            *QUICK,
            "hydra.run.dir=run",
        ).code
        == 0
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        sigmas = [
            row["sigma"]
            for row in csv.DictReader(file)
            if row["split"] == "train" and row["task"] == "y2"
        ]
    assert sigmas[:2] == ["", ""]
    assert float(sigmas[2]) > 0


def test_copies_keep_their_own_best_epoch_whatever_is_monitored(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if y2's copy is kept at the best epoch of y1."""
    options = (
        "weighting=single_task",
        "trainer.monitor=y1.rmse",
        "trainer.epochs=60",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert mtl("mtl-run", "data=toy_regression", *options).code == 0
    monitor = json.loads((tmp_path / "run" / "summary.json").read_text())["monitor"]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    for task, column in (("y1", "rmse"), ("y2", "relative_loss")):
        best = min((row for row in rows if row["task"] == task), key=lambda row: float(row[column]))
        assert monitor["best_epoch"][task] == int(best["epoch"])
    assert monitor["best"] == min(float(row["rmse"]) for row in rows if row["task"] == "y1")


def test_the_first_run_shares_most_of_its_model_and_keeps_its_tags(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if `mtl-run` alone shares nothing, or `+tags` is refused or forgotten."""
    options = ("+tags=[a,b]", "trainer.epochs=1", "record.plots=none", "hydra.run.dir=tagged")
    result = mtl("mtl-run", *options)
    assert "digit, parity, ink, image: " in result.out
    assert " 34,765 parameters, 24,832 shared; " in result.out
    assert "\ntags:\n- a\n- b\n" in (tmp_path / "tagged/.hydra/config.yaml").read_text()
