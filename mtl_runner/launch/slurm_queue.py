"""The jobs that a sweep has in the queue of Slurm, and the record of them in the sweep.

The record makes it possible to go on from another shell, and to tell how jobs ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.errors import MtlError
from mtl_runner.files import read_regular, write_json

# The folder in the sweep for what submitit writes, and the record in it.
FOLDER = "slurm"
RECORD = "jobs.json"
RECORD_BYTES = 1 << 26
# Slurm's states, in words.
STATES = {
    "OUT_OF_MEMORY": "it ran out of memory; raise hydra.launcher.memory",
    "TIMEOUT": "its time was up before it could save; raise hydra.launcher.timeout",
    "NODE_FAIL": "its node failed",
    "CANCELLED": "it was cancelled",
    "PREEMPTED": "it was preempted",
    "FAILED": "it failed",
    "": "it was cancelled, or Slurm has forgotten it",
}


class SlurmJobs:
    """The jobs of the runs of a sweep, by the names of their directories.

    Args:
        sweep: The directory of the sweep.

    Example:
        >>> SlurmJobs(Path("no/such/sweep")).jobs
        {}
    """

    def __init__(self, sweep: Path) -> None:
        self.folder = sweep / FOLDER
        self.jobs: dict[str, str] = {}
        try:
            record: Any = json.loads(read_regular(self.folder / RECORD, RECORD_BYTES))
            jobs = record["jobs"].items()
            self.jobs = {str(run): str(job) for run, job in jobs if is_job_id(str(job))}
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            # Without the record every run that has not ended is queued anew.
            pass

    def job_of(self, directory: Path) -> str | None:
        """Return the id of the last job of a run, if it has been in the queue.

        Args:
            directory: The run directory.
        """
        return self.jobs.get(self._name(directory))

    def add(self, jobs: Mapping[Path, str]) -> None:
        """Record the jobs of runs.

        Args:
            jobs: The id of the job of each run directory.

        Raises:
            OSError: If the record cannot be written.
        """
        self.jobs |= {self._name(directory): job for directory, job in jobs.items()}
        write_json(self.folder / RECORD, {"version": 1, "jobs": self.jobs})

    def log_of(self, job: str) -> Path:
        """Return the file that a job prints to."""
        return self.folder / f"{job}_0_log.out"

    def _name(self, directory: Path) -> str:
        return os.path.relpath(directory, self.folder.parent)


def is_job_id(text: str) -> bool:
    """Return whether a text is the id of a job, or of one of an array.

    Example:
        >>> is_job_id("12"), is_job_id("12_3"), is_job_id("12; rm")
        (True, True, False)
    """
    return re.fullmatch(r"\d+(_\d+)?", text) is not None


def states_of(jobs: Iterable[str]) -> dict[str, str] | None:
    """Return the states of jobs in Slurm's words; None if Slurm does not answer.

    The state of a job that Slurm does not show, as some minutes after its end, is empty.

    Args:
        jobs: Ids of jobs, such as ``"12_3"``.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    arrays = sorted({job.partition("_")[0] for job in wanted})
    done = _run(["squeue", "-h", "-r", "-t", "all", "-o", "%i %T", "-j", ",".join(arrays)])
    if done is None or (done.returncode and "Invalid job id" not in done.stderr):
        return None
    known = dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) > 1)
    return {job: known.get(job, "") for job in wanted}


def is_over(state: str) -> bool:
    """Return whether a job in this state has ended, and will not go on.

    Example:
        >>> is_over("PENDING"), is_over("COMPLETING"), is_over("TIMEOUT"), is_over("")
        (False, False, True, True)
    """
    return state in (*STATES, "COMPLETED", "BOOT_FAIL", "DEADLINE", "REVOKED")


def was_cancelled(job: str, state: str) -> bool:
    """Return whether somebody has cancelled a job that is over.

    One that never ran leaves no trace.

    Args:
        job: The id of the job.
        state: Its state in the queue.
    """
    return (state or _recorded_state(job)) in ("", "CANCELLED")


def reason_of(job: str, state: str, log: Path) -> str:
    """Return the sentence about a run whose job ended before it.

    Args:
        job: The id of the job.
        state: Its state in the queue.
        log: The file that it printed to.
    """
    how = STATES.get(state or _recorded_state(job), "it ended")
    return f"The job {job} of the cluster ended before its run ({how}); its log is {log}, and the same command with resume=true goes on."


def _recorded_state(job: str) -> str:
    """Return the last state of a job that Slurm has recorded; empty if there is no record."""
    done = _run(["sacct", "-X", "-n", "-P", "-o", "State", "-j", job])
    lines = done.stdout.splitlines() if done is not None and not done.returncode else []
    # "CANCELLED by 0"
    states = [line.split()[0] for line in lines if line.split()]
    return states[-1] if states else ""


def record_ends(sweep: Path) -> None:
    """Record of every run of a sweep whose job has ended before it, why it did.

    Args:
        sweep: The directory of the sweep.
    """
    from mtl_runner.runs.queued import record_death, recorded_request

    queue = SlurmJobs(sweep)
    states = states_of(queue.jobs.values()) or {}
    for name, job in queue.jobs.items():
        if job in states and is_over(states[job]):
            # A run that is gone, or whose records are damaged, is for the comparison to tell.
            with contextlib.suppress(MtlError, OSError):
                reason = reason_of(job, states[job], queue.log_of(job))
                record_death(recorded_request(sweep / name), reason)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """Return what a command of Slurm's says; None if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
