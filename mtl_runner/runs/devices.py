"""One run on several devices: a process each, started here or by ``torchrun``.

The process that was asked for the run claims its directory. It starts the processes that train,
waits for them, and says how they ended; under ``torchrun`` they are there already, the first of
them was asked for the run, and it tells the others which run it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.multiprocessing.spawn import start_processes

from mtl_runner.compat.torch_stores import (
    Store,
    connect_store,
    host_store,
    store_with_prefix,
    torchrun_store,
)
from mtl_runner.config.settings import Settings, TrainerOptions
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.device import choose_device
from mtl_runner.gradients.ranks import RankFailure, Ranks, Reports, joined
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.train.interruption import STOP_SIGNALS, take_signals

# Seconds that processes have to end by themselves after one of them has failed.
GRACE = 20.0
# Seconds between looks at the processes.
LOOK = 0.1
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# The environment variable with the process that torchrun has started: it has others of its own.
STARTED = "MTL_RUNNER_TORCHRUN"

#: Trains a run as one of several processes.
Train = Callable[[Request, Ranks], Outcome]


def count_devices(request: Request) -> int:
    """Return on how many devices of this machine a run trains.

    Args:
        request: The run that is asked for.

    Raises:
        ConfigError: If they are more than there are.
    """
    node: Any = OmegaConf.to_container(request.config, resolve=True)
    if node["trainer"].get("devices", 1) == 1:
        return 1
    options = Settings.read(node).trainer
    return _count(options)


def _count(options: TrainerOptions) -> int:
    is_cuda = choose_device(options.device).type == "cuda"
    gpus = torch.cuda.device_count() if is_cuda else 0
    if options.devices == "auto":
        return max(1, gpus)
    count = int(options.devices)
    if is_cuda and count > gpus:
        raise ConfigError(
            f"trainer.devices={count}, but this machine has {gpus} GPU{'s' * (gpus != 1)}; use auto, or trainer.device=cpu."
        )
    return count


def train_on_devices(request: Request, count: int, train: Train) -> Outcome:
    """Train a run by several processes of this machine, in its claimed directory.

    Args:
        request: The run that is asked for.
        count: Number of processes.
        train: What each of them does; a function of a module.

    Returns:
        How the run ended, as its first process says. If that one had no time to say it, the
        outcome holds the reason, which is still to be recorded.
    """
    timeout = Settings.read(
        OmegaConf.to_container(request.config, resolve=True)  # type: ignore[arg-type]
    ).trainer.timeout
    store = host_store()
    reports = Reports(store)
    request = replace(request, hydra=None)
    with _held_back_signals() as signals:
        context = start_processes(  # type: ignore[no-untyped-call]
            _rank_process,
            (request, count, store.port, timeout, train),
            nprocs=count,
            join=False,
            start_method="spawn",
        )
        _wait(context.processes, reports, signals)
    if store.check(["outcome 0"]):
        return _outcome(json.loads(store.get("outcome 0")))
    failure = reports.failure() or RankFailure("The processes of this run ended without a result.")
    return Outcome(error=failure.sentence, exit_code=1)


def _wait(processes: list[Any], reports: Reports, signals: list[signal.Signals]) -> None:
    """Wait for processes, pass signals on, and end them all when one has failed."""
    alive = dict(enumerate(processes))
    end: float | None = None
    while alive:
        multiprocessing.connection.wait([p.sentinel for p in alive.values()], LOOK)
        for rank, process in list(alive.items()):
            if not process.is_alive():
                process.join()
                del alive[rank]
                if process.exitcode:
                    reports.fail(RankFailure(_end_in_words(rank, len(processes), process.exitcode)))
        if signals and alive and reports.store.check(["ready"]):
            # One process hears of it and tells the others at the end of a step.
            os.kill(next(iter(alive.values())).pid, signals.pop(0))
        if end is None and reports.failure() is not None:
            end = time.monotonic() + GRACE
        if end is not None and time.monotonic() > end:
            for process in alive.values():
                process.kill()


def _end_in_words(rank: int, count: int, exit_code: int) -> str:
    """Return a sentence about a process that ended without a word."""
    name = f"Process {rank + 1} of {count}"
    if exit_code >= 0:
        return f"{name} ended with exit status {exit_code}; what it printed last says more."
    number = signal.Signals(-exit_code).name
    why = ", as happens when memory runs out" if number == "SIGKILL" else ""
    return f"{name} was killed by {number}{why}."


@contextlib.contextmanager
def _held_back_signals() -> Iterator[list[signal.Signals]]:
    """Collect the signals to this process, which are for those that train, in a ``with`` block."""
    signals: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def hold_back(number: int, frame: Any) -> None:
        del frame
        signals.append(signal.Signals(number))

    default = (signal.SIG_DFL, signal.SIG_IGN)
    numbers = [signal.SIGINT, *(n for n in STOP_SIGNALS if signal.getsignal(n) not in default)]
    previous = {number: signal.signal(number, hold_back) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _rank_process(
    rank: int, request: Request, count: int, port: int, timeout: float, train: Train
) -> None:
    """Train a run as one of several processes, and leave word how it ended."""
    # Loaders start their workers as in any other process, and not as this one was started.
    multiprocessing.set_start_method(None, force=True)
    # A Ctrl-C at the terminal comes by the process that waits, and only once.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if sys.platform == "linux":
        # All are on this machine, whatever its name resolves to.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = connect_store(port)
    ranks = Ranks(rank, count, rank, count, Reports(store), timeout)
    take_signals()
    if ranks.writes:
        store.set("ready", "")
    outcome = train(request, ranks)
    store.set(f"outcome {rank}", json.dumps(_plain(outcome)))


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, and no longer holds the lock."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        # Windows knows only the second one, which is as sudden there.
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _plain(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain values."""
    return {
        "monitor": outcome.monitor,
        "error": outcome.error,
        "exit_code": outcome.exit_code,
        "stopped_by": None if outcome.stopped_by is None else int(outcome.stopped_by),
    }


