"""``hydra/launcher=slurm`` on a real Slurm: preempted, drained, left alone, and gone on with."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.test_gpus_launcher import TINY, same_bytes, without_times
from tests.docs.blocks import BLOCKS
from tests.docs.given import quick
from tests.support.cluster import ask, disturb, jobs, skip_without_slurm
from tests.support.commands import Command, send

pytestmark = [pytest.mark.slurm, pytest.mark.long]

# A run takes some seconds, so that a preemption finds it in its training.
SHORT = (
    "data=toy_regression",
    *TINY[2:],
    "model.hidden=[4]",
    "trainer.epochs=60",
    "trainer.evaluate_every=20",
)
NOT_OVER = ("PENDING", "RUNNING", "COMPLETING")
SLURM = ("-m", *SHORT, "hydra/launcher=slurm", "hydra.launcher.timeout=20")


@pytest.fixture(autouse=True)
def cluster() -> None:
    """Skip where there is no Slurm."""
    skip_without_slurm()


def test_a_sweep_of_40_jobs_loses_nothing_by_preemptions_and_a_drained_node(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a preempted job is lost, starts anew, or ends with other bytes."""
    options = ("weighting=fixed,uncertainty", "seed=range(0,20)")
    assert mtl("mtl-run", "-m", *SHORT, *options, "hydra.sweep.dir=basic").code == 0
    done: list[str] = []
    meanwhile = disturb("slurm", 6, random.Random(16), done, drain=True)
    sweep = (*SLURM, *options, "hydra.sweep.dir=slurm")
    result = mtl("mtl-run", *sweep, meanwhile=meanwhile)
    assert result.code == 0, result.err
    assert len(done) == 6, "the preemptions came too late"
    assert "40 jobs in the queue of Slurm (squeue -j " in result.out
    runs = pd.read_csv(tmp_path / "slurm" / "runs.csv")
    assert list(runs["status"]) == ["finished"] * 40
    assert same_bytes(tmp_path / "basic", tmp_path / "slurm") == 40
    pd.testing.assert_frame_equal(
        without_times(tmp_path / "basic"), without_times(tmp_path / "slurm")
    )


