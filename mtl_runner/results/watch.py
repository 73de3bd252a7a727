"""``mtl-compare --watch``: tables and report are written anew while a sweep runs."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.compare import Comparison, compare_directories

FILES = ("summary.json", "metrics.csv")  # of a run, from which a comparison is made
REST = 4  # times as long as a comparison took, nothing is done: the sweep needs the processors
WAITING = "no run yet"
State = frozenset[tuple[str, int, int]]


def watch(
    paths: Sequence[Path],
    output: Path,
    seconds: float,
    at: str | None = None,
    margin: float | None = None,
    first: Callable[[], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Comparison | None:
    """Compare runs again and again as their files change, until Ctrl-C.

    The page reloads itself meanwhile. At the end everything is written once more, with the picture
    of the comparison and as a page that stays as it is.

    Args:
        paths: Run directories, or directories of sweeps; they need not hold a run yet.
        output: The folder that the files are written into.
        seconds: How long to wait after each look.
        at: The epoch, as for :func:`~mtl_runner.results.compare.compare_directories`.
        margin: Likewise.
        first: What is done once, when there is a report.
        sleep: What waits.

    Returns:
        The last comparison; None if there was no run.
    """
    seen: State | None = None
    printed = ""
    print(f"Watching; stop with Ctrl-C. {output / 'report.html'} stays fresh.", flush=True)
    try:
        while True:
            state, took = _state(paths), 0.0
            if state != seen:
                started = time.monotonic()
                line = _written(paths, output, seconds, at, margin)
                seen, took = state, time.monotonic() - started
                if first is not None and line != WAITING:
                    first()
                    first = None
                if line != printed:
                    printed = line
                    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            sleep(max(seconds, REST * took))
    except KeyboardInterrupt:
        print(flush=True)
        try:
            return compare_directories(paths, output, at, margin=margin)
        except RunDirectoryError:
            return None


def _written(
    paths: Sequence[Path], output: Path, seconds: float, at: str | None, margin: float | None
) -> str:
    """Write tables and page; return how far the runs are."""
    try:
        comparison = compare_directories(
            paths, output, at, plots=False, margin=margin, refresh=seconds
        )
    except RunDirectoryError:
        return WAITING
    counts = Counter(run.status for run in comparison.records.runs)
    unfinished = [f"{count} {status}" for status, count in counts.items() if status != "finished"]
    return ", ".join([f"{counts['finished']} of {comparison.total} runs finished", *unfinished])


def _state(paths: Sequence[Path]) -> State:
    """Return name, time and size of the files that a comparison is made from."""
    state = set()
    for path in paths:
        for folder, _, files in os.walk(path):
            for name in files:
                if name in FILES:
                    file = os.path.join(folder, name)  # noqa: PTH118  # thousands of files
                    try:
                        status = os.stat(file)  # noqa: PTH116
                    except OSError:
                        continue  # it was replaced at this moment; the next look sees it
                    state.add((file, status.st_mtime_ns, status.st_size))
    return frozenset(state)