def _outcome(plain: Mapping[str, Any]) -> Outcome:
    number = plain["stopped_by"]
    return Outcome(**{**plain, "stopped_by": None if number is None else signal.Signals(number)})


@contextlib.contextmanager
def joined_with_device(request: Request, ranks: Ranks) -> Iterator[None]:
    """Join the other processes, each with a device of its own, within a ``with`` block.

    Args:
        request: The run that is asked for.
        ranks: This process.
    """
    is_cuda = choose_device(str(request.config.trainer.device)).type == "cuda"
    if is_cuda:
        torch.cuda.set_device(ranks.local_rank)
    with contextlib.nullcontext() if ranks.writes else _silence(), joined(ranks, is_cuda):
        yield


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the messages and warnings of this process to itself: another one says the same."""
    root = logging.getLogger("mtl_runner")
    handler = logging.NullHandler()
    root.addHandler(handler)
    propagate, root.propagate = root.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        root.propagate = propagate


@dataclass
class Torchrun:
    """This process as one of those that ``torchrun`` has started.

    Attributes:
        rank: Number of this process, counted from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine.
        local_size: Number of processes on this machine.
        jobs: Number of runs that the first process has told the others.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    jobs: int = 0
    _store: Store = None

    @classmethod
    def of_environment(cls) -> Torchrun | None:
        """Return this process, or None if ``torchrun`` has not started it, or no other one."""
        if not all(name in os.environ for name in TORCHRUN):
            return None
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in TORCHRUN[:4])
        return cls(rank, size, local_rank, local_size) if size > 1 else None

    @property
    def store(self) -> Store:
        """The store that all processes can reach."""
        if self._store is None:
            self._store = torchrun_store()
        return self._store

    def with_devices(self, request: Request) -> Request:
        """Return the request with the number of processes as its devices.

        Args:
            request: The run that is asked for.

        Raises:
            ConfigError: If it asks for another number.
        """
        asked = request.config.trainer.get("devices", 1)
        if asked not in (1, "auto", self.size):
            raise ConfigError(
                f"trainer.devices={asked}, but torchrun has started {self.size} processes; leave trainer.devices out."
            )
        config = request.config.copy()
        OmegaConf.update(config, "trainer.devices", self.size, force_add=True)
        return replace(request, config=config)

    def tell(self, request: Request) -> Ranks:
        """Tell the other processes which run is next; return this one as one of them."""
        self.jobs += 1
        plain = replace(request, hydra=None)
        self.store.set(f"job {self.jobs}", pickle.dumps(plain))
        return self._ranks(request)

    def end(self) -> None:
        """Tell the other processes that there is no more run."""
        with contextlib.suppress(RuntimeError):
            self.store.set(f"job {self.jobs + 1}", b"")

    def follow(self, train: Train) -> None:
        """Take part in one run after another, as the first process tells.

        Args:
            train: Trains a run as one of several processes.
        """
        while True:
            self.jobs += 1
            key = f"job {self.jobs}"
            while not self.store.check([key]):
                time.sleep(LOOK)
            message = self.store.get(key)
            if not message:
                return
            request: Request = pickle.loads(message)
            train(request, self._ranks(request))

    def _ranks(self, request: Request) -> Ranks:
        timeout = float(request.config.trainer.get("timeout", TrainerOptions.timeout))
        board = store_with_prefix(f"run {self.jobs}", self.store)
        return Ranks(
            self.rank, self.size, self.local_rank, self.local_size, Reports(board), timeout
        )


_torchrun: Torchrun | None = None


def torchrun() -> Torchrun | None:
    """Return this process as one that ``torchrun`` has started with others; None otherwise.

    Raises:
        ConfigError: If this is a process that one of those has started.
    """
    global _torchrun
    if _torchrun is None:
        launched = Torchrun.of_environment()
        if launched is None:
            return None
        if os.environ.setdefault(STARTED, str(os.getpid())) != str(os.getpid()):
            raise ConfigError(
                "torchrun shares out one run after another, so a launcher cannot start several of them; leave out hydra/launcher, or leave out torchrun and set trainer.devices."
            )
        _torchrun = launched
    return _torchrun
