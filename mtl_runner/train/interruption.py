"""Ctrl-C: the first one stops a run or a stack at its next evaluated epoch, the second one at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol

log = logging.getLogger("mtl_runner")


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; the last evaluated epoch is saved."""


class Stoppable(Protocol):
    """What trains until it is asked to stop."""

    stop: bool


@contextlib.contextmanager
def gracefully(training: Stoppable) -> Iterator[None]:
    """First Ctrl-C: go on to the next evaluated epoch, save, stop. Second: stop at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request_stop(signum: int, frame: Any) -> None:
        del signum, frame
        if training.stop:
            raise KeyboardInterrupt
        training.stop = True
        log.info("Stopping at the next evaluated epoch; press Ctrl-C again to stop at once.")

    previous = signal.signal(signal.SIGINT, request_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
