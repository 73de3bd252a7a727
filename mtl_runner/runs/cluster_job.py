"""A job of a cluster starts the process of its run, and goes on after a preemption.

submitit calls it on the node; nothing heavy is imported there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Seconds between two looks at the process.
LOOK_EVERY = 0.2
# The signals of which Slurm lets a process know in time that its job will end.
NOTICES = (signal.SIGTERM, signal.SIGUSR1)


class ClusterJob:
    """A job of a cluster, as submitit pickles it.

    A run saves after its current step when the cluster announces the end of its job (SIGTERM or
    SIGUSR1, which all processes of a job get). The job is then queued again and goes on in the same
    directory, unless the cluster does so by itself or somebody has cancelled it.

    Args:
        path: The run directory, or the file that lists the runs of a stack.
        job: The label of the run in its sweep.
        retries: How often the process starts again, where it stopped, when it dies.

    Example:
        >>> ClusterJob("sweep/3_run", "3: seed=1").path
        'sweep/3_run'
    """

    def __init__(self, path: str, job: str, retries: int = 0) -> None:
        self.path, self.job, self.retries = path, job, retries
        self.process: subprocess.Popen[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "process": None}

    def __call__(self) -> int:
        """Train, from the start or from where it stopped; return the exit status."""
        for attempts_left in range(self.retries, -1, -1):
            code = self._train()
            stopped = any(code in (-number, 128 + number) for number in NOTICES)
            if stopped and _still_runs():
                # Nobody else queues the job again: it was a notice, and not the end itself.
                _queue_again()
            if stopped or code >= 0 or not attempts_left:
                return code
            print(f"killed by signal {-code}; starting again where it stopped", flush=True)
        return code

    def checkpoint(self) -> Any:
        """Let the run save, for submitit, which then queues the job again."""
        from submitit.helpers import DelayedSubmission

        process = self.process
        if process is not None and process.returncode is None:
            try:
                process.send_signal(signal.SIGUSR1)
                # This interrupts a look at the process, whose lock must not be waited for.
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            except (ChildProcessError, ProcessLookupError):
                pass
        return DelayedSubmission(ClusterJob(self.path, self.job, self.retries))

    def _train(self) -> int:
        from mtl_runner.runs.process import command_of, environment_of

        self.process = subprocess.Popen(command_of(Path(self.path)), env=environment_of(self.job))
        while self.process.poll() is None:
            time.sleep(LOOK_EVERY)
        return int(self.process.returncode)


class ClosingJob:
    """The job that compares a sweep when its last job has ended.

    Args:
        sweep: The directory of the sweep.

    Example:
        >>> ClosingJob("outputs/sweep").sweep
        'outputs/sweep'
    """

    def __init__(self, sweep: str) -> None:
        self.sweep = sweep

    def __call__(self) -> int:
        """Record how the jobs ended, and write the comparison; return the exit status."""
        code = "import sys; from mtl_runner.cli import close_sweep; close_sweep(sys.argv[1])"
        return subprocess.run([sys.executable, "-c", code, self.sweep], check=False).returncode


def _still_runs() -> bool:
    """Return whether the cluster says that this job runs, and is not on its way out."""
    return _ask(["squeue", "-h", "-o", "%T", "-j", _job_id()]) == "RUNNING"


def _queue_again() -> None:
    """Put this job back into the queue, and wait for its end."""
    subprocess.run(["scontrol", "requeue", _job_id()], check=False)
    # No result is written, since there is none; no exception either, which would be one.
    sys.exit(1)


def _job_id() -> str:
    """Return the id of this job; the number of one job of an array may be that of the array."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def _ask(command: Sequence[str]) -> str:
    """Return what a command prints; empty if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
