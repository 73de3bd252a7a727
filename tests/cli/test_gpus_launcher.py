"""``hydra/launcher=gpus``: every job is a process of its own, and loses nothing but itself."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Command, send
from tests.support.processes import kill_runs, needs_proc, runs_of

TINY = (
    "data=toy_regression",
    "model.hidden=[4]",
    "trainer.epochs=2",
    "record.plots=none",
    "trainer.device=cpu",
)
GPUS = ("-m", *TINY, "hydra/launcher=gpus")


def same_bytes(first: Path, second: Path) -> int:
    """Compare metrics.csv and the configs of all runs of two sweeps; return the number of runs."""
    runs = sorted(path.parent.name for path in first.glob("*/metrics.csv"))
    assert runs == sorted(path.parent.name for path in second.glob("*/metrics.csv"))
    for run in runs:
        for file in ("metrics.csv", ".hydra/config.yaml", ".hydra/overrides.yaml"):
            assert (first / run / file).read_bytes() == (second / run / file).read_bytes(), run
    return len(runs)


def without_times(sweep: Path, file: str = "comparison.csv") -> pd.DataFrame:
    """Return a table of a sweep without what a clock has measured."""
    table = pd.read_csv(sweep / file)
    return table[[name for name in table.columns if "seconds" not in name]]


@pytest.mark.long
def test_a_sweep_gives_the_bytes_of_the_basic_launcher_and_a_failure_is_a_row(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a process trains something else than the basic launcher, or hides a failure."""
    options = ("optimizer=sgd", "weighting=fixed,uncertainty", "optimizer.lr=1e6,1e-4")
    basic = mtl("mtl-run", "-m", *TINY, *options, "hydra.sweep.dir=basic")
    gpus = mtl("mtl-run", *GPUS, *options, "hydra.launcher.jobs=2", "hydra.sweep.dir=gpus")
    assert (basic.code, gpus.code) == (1, 1), gpus.err
    assert gpus.last_line.startswith("2 of 4 runs failed"), gpus.err
    assert "4 jobs, 2 at a time on" in gpus.out
    assert re.search(
        r"^\[. of 4\] 0: weighting=fixed optimizer\.lr=1000000\.0 +failed: The loss of task 'y1'",
        gpus.err,
        re.MULTILINE,
    )
    assert same_bytes(tmp_path / "basic", tmp_path / "gpus") == 4
    pd.testing.assert_frame_equal(
        without_times(tmp_path / "basic"), without_times(tmp_path / "gpus")
    )
    reasons = [pd.read_csv(tmp_path / sweep / "runs.csv")["reason"] for sweep in ("basic", "gpus")]
    pd.testing.assert_series_equal(*reasons)


