"""Runs that wait for a process of their own, and what became of them.

A launcher records all its runs first (:func:`enqueue`), so that a process needs nothing but the
directory of its run: it goes on there as ``mtl-run resume=<directory>`` does.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from mtl_runner.runs.directory import has_trained
from mtl_runner.runs.lifecycle import claimed_for, outcome_if_finished, write_status
from mtl_runner.runs.lock import locked
from mtl_runner.runs.records import read_config, read_identity, read_summary
from mtl_runner.runs.request import Outcome, Request


def enqueue(request: Request) -> Outcome | None:
    """Record a run in its directory, where it waits for its process.

    Args:
        request: The run.

    Returns:
        The outcome of a run that was finished before, else None.

    Raises:
        RunDirectoryError: If the directory holds another run, or a process is at work in it.
    """
    finished = outcome_if_finished(request)
    if finished is None:
        with claimed_for(request):
            write_status(request, "queued")
    return finished


def dequeue(request: Request) -> None:
    """Forget a run that was queued in vain, unless it has begun to train before.

    Args:
        request: The run.
    """
    directory = request.directory
    if read_summary(directory).get("status") != "queued" or has_trained(directory):
        return
    with contextlib.suppress(OSError):
        with locked(directory):
            for path in (directory / "summary.json", *(directory / ".hydra").iterdir()):
                path.unlink()
        (directory / ".hydra").rmdir()
        directory.rmdir()


def recorded_request(directory: Path, job: str = "") -> Request:
    """Return the request for a run as it is recorded in its directory.

    Args:
        directory: A run directory.
        job: The label of the run in its sweep.

    Raises:
        RunDirectoryError: If the directory holds no run, or its records cannot be read.
    """
    return Request(
        read_config(directory), directory.absolute(), **read_identity(directory), job=job
    )


def recorded_outcome(request: Request) -> Outcome | None:
    """Return how a run ended, as it recorded it itself; None if its process died before.

    Args:
        request: The run.
    """
    finished = outcome_if_finished(request)
    if finished is not None:
        return finished
    summary = read_summary(request.directory)
    if summary.get("status") in ("failed", "interrupted"):
        return Outcome(error=str(summary.get("reason") or summary["status"]), exit_code=1)
    return None


def was_interrupted(directory: Path) -> bool:
    """Return whether a signal stopped a run, which saved and goes on later.

    Args:
        directory: Its run directory.
    """
    return read_summary(directory).get("status") == "interrupted"


def record_death(request: Request, reason: str) -> Outcome:
    """Record that the process of a run died, unless the run ended by itself.

    Args:
        request: The run.
        reason: One sentence that says why.

    Returns:
        How the run ended.
    """
    recorded = recorded_outcome(request)
    if recorded is not None:
        return recorded
    # The disk may be full; the sentence still reaches the terminal.
    with contextlib.suppress(OSError), locked(request.directory):
        write_status(request, "failed", reason)
    return Outcome(error=reason, exit_code=1)
