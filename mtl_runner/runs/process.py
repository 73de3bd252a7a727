"""The process of one run of a sweep: how a launcher starts it, and what it knows of the launcher.

Free of torch.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

# The environment variables that tell the process of a run its label in the sweep, and the process
# that started it: without that one it stops, and saves.
JOB = "MTL_RUNNER_JOB"
LAUNCHER = "MTL_RUNNER_LAUNCHER"
FULL_ERROR = "MTL_RUNNER_FULL_ERROR"
# Seconds between two looks whether the launcher is still there.
LOOK_EVERY = 1.0


def command_of(directory: Path) -> list[str]:
    """Return the command that trains a queued run, from where it stopped.

    Args:
        directory: Its run directory.

    Example:
        >>> command_of(Path("sweep/3_run"))[1:]
        ['-m', 'mtl_runner', 'resume=sweep/3_run']
    """
    return [sys.executable, "-m", "mtl_runner", f"resume={directory}"]


def environment_of(job: str) -> dict[str, str]:
    """Return the environment of the process of a run.

    Args:
        job: The label of the run in its sweep.

    Example:
        >>> environment_of("3: seed=1")["MTL_RUNNER_JOB"]
        '3: seed=1'
    """
    environment = dict(os.environ)
    # The command has set it for itself; what the user has set lies in the other one.
    full_error = environment.pop(FULL_ERROR, "")
    environment["HYDRA_FULL_ERROR"] = full_error
    return environment | {JOB: job, LAUNCHER: str(os.getpid())}


def label_of_process() -> str:
    """Return the label that a launcher gave this process's run; empty if it was started by hand.

    From now on the process ends, as by SIGTERM, when its launcher is gone.
    """
    label, launcher = os.environ.pop(JOB, ""), os.environ.pop(LAUNCHER, "")
    if launcher:
        threading.Thread(target=_end_with, args=(int(launcher),), daemon=True).start()
    return label


def _end_with(launcher: int) -> None:
    """Stop this process once it is no longer a child of its launcher."""
    while os.getppid() == launcher:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
