"""The messages of a run: on the terminal, in its run.log, and its notices for a sweep."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtl_runner.files import open_to_append
from mtl_runner.train import interruption
from mtl_runner.train.terminal import say

# The warnings of a run in a sweep, one a line: the sweep shows each of them once.
NOTICES = Path(".hydra") / "notices.log"
# What tracebacks are logged to, which only run.log shows, and answers to Ctrl-C, which a sweep
# shows, too.
FILE, SIGNALS = "mtl_runner.file", interruption.log.name


class _Terminal(logging.Handler):
    """A handler that prints messages above a bar; those of a sweep's runs only after Ctrl-C.

    Args:
        everything: Whether this is a single run, all of whose messages are shown.
    """

    def __init__(self, everything: bool = True) -> None:
        super().__init__()
        self.everything = everything

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == SIGNALS or (self.everything and record.name != FILE):
            try:
                say(self.format(record))
            except Exception:
                self.handleError(record)


class RunLogs(logging.Handler):
    r"""A logging handler for many runs: a message goes into the run.log of one of them.

    Warnings go to the notices of the run, too, which its sweep shows. A full disk stops nothing.

    Attributes:
        directory: The run directory that messages belong to now; None to drop them.
        in_sweep: Whether the runs belong to a sweep.

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

    def __init__(self, directory: Path | None = None, in_sweep: bool = True) -> None:
        super().__init__()
        self.directory, self.in_sweep = directory, in_sweep

    def emit(self, record: logging.LogRecord) -> None:
        """Append a message to the run.log of :attr:`directory`."""
        if self.directory is None:
            return
        text = self.format(record)
        self._append(self.directory / "run.log", text)
        if self.in_sweep and record.levelno >= logging.WARNING and record.name != FILE:
            self._append(self.directory / NOTICES, " ".join(text.split()))

    @staticmethod
    def _append(path: Path, text: str) -> None:
        with contextlib.suppress(OSError), _open_at_end(path) as file:
            file.write(f"{text}\n")


@contextlib.contextmanager
def logging_to(directory: Path, in_sweep: bool = False, terminal: bool = True) -> Iterator[None]:
    """Send messages to the terminal and to ``run.log``; tracebacks only to ``run.log``.

    Args:
        directory: The run directory that ``run.log`` lies in.
        in_sweep: Whether the run belongs to a sweep, which shows its warnings.
        terminal: Whether the terminal shows the messages.
    """
    with _handled_by(_Terminal(terminal), RunLogs(directory, in_sweep)):
        logging.getLogger(FILE).info("%s", time.strftime("%Y-%m-%d %H:%M:%S"))
        yield


@contextlib.contextmanager
def logging_to_many(logs: RunLogs) -> Iterator[None]:
    """Send all messages to the run.log of their run.

    Args:
        logs: The handler that knows which run a message belongs to.
    """
    with _handled_by(_Terminal(everything=False), logs):
        yield


@contextlib.contextmanager
def _handled_by(*handlers: logging.Handler) -> Iterator[None]:
    """Give our messages to these handlers alone."""
    root = logging.getLogger("mtl_runner")
    root.setLevel(logging.INFO)
    root.propagate = False
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)


def _open_at_end(path: Path) -> Any:
    """Open a run.log at its end; what is no regular file there, as a link, is an ``OSError``."""
    return os.fdopen(open_to_append(path), "a", encoding="utf-8", errors="backslashreplace")
