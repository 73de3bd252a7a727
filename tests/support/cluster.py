"""A Slurm cluster that tests may use and disturb; ``tests/support/slurm.sh up`` starts one."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def ask(*command: str) -> str:
    """Return what a command of Slurm's prints; empty if there is no such command."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    ).stdout.strip()


def skip_without_slurm() -> None:
    """Skip a test where no Slurm answers, or submitit is missing."""
    pytest.importorskip("submitit", reason="needs submitit: pip install 'mtl-runner[slurm]'")
    if ask("sinfo", "-h", "-o", "%t").partition("\n")[0] not in ("idle", "mix", "alloc"):
        pytest.skip("no Slurm answers here; as root on Debian: bash tests/support/slurm.sh up")


def jobs(sweep: str, *states: str) -> list[str]:
    """Return the ids of the jobs of a sweep in these states, such as ``RUNNING``."""
    lines = ask("squeue", "-h", "-r", "-t", ",".join(states), "-o", "%i %j").splitlines()
    return [line.split()[0] for line in lines if line.split()[1] == f"mtl-{sweep}"]


def preempt(sweep: str, job: str, kind: str) -> bool:
    """Preempt a job: by the signal that announces the end, or as the scheduler does.

    Returns:
        Whether it was queued again, and had not come to its end.
    """
    command = ("scancel", "--signal=USR1") if kind == "notice" else ("scontrol", "requeue")
    # scancel tries for a minute to signal a job that has just left its node.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run((*command, job), capture_output=True, timeout=5, check=False)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and job in jobs(sweep, "RUNNING"):
        time.sleep(0.2)
    return job in jobs(sweep, "PENDING", "COMPLETING")


def disturb(
    sweep: str, count: int, chance: random.Random, done: list[str], drain: bool = False
) -> Callable[[int], None]:
    """Return a function that preempts running jobs of a sweep at random instants.

    Args:
        sweep: The name of its directory.
        count: How many.
        chance: Chooses the jobs and the instants.
        done: What was done is added here.
        drain: Whether the node is drained for a while, too.
    """

    def meanwhile(process: int) -> None:
        deadline = time.monotonic() + 400
        command = Path(f"/proc/{process}")
        while len(done) < count and command.exists() and time.monotonic() < deadline:
            time.sleep(chance.uniform(0, 4))
            running = jobs(sweep, "RUNNING")
            if not running:
                continue
            job, kind = chance.choice(running), ("notice", "requeue")[len(done) % 2]
            if not preempt(sweep, job, kind):
                continue
            done.append(f"{kind} {job}")
            if drain and len(done) == count // 2:
                node = ask("sinfo", "-h", "-o", "%n")
                ask("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
                time.sleep(8)
                ask("scontrol", "update", f"nodename={node}", "state=resume")

    return meanwhile
