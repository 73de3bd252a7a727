"""Ctrl-C asks a training loop to stop; a second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from types import SimpleNamespace

import pytest

from mtl_runner.train.interruption import graceful_interruption


def test_the_first_interrupt_asks_and_the_second_stops(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if Ctrl-C loses the current epoch, or a loop that hangs cannot be stopped."""
    training = SimpleNamespace(stop=False)
    caplog.set_level(logging.INFO, "mtl_runner")
    with graceful_interruption(training):
        signal.raise_signal(signal.SIGINT)
        assert training.stop
        assert "press Ctrl-C again to stop at once" in caplog.text
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_before_is_put_back() -> None:
    """Breaks if Ctrl-C after a run, or in an embedding program, only sets a flag."""
    before = signal.getsignal(signal.SIGINT)
    with contextlib.suppress(ValueError), graceful_interruption(SimpleNamespace(stop=False)):
        assert signal.getsignal(signal.SIGINT) is not before
        raise ValueError("in training")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_changes() -> None:
    """Breaks if a run in a thread fails, since Python takes signals in the main thread alone."""
    before, handlers = signal.getsignal(signal.SIGINT), []

    def train() -> None:
        with graceful_interruption(SimpleNamespace(stop=False)):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert handlers == [before]