@needs_proc
@pytest.mark.long
def test_of_40_jobs_5_are_killed_and_the_others_finish(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a killed process takes other jobs with it, hides its reason, or is not resumed."""
    chance = random.Random(16)
    options = ("weighting=fixed,uncertainty", "seed=range(0,20)")
    assert mtl("mtl-run", "-m", *TINY, *options, "hydra.sweep.dir=basic").code == 0
    killed: list[str] = []
    sweep = (*GPUS, *options, "hydra.sweep.dir=gpus")
    result = mtl("mtl-run", *sweep, meanwhile=kill_runs(5, chance, killed))
    assert result.code == 1
    assert result.last_line.startswith("5 of 40 runs failed"), result.err
    runs = pd.read_csv(tmp_path / "gpus" / "runs.csv").set_index("run")
    assert runs["status"].value_counts().to_dict() == {"finished": 35, "failed": 5}
    assert set(runs.index[runs["status"] == "failed"]) == set(killed)
    for reason in runs["reason"].dropna():
        assert reason == (
            "The process of the run was killed by SIGKILL (no memory left, or by hand); the same command with "
            f"hydra.sweep.dir={tmp_path}/gpus resume=true goes on with it, hydra.launcher.retries=1 does so by itself."
        )
    again = mtl("mtl-run", *sweep, "resume=true")
    assert again.code == 0, again.err
    assert again.out.startswith("reused 35 runs, 5 to do, 5 of which failed before\n")
    assert same_bytes(tmp_path / "basic", tmp_path / "gpus") == 40


@needs_proc
@pytest.mark.long
def test_a_killed_job_is_tried_again_in_its_directory(mtl: Command, tmp_path: Path) -> None:
    """Breaks if hydra.launcher.retries=1 does not bring all 40 jobs to the same bytes."""
    chance = random.Random(17)
    options = ("weighting=fixed,uncertainty", "seed=range(0,20)")
    assert mtl("mtl-run", "-m", *TINY, *options, "hydra.sweep.dir=basic").code == 0
    killed: list[str] = []
    result = mtl(
        "mtl-run",
        *GPUS,
        *options,
        "hydra.launcher.retries=1",
        "hydra.sweep.dir=gpus",
        meanwhile=kill_runs(5, chance, killed),
    )
    assert result.code == 0, result.err
    assert result.out.count("it starts again where it stopped.") == 5
    runs = pd.read_csv(tmp_path / "gpus" / "runs.csv")
    assert list(runs["status"]) == ["finished"] * 40
    assert same_bytes(tmp_path / "basic", tmp_path / "gpus") == 40
    pd.testing.assert_frame_equal(
        without_times(tmp_path / "basic"), without_times(tmp_path / "gpus")
    )


@needs_proc
@pytest.mark.long
def test_finished_runs_are_compared_while_others_train_and_a_signal_stops_them_all(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if results come at the end only, or a stopped sweep loses what its runs have done."""
    compared: list[str] = []

    def meanwhile(launcher: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (
                any(
                    json.loads(path.read_text())["status"] == "finished"
                    for path in (tmp_path / "gpus").glob("*/summary.json")
                )
                and len(runs_of(launcher)) == 2
                and len(list(tmp_path.glob("gpus/*/metrics.csv"))) > 2
            ):
                break
            time.sleep(0.05)
        command = (sys.executable, "-c", "from mtl_runner.cli import compare; compare()")
        arguments = (str(tmp_path / "gpus"), "--output", str(tmp_path / "table"))
        done = subprocess.run((*command, *arguments), capture_output=True, text=True, check=False)
        compared.append(done.stdout + done.stderr)
        send(signal.SIGTERM, 0.0)(launcher)

    # The first run is short, the others would take minutes.
    options = (
        "hydra.launcher.jobs=2",
        "trainer.epochs=2,20000,20001,20002,20003",
        "hydra.sweep.dir=gpus",
    )
    result = mtl("mtl-run", *GPUS, *options, meanwhile=meanwhile)
    assert result.code == 143, result.err
    assert "SIGTERM: 2 runs save and stop." in result.out
    assert result.last_line.endswith("hydra.sweep.dir=" + str(tmp_path / "gpus") + " resume=true.")
    table = pd.read_csv(tmp_path / "table" / "runs.csv")
    assert list(table["status"]) == ["finished", "running", "running", "queued", "queued"]
    assert "Under way: 2 running (1_" in compared[0], compared[0]
    assert "), 2 queued; compare again when they have finished." in compared[0]
    statuses = [
        json.loads((path / "summary.json").read_text())["status"]
        for path in sorted((tmp_path / "gpus").glob("[0-9]*"))
    ]
    assert statuses == ["finished", "interrupted", "interrupted", "queued", "queued"]
    assert all((tmp_path / "gpus").glob(f"{i}_*/checkpoint.pt") for i in (1, 2))


@pytest.mark.long
def test_a_study_works_with_it(mtl: Command, tmp_path: Path) -> None:
    """Breaks if +study=fair needs a launcher that trains in its own process."""
    options = (
        "-m", "+study=fair", *TINY, "weighting=fixed,dwa", "study.seeds=2", "study.fixed_points=3",
        "study.per_decade=1", "study.decades=1", "study.extensions=0",
    )  # fmt: skip
    for launcher in ("basic", "gpus"):
        result = mtl(
            "mtl-run", *options, f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}"
        )
        assert result.code == 0, result.err
    assert same_bytes(tmp_path / "basic", tmp_path / "gpus") > 20
    verdicts = [without_times(tmp_path / name, "verdicts.csv") for name in ("basic", "gpus")]
    pd.testing.assert_frame_equal(*verdicts)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["hydra.launcher.jobs=0"], "hydra.launcher.jobs must be auto or a whole number of at least 1; found 0."),
        (["hydra.launcher.jobs=all"], "hydra.launcher.jobs must be auto or a whole number of at least 1; found 'all'."),
        (["hydra.launcher.retries=-1"], "hydra.launcher.retries must be a whole number of at least 0; found -1."),
        (
            ["trainer.device=cuda:1"],
            "hydra/launcher=gpus chooses the GPU of every job itself; write trainer.device=cuda instead of cuda:1, and CUDA_VISIBLE_DEVICES before the command to choose among the GPUs.",
        ),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_sentence(
    mtl: Command, tmp_path: Path, options: list[str], sentence: str
) -> None:
    """Breaks if a wrong option of the launcher ends in a traceback, or leaves runs behind."""
    result = mtl("mtl-run", *GPUS, *options, "hydra.sweep.dir=sweep")
    assert (result.code, result.err.strip()) == (1, sentence)
    assert not list((tmp_path / "sweep").glob("*/.hydra")), "no run is recorded"


@needs_proc
@pytest.mark.long
def test_stacks_in_processes_lose_only_a_killed_stack(mtl: Command, tmp_path: Path) -> None:
    """Breaks if stacks use one GPU of many, train other runs, or one takes the others with it."""
    options = ("weighting=fixed,uncertainty", "seed=range(0,3)", "trainer.epochs=40")
    stacked = ("-m", *TINY, *options, "hydra/launcher=stacked")
    assert mtl("mtl-run", *stacked, "hydra.sweep.dir=one").code == 0

    def kill_the_second(launcher: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            stacks = {path.name: pid for pid, path in runs_of(launcher).items()}
            second = [pid for name, pid in stacks.items() if name.startswith("stack_3_")]
            # Once its runs are locked they have begun.
            if second and list((tmp_path / "over").glob("5_*/run.log")):
                os.kill(second[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    sweep = (*stacked, "hydra.launcher.over=gpus", "hydra.sweep.dir=over")
    result = mtl("mtl-run", *sweep, meanwhile=kill_the_second)
    assert result.code == 1
    assert result.out.startswith("2 stacks, ")
    runs = pd.read_csv(tmp_path / "over" / "runs.csv")
    assert list(runs["status"]) == ["finished"] * 3 + ["failed"] * 3
    assert "killed by SIGKILL" in runs["reason"].iloc[3]
    assert "hydra.launcher.gpus.retries=1" in runs["reason"].iloc[3]
    again = mtl("mtl-run", *sweep, "resume=true")
    assert again.code == 0, again.err
    for first in sorted((tmp_path / "one").glob("*/metrics.csv")):
        second = tmp_path / "over" / first.parent.name / "metrics.csv"
        pd.testing.assert_frame_equal(pd.read_csv(first), pd.read_csv(second), rtol=1e-4)
