"""Train the cells of the leaderboard, each in a process of its own, until the time is up."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from entries import SEEDS, Cell

from mtl_runner.errors import MtlError
from mtl_runner.errors.words import counted
from mtl_runner.files import write_json

LOG, RECORD = "terminal.log", "cell.json"
STOP = 30.0  # seconds in which a cell that is stopped saves what it has


class Trainer:
    """Processes that train cells, one after another.

    Args:
        output: The folder of all cells.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        # Its processes are forks of one that has imported torch, which takes seconds.
        self.context = multiprocessing.get_context("forkserver")
        # Before Python 3.12 it looks for what it imports in the paths of the environment alone.
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.context.set_forkserver_preload(["imports"])

    def train(self, cell: Cell, seconds: float = math.inf) -> bool:
        """Train a cell, or go on with it.

        Args:
            cell: The cell.
            seconds: The most that it may take; then it is stopped, to go on another time.

        Returns:
            Whether it came to its end.

        Raises:
            MtlError: If the command did not make all runs.
        """
        folder = cell.folder(self.output)
        if folder.exists() and record_of(cell, self.output).get("definition") != cell.definition:
            shutil.rmtree(folder)
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, {"definition": cell.definition, "finished": False})
        process = self.context.Process(
            target=run_command,
            args=(cell.command(self.output), folder, cell.definition, is_new),
            daemon=True,
        )
        process.start()
        try:
            process.join(None if math.isinf(seconds) else max(seconds, 0.0))
        finally:
            if process.exitcode is None:
                process.terminate()
                process.join(STOP)
        if not is_trained(cell, self.output):
            return False
        made = len(list(folder.glob("*/summary.json")))
        if made < (wanted := SEEDS * len(cell.problem.rates)):
            reason = _last_line(folder / LOG)
            shutil.rmtree(folder)
            raise MtlError(
                f"{cell.method.name} on {cell.problem.name} made {made} of {counted(wanted, 'run')}: {reason}"
            )
        return True


def is_trained(cell: Cell, output: Path) -> bool:
    """Return whether the command of a cell, as it is defined now, came to its end."""
    record = record_of(cell, output)
    return record.get("finished") is True and record.get("definition") == cell.definition


def record_of(cell: Cell, output: Path) -> dict[str, object]:
    """Return the record of a cell; empty for one that was never begun."""
    with suppress(OSError, ValueError):
        content = json.loads((cell.folder(output) / RECORD).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def is_stacked(cell: Cell, output: Path) -> bool:
    """Return whether the runs of a cell trained together."""
    log = (cell.folder(output) / LOG).read_text(encoding="utf-8", errors="replace")
    return " one by one (" not in log


def run_command(command: Sequence[str], folder: Path, definition: str, is_new: bool) -> None:
    """Do what a command would, in this process.

    Args:
        command: The command, ``mtl-run`` first.
        folder: The folder of the cell, for what the terminal would show and the record.
        definition: The definition of the cell.
        is_new: Whether this is its first process, so that its processor time is that of the cell.
    """
    _end_with_parent()
    file = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    from mtl_runner.cli import main

    sys.argv = list(command)
    started = time.process_time()
    try:
        main()
    except SystemExit as end:
        if end.code in (None, 0, 1):
            seconds = time.process_time() - started if is_new else math.nan
            record = {"definition": definition, "finished": True, "cpu_seconds": seconds}
            write_json(folder / RECORD, record)
        raise


def _end_with_parent() -> None:
    """End this process when the one that started it is killed, so that nothing trains unseen."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "the command ended without a word."
