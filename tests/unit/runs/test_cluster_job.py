"""What a job of a cluster does: start the process of its run, and be queued again in time.

Slurm's commands are stand-ins here, which write down how they were called; ``tests/cli/test_slurm``
has the real ones.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl_runner.runs import cluster_job
from mtl_runner.runs.cluster_job import ClusterJob

Commands = Callable[..., None]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """``commands(squeue="echo RUNNING")`` puts programs of these lines of shell in the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")

    def make(**lines: str) -> None:
        for name, line in lines.items():
            log = f'echo "$0 $@" | sed "s#.*/##" >> {tmp_path}/calls'
            (folder / name).write_text(f"#!/bin/sh\n{log}\n{line}\n")
            (folder / name).chmod(0o755)

    return make


def trains(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a job start this Python code in the place of a run."""
    monkeypatch.setattr(
        "mtl_runner.runs.process.command_of", lambda path: [sys.executable, "-c", code]
    )


@pytest.mark.parametrize(("state", "queued_again"), [("RUNNING", True), ("COMPLETING", False)])
@pytest.mark.parametrize("ending", ["sys.exit(143)", "os.kill(os.getpid(), signal.SIGUSR1)"])
def test_a_run_that_was_told_to_stop_is_queued_again_unless_the_cluster_ends_it(
    commands: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    queued_again: bool,
    ending: str,
) -> None:
    """Breaks if a preempted job is lost, or a cancelled one comes back."""
    commands(squeue=f"echo {state}", scontrol="true")
    trains(monkeypatch, f"import os, signal, sys; {ending}")
    if queued_again:
        with pytest.raises(SystemExit):
            ClusterJob("run", "1")()
    else:
        assert ClusterJob("run", "1")() in (143, -10)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "squeue -h -o %T -j 5_2"
    assert ("scontrol requeue 5_2" in calls) == queued_again


def test_a_process_that_dies_starts_again_as_often_as_it_may(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if running out of memory once costs a run, or is tried for ever."""
    trains(
        monkeypatch,
        f"import os, signal; open({str(tmp_path / 'starts')!r}, 'a').write('x'); os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert ClusterJob("run", "1", retries=2)() == -9
    assert (tmp_path / "starts").read_text() == "xxx"


def test_a_failed_run_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a diverging run is trained several times."""
    trains(monkeypatch, f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(1)")
    assert ClusterJob("run", "1", retries=2)() == 1
    assert (tmp_path / "starts").read_text() == "x"


def test_a_job_can_be_pickled_while_its_process_runs() -> None:
    """Breaks if submitit cannot queue a job again."""
    job = ClusterJob("run", "1", 3)
    job.process = object()  # type: ignore[assignment]
    again = pickle.loads(pickle.dumps(job))
    assert (again.path, again.job, again.retries, again.process) == ("run", "1", 3, None)


def test_without_slurm_a_job_is_not_queued_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a command that is missing is a traceback."""
    monkeypatch.setenv("PATH", "")
    assert cluster_job._ask(["squeue"]) == ""
