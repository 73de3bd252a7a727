"""What the terminal and run.log show."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class _RunLog(logging.FileHandler):
    """run.log; a full disk must not hide what the terminal still shows."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


@contextlib.contextmanager
def logging_to(directory: Path) -> Iterator[None]:
    """To the terminal and to run.log; tracebacks only to run.log."""
    root = logging.getLogger("mtl_runner")
    root.setLevel(logging.INFO)
    root.propagate = False
    terminal = logging.StreamHandler(sys.stdout)
    terminal.addFilter(lambda record: record.name != "mtl_runner.file")
    handlers: list[logging.Handler] = [terminal]
    with contextlib.suppress(OSError):
        handlers.append(_RunLog(directory / "run.log"))
    for handler in handlers:
        root.addHandler(handler)
    logging.getLogger("mtl_runner.file").info("%s", time.strftime("%Y-%m-%d %H:%M:%S"))
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            with contextlib.suppress(OSError):
                handler.close()


class RunLogs(logging.Handler):
    """The run.log files of many runs at once: a message goes into that of :attr:`directory`."""

    def __init__(self) -> None:
        super().__init__()
        self.directory: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.directory is not None:
            with contextlib.suppress(OSError), (self.directory / "run.log").open("a") as file:
                file.write(self.format(record) + "\n")


@contextlib.contextmanager
def logging_to_many(files: RunLogs) -> Iterator[None]:
    """While many runs go on at once: everything into their run.log, and to the terminal each warning once."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = re.sub(
            r"[\d.]+", "#", record.getMessage()
        )  # the same lesson with other numbers is the same lesson
        new = (
            record.name != "mtl_runner.file"
            and record.levelno >= logging.WARNING
            and text not in seen
        )
        seen.add(text)
        return new

    root = logging.getLogger("mtl_runner")
    root.setLevel(logging.INFO)
    root.propagate = False
    terminal = logging.StreamHandler(sys.stdout)
    terminal.addFilter(is_new)
    for handler in (terminal, files):
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in (terminal, files):
            root.removeHandler(handler)
