"""A stack of runs that a launcher has listed in a file, trained by a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from mtl_runner.runs.queued import recorded_request
from mtl_runner.runs.runner import run
from mtl_runner.runs.stack_file import StackFile
from mtl_runner.runs.stacked import StackedRuns
from mtl_runner.train.interruption import StoppedBySignal
from mtl_runner.train.terminal import say


def train_recorded_stack(path: Path) -> int:
    """Train the runs that a file lists: as a stack, and one by one those that cannot be stacked.

    Args:
        path: The file, as a launcher wrote it: the directory and the label of every run, and the
            memory in bytes that the stack may take.

    Returns:
        The exit status: 1 if a run failed.

    Raises:
        RunDirectoryError: If the file or a run cannot be read.
        StoppedBySignal: After Ctrl-C or SIGTERM, when everything is saved.
    """
    stack = StackFile.read(path)
    requests = {number: recorded_request(*entry) for number, entry in enumerate(stack.runs)}
    stacked = StackedRuns(requests, stack.memory)
    stacked.run()
    for number, refusal in stacked.refused.items():
        say(f"[{requests[number].job}] failed: {refusal}", sys.stderr)
    outcomes = dict(stacked.outcomes)
    for number, reason in stacked.not_stacked.items():
        say(f"[{requests[number].job}] runs by itself: {reason}.")
        outcome = outcomes[number] = run(requests[number])
        if outcome.stopped_by is not None:
            raise StoppedBySignal(outcome.stopped_by)
    return int(bool(stacked.refused) or any(outcome.error for outcome in outcomes.values()))
