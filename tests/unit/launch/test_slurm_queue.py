"""The jobs of a sweep in the queue of Slurm.

Its commands are stand-ins here; ``tests/cli/test_slurm`` has the real ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl_runner.launch.slurm_queue import (
    SlurmJobs,
    is_over,
    reason_of,
    record_ends,
    states_of,
    was_cancelled,
)
from mtl_runner.results.records.run import read_run
from mtl_runner.runs.queued import enqueue
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request

Commands = Callable[..., None]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """``commands(squeue="echo 7 RUNNING")`` makes programs of lines of shell, the only ones."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")

    def make(**lines: str) -> None:
        for name, line in lines.items():
            (folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / name).chmod(0o755)

    return make


def test_another_shell_reads_the_record(tmp_path: Path) -> None:
    """Breaks if resume=true submits jobs a second time."""
    jobs = SlurmJobs(tmp_path)
    jobs.folder.mkdir()
    jobs.add({tmp_path / "0_run": "12_0"})
    jobs.add({tmp_path / "group" / "1_run": "13"})
    again = SlurmJobs(tmp_path)
    assert again.job_of(tmp_path / "0_run") == "12_0"
    assert again.job_of(tmp_path / "group" / "1_run") == "13"
    assert again.job_of(tmp_path / "2_run") is None
    assert again.log_of("12_0") == tmp_path / "slurm" / "12_0_0_log.out"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"jobs": 3}', '{"jobs": {"run": "12; rm -r x"}}', '{"jobs": ["12"]}']
)
def test_a_damaged_record_names_no_job(tmp_path: Path, text: str) -> None:
    """Breaks if a file somebody has edited reaches a command line, or ends in a traceback."""
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.json").write_text(text)
    assert SlurmJobs(tmp_path).jobs == {}


def test_states_are_those_of_slurm_and_a_forgotten_job_has_ended(commands: Commands) -> None:
    """Breaks if a sweep waits for ever for a job that Slurm has forgotten."""
    commands(squeue="echo '12_0 RUNNING'; echo '12_1 PENDING'; echo '12_2 OUT_OF_MEMORY'")
    states = states_of(["12_0", "12_1", "12_2", "12_3"])
    assert states == {
        "12_0": "RUNNING",
        "12_1": "PENDING",
        "12_2": "OUT_OF_MEMORY",
        "12_3": "",
    }
    assert [is_over(states[f"12_{i}"]) for i in range(4)] == [False, False, True, True]
    commands(squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert states_of(["12_0"]) == {"12_0": ""}
    assert states_of([]) == {}


def test_a_slurm_that_does_not_answer_ends_no_job(commands: Commands) -> None:
    """Breaks if a restart of Slurm's server makes all runs of a sweep fail."""
    commands(squeue="echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert states_of(["12_0"]) is None


@pytest.mark.parametrize(
    ("sacct", "how"),
    [
        ("echo OUT_OF_MEMORY", "it ran out of memory; raise hydra.launcher.memory"),
        ("echo 'CANCELLED by 0'", "it was cancelled"),
        ("echo REQUEUED; echo TIMEOUT", "its time was up before it could save; raise hydra"),
        ("echo COMPLETED", "it ended)"),
        ("echo 'accounting is off' >&2; exit 1", "it was cancelled, or Slurm has forgotten it"),
        ("true", "it was cancelled, or Slurm has forgotten it"),
    ],
)
def test_a_lost_run_has_slurms_reason(commands: Commands, sacct: str, how: str) -> None:
    """Breaks if nobody says that the memory was too small."""
    commands(sacct=sacct)
    reason = reason_of("12_0", "", Path("s/slurm/12_0_0_log.out"))
    assert reason.startswith(f"The job 12_0 of the cluster ended before its run ({how}")
    assert "its log is s/slurm/12_0_0_log.out" in reason


def test_a_cancelled_job_is_known_from_one_that_failed(commands: Commands) -> None:
    """Breaks if `scancel` brings a job back, or a job whose node failed is given up."""
    commands(sacct="echo 'CANCELLED by 0'")
    assert was_cancelled("12_0", "")
    assert was_cancelled("12_0", "CANCELLED")
    assert not was_cancelled("12_0", "NODE_FAIL")
    commands(sacct="true")
    assert was_cancelled("12_0", ""), "one that waited leaves no trace"
    commands(sacct="echo FAILED")
    assert not was_cancelled("12_0", "")


def test_the_last_job_records_how_the_others_ended(commands: Commands, tmp_path: Path) -> None:
    """Breaks if the comparison of a closed shell's sweep shows dead runs as running."""
    sweep = tmp_path / "sweep"
    requests = [tiny_request(sweep / str(number), f"seed={number}") for number in range(3)]
    for request in requests:
        enqueue(request)
    run(requests[0])
    jobs = SlurmJobs(sweep)
    jobs.folder.mkdir()
    jobs.add({request.directory: f"12_{n}" for n, request in enumerate(requests)})
    jobs.add({sweep / "gone": "12_9"})
    commands(squeue="echo '12_1 NODE_FAIL'; echo '12_2 RUNNING'", sacct="echo")
    record_ends(sweep)
    statuses = [read_run(request.directory).status for request in requests]
    assert statuses == ["finished", "failed", "queued"]
    assert "(its node failed)" in read_run(sweep / "1").reason