def test_a_study_loses_nothing_by_preemptions(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a round of a study takes a preempted run for a failed one."""
    options = (
        "-m", "+study=fair", *SHORT, "weighting=fixed,dwa", "study.seeds=3", "study.fixed_points=3",
        "study.per_decade=2", "study.decades=1", "study.extensions=1",
    )  # fmt: skip
    assert mtl("mtl-run", *options, "hydra/launcher=basic", "hydra.sweep.dir=basic").code == 0
    done: list[str] = []
    meanwhile = disturb("slurm", 4, random.Random(17), done)
    slurm = ("hydra/launcher=slurm", "hydra.launcher.timeout=20", "hydra.sweep.dir=slurm")
    result = mtl("mtl-run", *options, *slurm, meanwhile=meanwhile)
    assert result.code == 0, result.err
    assert len(done) == 4, "the preemptions came too late"
    assert same_bytes(tmp_path / "basic", tmp_path / "slurm") > 50
    verdicts = [without_times(tmp_path / name, "verdicts.csv") for name in ("basic", "slurm")]
    pd.testing.assert_frame_equal(*verdicts)


def test_a_search_asks_for_the_same_trials_on_a_cluster(mtl: Command, tmp_path: Path) -> None:
    """Breaks if trials of a cluster are others than those of one machine, or the best one is."""
    pytest.importorskip("optuna", reason="it proposes the trials")
    search = ("-m", "+search=optuna", *SHORT, "search.trials=6", "search.batch=3")
    assert mtl("mtl-run", *search, "hydra/launcher=basic", "hydra.sweep.dir=basic").code == 0
    slurm = ("hydra/launcher=slurm", "hydra.launcher.timeout=20")
    result = mtl("mtl-run", *search, *slurm, "hydra.sweep.dir=slurm")
    assert result.code == 0, result.err
    assert same_bytes(tmp_path / "basic", tmp_path / "slurm") == 6
    for name in ("search.json", "study.json"):
        assert (tmp_path / "basic" / name).read_bytes() == (tmp_path / "slurm" / name).read_bytes()


def test_a_closed_shell_costs_nothing_and_the_last_job_compares(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a sweep needs its shell, or nobody is told what still runs."""
    sweep = tmp_path / "closed"

    def close_the_shell(process: int) -> None:
        deadline = time.monotonic() + 120
        while not jobs("closed", "RUNNING") and time.monotonic() < deadline:
            time.sleep(0.2)
        send(signal.SIGHUP, 0.0)(process)

    options = ("seed=range(0,6)", "hydra.sweep.dir=closed")
    result = mtl("mtl-run", *SLURM, *options, meanwhile=close_the_shell)
    assert result.code == 129, result.err
    assert (
        f"The jobs go on in the queue of Slurm: mtl-compare {sweep} shows how far they are, scancel "
        in result.out
    )
    assert "Under way: " in result.out
    deadline = time.monotonic() + 240
    while any(jobs(name, *NOT_OVER) for name in ("closed", "closed-compare")):
        assert time.monotonic() < deadline
        time.sleep(1)
    runs = pd.read_csv(sweep / "runs.csv")
    assert list(runs["status"]) == ["finished"] * 6
    assert "Under way" not in (sweep / "report.html").read_text()


def test_another_shell_goes_on_without_double_work(mtl: Command, tmp_path: Path) -> None:
    """Breaks if resume=true submits what is in the queue already, or trains what has finished."""
    sweep = (*SLURM, "seed=range(0,8)", "hydra.sweep.dir=again")

    def kill_once_one_has_finished(process: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not any(
            json.loads(path.read_text())["status"] == "finished"
            for path in (tmp_path / "again").glob("*/summary.json")
        ):
            time.sleep(0.1)
        send(signal.SIGKILL, 0.0)(process)

    assert mtl("mtl-run", *sweep, meanwhile=kill_once_one_has_finished).code != 0
    ids = json.loads((tmp_path / "again" / "slurm" / "jobs.json").read_text())["jobs"]
    resumed = mtl("mtl-run", *sweep, "resume=true")
    assert resumed.code == 0, resumed.err
    assert "runs of this sweep are in the queue of Slurm already." in resumed.out
    assert json.loads((tmp_path / "again" / "slurm" / "jobs.json").read_text())["jobs"] == ids
    assert list(pd.read_csv(tmp_path / "again" / "runs.csv")["status"]) == ["finished"] * 8
    logs = [path.read_text() for path in (tmp_path / "again").glob("*/run.log")]
    assert [log.count("starting,") for log in logs] == [1] * 8


def test_every_job_trains_a_stack(mtl: Command, tmp_path: Path) -> None:
    """Breaks if stacks on a cluster are other ones than here, or a preemption costs one."""
    options = (
        "-m",
        *SHORT,
        "weighting=fixed,uncertainty",
        "seed=range(0,8)",
        "hydra/launcher=stacked",
    )
    assert mtl("mtl-run", *options, "hydra.sweep.dir=here").code == 0
    done: list[str] = []
    slurm = (
        "hydra.launcher.over=slurm",
        "hydra.launcher.slurm.timeout=20",
        "hydra.sweep.dir=there",
    )
    result = mtl("mtl-run", *options, *slurm, meanwhile=disturb("there", 1, random.Random(1), done))
    assert result.code == 0, result.err
    assert "2 jobs in the queue of Slurm" in result.out
    assert same_bytes(tmp_path / "here", tmp_path / "there") == 16


def test_a_job_that_somebody_cancels_is_a_failed_row_with_its_reason(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a cancelled job is waited for for ever, or submitted again."""

    def cancel_one(process: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not jobs("cancelled", "RUNNING"):
            time.sleep(0.2)
        ask("scancel", sorted(jobs("cancelled", "RUNNING", "PENDING"))[-1])

    options = ("seed=range(0,4)", "hydra.sweep.dir=cancelled")
    result = mtl("mtl-run", *SLURM, *options, meanwhile=cancel_one)
    assert result.code == 1
    assert result.last_line.startswith("1 of 4 runs failed"), result.err
    runs = pd.read_csv(tmp_path / "cancelled" / "runs.csv")
    assert sorted(runs["status"]) == ["failed", "finished", "finished", "finished"]
    (reason,) = runs["reason"].dropna()
    assert "of the cluster ended before its run (it was cancelled" in reason


def test_a_partition_that_does_not_exist_is_one_sentence(mtl: Command, tmp_path: Path) -> None:
    """Breaks if sbatch's refusal is a traceback, or leaves runs behind that nobody trains."""
    result = mtl("mtl-run", *SLURM, "hydra.launcher.partition=a100", "hydra.sweep.dir=refused")
    assert (result.code, result.err.strip()) == (
        1,
        "Slurm refuses the jobs (invalid partition specified: a100); correct hydra.launcher.partition and the other options of the launcher.",
    )
    assert not list((tmp_path / "refused").glob("*/.hydra"))


def test_the_commands_of_the_page_can_be_typed(mtl: Command, tmp_path: Path) -> None:
    """Breaks if docs/clusters.md shows a command that Slurm or Hydra refuses."""
    if "main" not in ask("sinfo", "-h", "-o", "%R").split():
        pytest.skip("the page is about a partition called main")
    commands = [
        quick(command, tmp_path)
        for block in BLOCKS
        if block.needs == "Slurm"
        for command in block.commands
        # The study above is one of the page's.
        if "+study=fair" not in command
    ]
    assert len(commands) == 2
    for command in commands:
        result = mtl(*command)
        assert result.code == 0, (command, result.err)
