"""A sweep with hydra/launcher=stacked leaves what the basic launcher leaves.

That is: the same runs, the same failures, the same ways to go on.
"""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Command, send
from tests.support.run_files import (
    assert_one_sentence,
    assert_same_numbers,
    file_names,
    read_summary,
    run_folders,
    statuses,
)

MIXED = (
    "data=toy_mixed",
    "model.hidden=[16]",
    "trainer.epochs=6",
    "trainer.threads=1",
    "record.plots=none",
)
STACKED = ("-m", "hydra/launcher=stacked", "hydra.sweep.dir=sweep")


@pytest.mark.long
def test_a_stacked_sweep_leaves_what_the_basic_launcher_leaves(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a stack writes other files, configs or numbers than the same runs by themselves."""
    sweep = (*MIXED, "weighting=fixed,uncertainty", "optimizer.lr=0.001,0.003", "seed=0,1")
    basic = mtl("mtl-run", "-m", *sweep, "hydra.sweep.dir=basic")
    assert basic.code == 0, basic.err
    stacked = mtl("mtl-run", *STACKED, *sweep)
    assert stacked.code == 0, stacked.err
    assert "one by one" not in stacked.out
    sweeps = tmp_path / "sweep", tmp_path / "basic"
    files = [sorted(str(path.relative_to(sweep)) for path in sweep.rglob("*")) for sweep in sweeps]
    assert files[0] == files[1]
    assert len(run_folders(sweeps[0])) == 8
    for run, single in zip(*map(run_folders, sweeps), strict=True):
        assert_same_numbers(run / "metrics.csv", single / "metrics.csv", 1e-4)
        for name in ("config.yaml", "overrides.yaml"):
            assert (run / ".hydra" / name).read_bytes() == (single / ".hydra" / name).read_bytes()
    tables = [pd.read_csv(sweep / "runs.csv").drop(columns="seconds") for sweep in sweeps]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, check_exact=False)
    assert set(tables[0]["status"]) == {"finished"}


ONE_BY_ONE = {
    "gradients": (
        ("weighting=upgrad", "seed=0,1"),
        [
            "2 of 2 jobs run one by one (0, 1): the update Jacobian, with these options, needs each run's gradients by themselves."
        ],
    ),
    "adatask": (
        ("weighting=fixed", "update=joint,adatask", "seed=0,1"),
        [
            "2 of 4 jobs run one by one (2, 3): the update AdaTask, with these options, needs each run's gradients by themselves."
        ],
    ),
    "only one": (
        ("weighting=fixed", "schedule=all,ramp", "optimizer=adam,adamw"),
        ["4 of 4 jobs run one by one (0, 1, 2, 3): no other run is like it but for numbers."],
    ),
    "dropout": (
        ("model=mlp", "model.dropout=0.1", "seed=range(0,8)"),
        ["8 of 8 jobs run one by one (0, 1, 2, 3, 4, 5, ...): the model has dropout."],
    ),
}


@pytest.mark.parametrize("case", ONE_BY_ONE)
@pytest.mark.long
def test_jobs_that_cannot_stack_run_one_by_one_and_say_why(
    mtl: Command, tmp_path: Path, case: str
) -> None:
    """Breaks if a job that does not stack is stacked, lost, or slow without a word."""
    options, lines = ONE_BY_ONE[case]
    result = mtl("mtl-run", *STACKED, *MIXED, "trainer.epochs=2", *options)
    assert result.code == 0, result.err
    assert [line for line in result.out.splitlines() if "one by one" in line] == lines
    assert set(statuses(tmp_path / "sweep")) == {"finished"}


BRANCHING = """
from torch import nn


class Branching(nn.Module):
    def __init__(self, tasks, input_shape, hidden, activation, dropout):
        super().__init__()
        self.trunk = nn.Linear(input_shape[0], 8)
        self.heads = nn.ModuleDict({task.name: nn.Linear(8, task.size) for task in tasks})

    def forward(self, inputs):
        features = self.trunk(inputs)
        if features.sum() > 0:  # torch.func cannot follow this
            features = features.relu()
        return {name: head(features) for name, head in self.heads.items()}
"""


@pytest.mark.long
def test_a_model_that_torch_func_refuses_trains_one_by_one(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a model with control flow cannot be stacked or compiled without other numbers."""
    (tmp_path / "branching.py").write_text(BRANCHING)
    model = ("++model={_target_: branching.Branching}", *MIXED[1:], "trainer.epochs=2")
    plain = mtl("mtl-run", *model, "hydra.run.dir=plain")
    assert plain.code == 0, plain.err
    tried = mtl("mtl-run", *model, "trainer.compile=true", "hydra.run.dir=tried")
    assert tried.code == 0, tried.err
    assert (
        "trainer.compile=true has no effect: the step cannot be compiled, since torch.func refuses the model ("
        in tried.out
    )
    stacked = mtl("mtl-run", *STACKED, *model, "seed=0,1")
    assert stacked.code == 0, stacked.err
    assert "2 of 2 jobs run one by one (0, 1): they cannot be stacked (vmap: " in stacked.out
    expected = (tmp_path / "plain" / "metrics.csv").read_bytes()
    assert (tmp_path / "tried" / "metrics.csv").read_bytes() == expected
    assert (run_folders(tmp_path / "sweep")[0] / "metrics.csv").read_bytes() == expected


@pytest.mark.long
def test_a_diverging_replica_fails_alone(mtl: Command, tmp_path: Path) -> None:
    """Breaks if one replica's infinity reaches its neighbours, or goes unreported."""
    result = mtl("mtl-run", *STACKED, *MIXED, "optimizer=sgd", "optimizer.lr=1e-4,1e8,1e-3,2e-3")
    assert_one_sentence(result)
    assert "one by one" not in result.out
    assert "1 of 4 runs failed" in result.last_line
    assert statuses(tmp_path / "sweep") == ["finished", "failed", "finished", "finished"]
    diverged = read_summary(run_folders(tmp_path / "sweep")[1])
    assert diverged["reason"].startswith("The loss of task 'value' became inf in epoch 1, step ")
    basic = (
        "-m",
        *MIXED,
        "optimizer=sgd",
        "optimizer.lr=1e-4,1e8,1e-3,2e-3",
        "hydra.sweep.dir=basic",
    )
    assert mtl("mtl-run", *basic).code == 1
    for folder in run_folders(tmp_path / "sweep"):
        single = tmp_path / "basic" / folder.name
        assert read_summary(folder).get("reason") == read_summary(single).get("reason")
        assert file_names(folder) == file_names(single)
        if read_summary(folder)["status"] == "finished":
            assert_same_numbers(folder / "metrics.csv", single / "metrics.csv", 1e-4)


@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.long
def test_a_job_with_an_invalid_option_fails_alone(mtl: Command, tmp_path: Path, bad: int) -> None:
    """Breaks if one job's typing error costs the others of its stack."""
    weights = ["2", "3", "4"]
    weights[bad] = "-1"
    values = ",".join(f"{{value: {weight}}}" for weight in weights)
    result = mtl("mtl-run", *STACKED, *MIXED, "weighting=fixed", f"weighting.weights={values}")
    assert_one_sentence(result)
    assert statuses(tmp_path / "sweep") == ["failed" if i == bad else "finished" for i in range(3)]
    assert (
        "failed: weighting.weights must be finite, not negative and not all 0; found [-1.0, 1.0]."
        in result.err
    )


# 2100 steps each.
LONG = (
    "data=toy_regression",
    "model.hidden=[16]",
    "trainer.epochs=420",
    "trainer.compile=false",
    "trainer.threads=1",
    "record.plots=none",
    "seed=range(0,8)",
)


@pytest.mark.long
def test_a_killed_stack_goes_on_as_if_nothing_had_happened(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a kill loses more than the steps since the last files, or splits the stack."""
    options = ("-m", "hydra/launcher=stacked", *LONG)
    undisturbed = mtl("mtl-run", *options, "hydra.sweep.dir=undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    assert "one by one" not in undisturbed.out
    instants: dict[str, Callable[[Path], bool]] = {
        "amid": lambda sweep: any(sweep.glob("*/checkpoint.pt")),
        "after": lambda sweep: len(list(sweep.glob("*/checkpoint.pt"))) == 8,
        "amid_second": lambda sweep: any(sweep.glob("*/.previous/best.pt")),
    }
    for name, instant in instants.items():
        sweep = tmp_path / name
        command = ("mtl-run", *options, f"hydra.sweep.dir={name}")
        killed = mtl(*command, meanwhile=send(signal.SIGKILL, partial(instant, sweep)))
        assert killed.code == -signal.SIGKILL
        resumed = mtl(*command, "resume=true")
        assert resumed.code == 0, resumed.err
        assert ("one by one" in resumed.out) <= (name == "amid"), (
            "only the first files can leave a run that is ahead of all others"
        )
        assert not list(sweep.rglob(".previous"))
        expected = run_folders(tmp_path / "undisturbed")
        for run, undisturbed_run in zip(run_folders(sweep), expected, strict=True):
            assert_same_numbers(run / "metrics.csv", undisturbed_run / "metrics.csv", 1e-6)
            assert read_summary(run)["status"] == "finished"
            assert file_names(run) == file_names(undisturbed_run)


@pytest.mark.long
def test_ctrl_c_stops_a_stack_after_saving_and_says_how_to_go_on(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if Ctrl-C loses the epochs of a stack, or a resumed stack ends elsewhere."""
    options = ("-m", "hydra/launcher=stacked", *LONG)
    command = ("mtl-run", *options, "hydra.sweep.dir=sweep")
    stopped = mtl(
        *command,
        meanwhile=send(
            signal.SIGINT, lambda: bool(list((tmp_path / "sweep").glob("7*/checkpoint.pt")))
        ),
    )
    assert stopped.code == 130, stopped.out + stopped.err
    assert "Traceback" not in stopped.err
    assert stopped.last_line.endswith("/sweep resume=true.")
    assert set(statuses(tmp_path / "sweep")) == {"interrupted"}
    resumed = mtl(*command, "resume=true")
    assert resumed.code == 0, resumed.err
    assert set(statuses(tmp_path / "sweep")) == {"finished"}
    assert not list((tmp_path / "sweep").rglob(".previous"))


def bytes_in_pages(folder: Path) -> int:
    """Return about how many bytes of a tmpfs a folder takes, whose files fill whole pages."""
    return sum(
        4096 * math.ceil(path.stat().st_size / 4096) if path.is_file() else 0
        for path in folder.rglob("*")
    )


@pytest.mark.parametrize(
    "pages", [16, 9], ids=["no room for checkpoints", "no room for a directory"]
)
@pytest.mark.long
def test_a_full_disk_fails_the_runs_that_are_written_and_no_other(
    mtl: Command, tmp_path: Path, pages: int
) -> None:
    """Breaks if a stack that cannot write says nothing, or costs what had finished before it."""
    options = (
        "-m",
        "hydra/launcher=stacked",
        *MIXED,
        "model.hidden=[64]",
        "weighting=fixed,uncertainty",
        "seed=0,1",
    )
    undisturbed = mtl("mtl-run", *options, "hydra.sweep.dir=undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    runs = run_folders(tmp_path / "undisturbed")
    config_size = (tmp_path / "undisturbed" / "multirun.yaml").stat().st_size
    size = 4096 * (math.ceil(config_size / 4096) + pages) + sum(map(bytes_in_pages, runs[:2]))
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        command = ("mtl-run", *options, f"hydra.sweep.dir={small / 'sweep'}")
        full = mtl(*command)
        assert_one_sentence(full)
        assert "The disk is full (" in full.last_line or "2 of 4 runs failed" in full.last_line
        for number in (2, 3) if pages == 16 else (2,):
            (line,) = (line for line in full.err.splitlines() if f" of 4] {number}: " in line)
            assert "The disk is full (" in line
        before = [(run / "metrics.csv").read_bytes() for run in run_folders(small / "sweep")[:2]]
        assert [read_summary(run)["status"] for run in run_folders(small / "sweep")[:2]] == [
            "finished",
            "finished",
        ]
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        resumed = mtl(*command, "resume=true")
        assert resumed.code == 0, resumed.err
        assert resumed.out.startswith("reused 2 runs, 2 to do")
        assert before == [
            (run / "metrics.csv").read_bytes() for run in run_folders(small / "sweep")[:2]
        ]
        for run, undisturbed_run in zip(run_folders(small / "sweep"), runs, strict=True):
            assert_same_numbers(run / "metrics.csv", undisturbed_run / "metrics.csv", 1e-6)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiling needs")
def test_a_compiled_run_ends_as_one_that_is_not(mtl: Command, tmp_path: Path) -> None:
    """Breaks if trainer.compile=true trains something else or leaves something else."""
    # Without uncertainty: its sigmas start where their gradient is rounding, which Adam enlarges.
    for compiled, folder in (("true", "compiled"), ("false", "plain")):
        result = mtl(
            "mtl-run",
            *MIXED,
            "weighting=fixed",
            f"trainer.compile={compiled}",
            f"hydra.run.dir={folder}",
        )
        assert result.code == 0, result.err
        assert result.err == ""
    assert_same_numbers(
        tmp_path / "compiled" / "metrics.csv", tmp_path / "plain" / "metrics.csv", 1e-4
    )
    assert file_names(tmp_path / "compiled") == file_names(tmp_path / "plain")


def test_compiling_what_does_not_compile_says_so(mtl: Command) -> None:
    """Breaks if trainer.compile=true is ignored without a word."""
    result = mtl(
        "mtl-run",
        *MIXED,
        "trainer.epochs=2",
        "weighting=upgrad",
        "trainer.compile=true",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    lines = [line for line in (result.out + result.err).splitlines() if "trainer.compile" in line]
    assert len(lines) == 1
    assert lines[0].endswith(
        "trainer.compile=true has no effect: the step cannot be compiled, since the update Jacobian, "
        "with these options, needs each run's gradients by themselves."
    )


def test_a_wrong_compile_option_is_worded(mtl: Command) -> None:
    """Breaks if a typing error in trainer.compile is taken for true."""
    result = mtl("mtl-run", *MIXED, "trainer.compile=sometimes", "hydra.run.dir=run")
    assert_one_sentence(result)
    assert result.last_line == "trainer.compile='sometimes' is unknown; allowed: auto, true, false."


@pytest.mark.long
def test_a_sweep_of_more_runs_than_files_may_be_open_ends_and_counts_right(tmp_path: Path) -> None:
    """Breaks if a stack runs out of files where few may be open, or the last line miscounts."""
    resource = pytest.importorskip("resource")
    rates = "optimizer.lr=0.001,1e30"  # the larger one diverges
    problem = ("data=toy_regression", "data.n=20", "model.hidden=[4]")
    options = (*problem, "trainer.epochs=1", "record.plots=none")
    ended = subprocess.run(
        [sys.executable, "-m", "mtl_runner", *STACKED, *options, rates, "seed=range(48)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
    )
    assert ended.returncode == 1
    assert "Too many open files" not in ended.stdout + ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("48 of 96 runs failed; ")
    assert sorted(statuses(tmp_path / "sweep")) == ["failed"] * 48 + ["finished"] * 48
