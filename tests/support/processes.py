"""The processes that a launcher has started, found in ``/proc``."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="child processes are looked up in /proc"
)


def runs_of(launcher: int) -> dict[int, Path]:
    """Return the processes of runs that a launcher has started, with the runs' directories."""
    runs = {}
    try:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    except OSError:
        return {}
    for child in map(int, children):
        try:
            command = Path(f"/proc/{child}/cmdline").read_text()
        except OSError:
            continue
        if match := re.search(r"resume=([^\0]+)", command):
            runs[child] = Path(match.group(1))
    return runs


def kill_runs(
    count: int, chance: random.Random, killed: list[str], wait: float = 2.0
) -> Callable[[int], None]:
    """Return a function that kills the processes of so many runs of a launcher, of each run once.

    Args:
        count: How many.
        chance: Chooses the runs and the instants.
        killed: The names of the runs are added here.
        wait: The most seconds between two kills.
    """

    def meanwhile(launcher: int) -> None:
        deadline = time.monotonic() + 240
        while len(killed) < count and time.monotonic() < deadline:
            time.sleep(chance.uniform(0, wait))
            alive = {pid: run for pid, run in runs_of(launcher).items() if run.name not in killed}
            if not alive:
                continue
            pid = chance.choice(sorted(alive))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            summary = json.loads((alive[pid] / "summary.json").read_text())
            # One that was only about to leave has lost nothing.
            if summary["status"] != "finished":
                killed.append(alive[pid].name)

    return meanwhile
