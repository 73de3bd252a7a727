"""Ctrl-C: the first one stops a run at its next evaluated epoch, the second one at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol

log = logging.getLogger("mtl_runner")


class Interrupted(KeyboardInterrupt):
    """Raised after a request to stop, when the last evaluated epoch is saved."""


class Stoppable(Protocol):
    """A training loop that stops at its next evaluated epoch once ``stop`` is set."""

    stop: bool


@contextlib.contextmanager
def graceful_interruption(training: Stoppable) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop, and let the second one stop at once.

    Outside the main thread, where Python takes no signals, nothing changes.

    Args:
        training: The loop that is asked to stop.

    Example:
        >>> from types import SimpleNamespace
        >>> training = SimpleNamespace(stop=False)
        >>> with graceful_interruption(training):
        ...     signal.raise_signal(signal.SIGINT)
        >>> training.stop
        True
    """
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
