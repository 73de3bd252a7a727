"""Signals that end a run: it saves before it stops, and goes on later as if nothing had happened.

The first Ctrl-C stops a run at its next evaluated epoch, the second one after the current step, the
third one at once. SIGTERM, SIGHUP and SIGUSR1 leave little time, so they stop it after the current
step: a scheduler such as Slurm announces the end of a job by them, and a terminal that it is
closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mtl_runner.config.settings import Settings

# A sweep shows these messages, too, whose runs are silent.
log = logging.getLogger("mtl_runner.signals")

# Windows has only the first one.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
# The process whose signals are taken: a worker that is forked off it inherits the handlers.
_process_id = 0


class StoppedBySignal(KeyboardInterrupt):
    """Raised where a signal stops the command.

    Args:
        number: The signal.

    Example:
        >>> signal_of(StoppedBySignal(signal.SIGTERM)).name
        'SIGTERM'
    """

    def __init__(self, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


class Interrupted(StoppedBySignal):
    """Raised after a request to stop; when it leaves the training loop, everything is saved."""


class Stoppable(Protocol):
    """A training loop that stops at its next evaluated epoch once ``stop`` is set.

    It stops after the current step once ``stop_now`` is set, too.
    """

    stop: bool
    stop_now: bool
    stop_signal: signal.Signals
    epoch: int

    @property
    def settings(self) -> Settings:
        """The settings of the run, for its number of epochs."""


def stops_here(
    training: Stoppable, evaluated: bool, asked: tuple[bool, bool] | None = None
) -> bool:
    """Return whether a training loop has to stop now, at the end of an epoch.

    Args:
        training: The loop; after its last epoch it ends anyway.
        evaluated: Whether the epoch was evaluated.
        asked: What several processes have agreed on, in place of the loop's own ``stop`` and
            ``stop_now``, which a signal may have changed since.

    Example:
        >>> from types import SimpleNamespace
        >>> options = SimpleNamespace(trainer=SimpleNamespace(epochs=9))
        >>> loop = SimpleNamespace(epoch=4, settings=options, stop=True, stop_now=False)
        >>> stops_here(loop, evaluated=False), stops_here(loop, evaluated=True)
        (False, True)
    """
    stop, stop_now = asked or (training.stop, training.stop_now)
    return stop and (evaluated or stop_now) and training.epoch < training.settings.trainer.epochs


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that raised an interrupt: Ctrl-C, unless it knows of another one.

    Args:
        error: The interrupt.
    """
    return error.number if isinstance(error, StoppedBySignal) else signal.SIGINT


def in_words(number: signal.Signals) -> str:
    """Return the name of a signal for a sentence.

    Example:
        >>> in_words(signal.SIGINT), in_words(signal.SIGTERM)
        ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if number == signal.SIGINT else number.name


def exit_code(number: signal.Signals) -> int:
    """Return the exit status of a command that a signal has stopped.

    Example:
        >>> exit_code(signal.SIGINT), exit_code(signal.SIGTERM)
        (130, 143)
    """
    return 128 + number


def take_signals() -> None:
    """Let SIGTERM, SIGHUP and SIGUSR1 stop the command by an exception, as Ctrl-C does.

    A signal that is ignored (``nohup``), or that the program takes itself, stays as it is.
    """
    global _process_id
    if threading.current_thread() is not threading.main_thread():
        return
    _process_id = os.getpid()
    for number in STOP_SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop_at_once)


@contextlib.contextmanager
def graceful_interruption(training: Stoppable) -> Iterator[None]:
    """Turn signals into a request to stop; only Ctrl-C stops at once, when it is in a hurry.

    That is the third one, or one after another signal.

    Outside the main thread, where Python takes no signals, nothing changes. Signals other than
    Ctrl-C are taken in our own commands only (:func:`take_signals`).

    Args:
        training: The loop that is asked to stop.

    Example:
        >>> from types import SimpleNamespace
        >>> training = SimpleNamespace(stop=False, stop_now=False)
        >>> with graceful_interruption(training):
        ...     signal.raise_signal(signal.SIGINT)
        >>> training.stop
        True
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request_stop(signum: int, frame: Any) -> None:
        del frame
        number = signal.Signals(signum)
        if _is_for_another_process(number):
            return
        if training.stop_now:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        training.stop_now = number != signal.SIGINT or training.stop
        training.stop, training.stop_signal = True, number
        if number != signal.SIGINT:
            log.info("%s: stopping after this step.", number.name)
        elif training.stop_now:
            log.info("Stopping after this step; press Ctrl-C again to stop at once.")
        else:
            log.info(
                "Stopping at the next evaluated epoch; press Ctrl-C again to stop after this step."
            )

    taken = [number for number in STOP_SIGNALS if signal.getsignal(number) == _stop_at_once]
    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, *taken)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_at_once(signum: int, frame: Any) -> None:
    """Stop the command, where no run trains."""
    del frame
    number = signal.Signals(signum)
    if not _is_for_another_process(number):
        raise StoppedBySignal(number)


def _is_for_another_process(number: signal.Signals) -> bool:
    """Do what has to be done about a signal before it is obeyed.

    Returns:
        Whether it is not for a run: a worker that was forked off ends as it would have without us.
    """
    if number in STOP_SIGNALS and os.getpid() != _process_id:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        return True
    if number.name == "SIGHUP":
        # The terminal is gone: writing to it is an error, which would end the run before it saves.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None and stream.isatty():
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return False
