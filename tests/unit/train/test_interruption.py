"""Signals ask a training loop to stop; a third Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from mtl_runner.train.interruption import (
    STOP_SIGNALS,
    StoppedBySignal,
    graceful_interruption,
    take_signals,
)


@pytest.fixture
def signals_taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the signals as the command does, and give them back."""
    # SIGHUP turns a terminal off, which may be that of the tests.
    for name in ("__stdout__", "__stderr__"):
        monkeypatch.setattr(sys, name, None)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    take_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def loop(stop: bool = False) -> SimpleNamespace:
    """Return the part of a training loop that the signals set."""
    return SimpleNamespace(stop=stop, stop_now=False, stop_signal=signal.SIGINT)


def test_interrupts_ask_twice_and_then_stop(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if Ctrl-C loses what is trained, or a loop that hangs cannot be stopped."""
    training = loop()
    caplog.set_level(logging.INFO, "mtl_runner")
    with graceful_interruption(training):
        signal.raise_signal(signal.SIGINT)
        assert (training.stop, training.stop_now) == (True, False)
        signal.raise_signal(signal.SIGINT)
        assert training.stop_now
        assert caplog.messages == [
            "Stopping at the next evaluated epoch; press Ctrl-C again to stop after this step.",
            "Stopping after this step; press Ctrl-C again to stop at once.",
        ]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_before_is_put_back() -> None:
    """Breaks if Ctrl-C after a run, or in an embedding program, only sets a flag."""
    before = signal.getsignal(signal.SIGINT)
    with contextlib.suppress(ValueError), graceful_interruption(loop()):
        assert signal.getsignal(signal.SIGINT) is not before
        raise ValueError("in training")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_changes() -> None:
    """Breaks if a run in a thread fails, since Python takes signals in the main thread alone."""
    before, handlers = signal.getsignal(signal.SIGINT), []

    def train() -> None:
        with graceful_interruption(loop()):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert handlers == [before]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_scheduler_asks_once_and_for_all(
    signals_taken: None, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    """Breaks if the second signal of a scheduler stops a run that is about to save."""
    training = loop()
    caplog.set_level(logging.INFO, "mtl_runner")
    with graceful_interruption(training):
        for _ in range(2):
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert (training.stop, training.stop_now, training.stop_signal) == (True, True, number)
        assert caplog.messages == [f"{number.name}: stopping after this step."]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_scheduler_is_in_more_of_a_hurry_than_ctrl_c(signals_taken: None) -> None:
    """Breaks if a run that waits for its next evaluated epoch is killed by the scheduler there."""
    training = loop()
    with graceful_interruption(training):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert (training.stop_now, training.stop_signal) == (True, signal.SIGTERM)


def test_outside_of_a_training_a_signal_stops_the_command(signals_taken: None) -> None:
    """Breaks if the command ends by SIGTERM without a word while it reads its data."""
    with graceful_interruption(loop()):
        pass
    with pytest.raises(StoppedBySignal) as error:
        signal.raise_signal(signal.SIGTERM)
    assert error.value.number == signal.SIGTERM


def test_what_is_ignored_or_taken_stays_so() -> None:
    """Breaks if nohup does not hold, or a program that embeds a run loses its own handler."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handlers = {signal.SIGHUP: signal.SIG_IGN, signal.SIGTERM: lambda number, frame: None}
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        take_signals()
        with graceful_interruption(loop()):
            assert {number: signal.getsignal(number) for number in handlers} == handlers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_forked_worker_ends_as_it_would_without_us(signals_taken: None) -> None:
    """Breaks if a data loader's workers cannot be terminated, or print a traceback then."""
    training = loop()
    with graceful_interruption(training):
        is_up, tells = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tells, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(is_up, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    for descriptor in (is_up, tells):
        os.close(descriptor)
    assert not training.stop
