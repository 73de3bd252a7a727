"""The messages of a run: on the terminal and in its run.log."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtl_runner.files import open_to_append


class _RunLog(logging.FileHandler):
    """A handler for run.log that a full disk does not stop; the terminal shows the message."""

    def _open(self) -> Any:
        return _open_at_end(Path(self.baseFilename))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


@contextlib.contextmanager
def logging_to(directory: Path) -> Iterator[None]:
    """Send messages to the terminal and to ``run.log``; tracebacks only to ``run.log``.

    Args:
        directory: The run directory that ``run.log`` lies in.
    """
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
    r"""A logging handler for many runs at once: a message goes into the run.log of one of them.

    Attributes:
        directory: The run directory that messages belong to now; None to drop them.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> logs = RunLogs()
        >>> logs.directory = Path(folder.name)
        >>> logs.emit(logging.LogRecord("mtl_runner", logging.INFO, "", 0, "epoch 1", (), None))
        >>> (logs.directory / "run.log").read_text()
        'epoch 1\n'
        >>> folder.cleanup()
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Append a message to the run.log of :attr:`directory`."""
        if self.directory is not None:
            with contextlib.suppress(OSError), _open_at_end(self.directory / "run.log") as file:
                file.write(self.format(record) + "\n")


@contextlib.contextmanager
def logging_to_many(logs: RunLogs) -> Iterator[None]:
    """Send all messages to the run.log of their run, and each warning once to the terminal.

    Args:
        logs: The handler that knows which run a message belongs to.
    """
    seen: set[str] = set()

    def is_new_warning(record: logging.LogRecord) -> bool:
        # The same warning with other numbers is the same warning.
        text = re.sub(r"[\d.]+", "#", record.getMessage())
        is_new = (
            record.name != "mtl_runner.file"
            and record.levelno >= logging.WARNING
            and text not in seen
        )
        seen.add(text)
        return is_new

    root = logging.getLogger("mtl_runner")
    root.setLevel(logging.INFO)
    root.propagate = False
    terminal = logging.StreamHandler(sys.stdout)
    terminal.addFilter(is_new_warning)
    for handler in (terminal, logs):
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in (terminal, logs):
            root.removeHandler(handler)


def _open_at_end(path: Path) -> Any:
    """Open a run.log at its end; what is no regular file there, as a link, is an ``OSError``."""
    return os.fdopen(open_to_append(path), "a", encoding="utf-8", errors="backslashreplace")
