"""Runs in processes of their own, as many at a time as there are places for them.

A process trains one run or a stack of runs; one that dies loses no runs but its own. Free of torch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_runner.errors.words import counted
from mtl_runner.files import open_to_append, read_regular
from mtl_runner.runs.process import command_of, environment_of
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.train.interruption import STOP_SIGNALS, StoppedBySignal, in_words
from mtl_runner.train.terminal import say

# Seconds between two looks at the processes.
LOOK_EVERY = 0.05
# What the process of a run prints, beside run.log; not more of it is read for its last line.
PROCESS_LOG = Path(".hydra") / "process.log"
LOG_BYTES = 1 << 26
GO_ON = "the same command with hydra.sweep.dir={sweep} resume=true goes on with it"


@dataclass(frozen=True)
class Work:
    """The runs of one process.

    Attributes:
        numbers: The numbers of its runs.
        path: The directory of the run, or the file that lists those of a stack.
        places: How many different places it takes.

    Example:
        >>> Work((3,), Path("sweep/3_run")).log.as_posix()
        'sweep/3_run/.hydra/process.log'
        >>> Work((3, 4), Path("sweep/stacks/stack_3_run.json")).log.as_posix()
        'sweep/stacks/stack_3_run.log'
    """

    numbers: tuple[int, ...]
    path: Path
    places: int = 1

    @property
    def log(self) -> Path:
        """The file of what the process prints, beside the run.log of each run."""
        is_stack = len(self.numbers) > 1
        return self.path.with_suffix(".log") if is_stack else self.path / PROCESS_LOG


@dataclass
class Running:
    """A process at work.

    Attributes:
        work: What it trains.
        process: The process.
        places: The places that it takes.
    """

    work: Work
    process: subprocess.Popen[bytes]
    places: list[str]


@dataclass
class RunProcesses:
    """Runs in a queue, trained by processes of their own.

    Attributes:
        requests: The runs, by their number; they are recorded in their directories (``enqueue``).
        works: What each process trains; together it is all runs.
        places: The places where a process may train: names of GPUs, or empty texts for cores.
        most: The most processes at a time.
        retries: How often a process that died starts again, where its runs stopped.
        threads: How many CPU threads a process takes where its run does not say it.
        prefix: What the keys of the launcher begin with, for reasons.
        outcomes: How the runs ended, by their number.

    Example:
        >>> processes = RunProcesses({}, [], [""])
        >>> processes.run()
        >>> processes.outcomes
        {}
    """

    requests: Mapping[int, Request]
    works: Sequence[Work]
    places: Sequence[str]
    most: int = 1
    retries: int = 0
    threads: int = 1
    prefix: str = "hydra.launcher."
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._free = list(self.places)
        self._deaths: Counter[Work] = Counter()
        self._running: list[Running] = []

    def run(self) -> None:
        """Train all runs.

        Raises:
            StoppedBySignal: After Ctrl-C or SIGTERM, when the runs have saved.
        """
        waiting = deque(self.works)
        stopped_by: signal.Signals | None = None
        with _noted_signals() as signals:
            while waiting or self._running:
                while signals:
                    # Each process stops as a single run does: Ctrl-C may come several times.
                    number = signals.popleft()
                    stopped_by = stopped_by or number
                    waiting.clear()
                    for running in self._running:
                        running.process.send_signal(number)
                    stopping = sum(len(running.work.numbers) for running in self._running)
                    verbs = "saves and stops" if stopping == 1 else "save and stop"
                    say(f"{in_words(number)}: {counted(stopping, 'run')} {verbs}.")
                while waiting and (places := self._places_for(waiting[0])):
                    self._start(waiting.popleft(), places)
                for running in [r for r in self._running if r.process.poll() is not None]:
                    self._running.remove(running)
                    self._free = self._sorted([*self._free, *running.places])
                    if self._end(running, stopped_by is not None):
                        waiting.append(running.work)
                time.sleep(LOOK_EVERY)
        if stopped_by is not None:
            raise StoppedBySignal(stopped_by)

    def _places_for(self, work: Work) -> list[str]:
        """Return free places for a process, of different GPUs; empty if it has to wait."""
        if len(self._running) >= self.most:
            return []
        free = list(dict.fromkeys(self._free)) if any(self._free) else self._free
        return free[: work.places] if len(free) >= work.places else []

    def _sorted(self, places: list[str]) -> list[str]:
        order = list(self.places)
        return sorted(places, key=order.index)

    def _start(self, work: Work, places: list[str]) -> None:
        """Start a process."""
        for place in places:
            self._free.remove(place)
        # The file of a stack holds the labels of its runs.
        job = self.requests[work.numbers[0]].job if len(work.numbers) == 1 else ""
        environment = {"OMP_NUM_THREADS": str(self.threads), **environment_of(job)}
        if any(places):
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(places)
        log: Any = subprocess.DEVNULL
        # That a file cannot be written is for the run itself to say.
        with contextlib.suppress(OSError):
            log = open_to_append(work.log)
        try:
            process = subprocess.Popen(
                command_of(work.path),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # A Ctrl-C at the terminal reaches this process only, which passes it on.
                process_group=0 if os.name == "posix" else None,
            )
        finally:
            if log != subprocess.DEVNULL:
                os.close(log)
        self._running.append(Running(work, process, places))

    def _end(self, running: Running, stopping: bool) -> bool:
        """Record how the runs of a process ended.

        Args:
            running: The process, which has ended.
            stopping: Whether the whole sweep stops.

        Returns:
            Whether it is to start again.
        """
        from mtl_runner.runs.queued import record_death, recorded_outcome, was_interrupted

        work, code = running.work, running.process.returncode
        recorded = {number: recorded_outcome(self.requests[number]) for number in work.numbers}
        died = [
            number
            for number, outcome in recorded.items()
            if outcome is None or was_interrupted(self.requests[number].directory)
        ]
        if died and not stopping:
            self._deaths[work] += 1
            if self._deaths[work] <= self.retries:
                more = f" and {len(died) - 1} more" if len(died) > 1 else ""
                label = f"{self.requests[died[0]].job}{more}"
                say(f"[{label}] {_cause(code)}; it starts again where it stopped.")
                return True
        for number, outcome in recorded.items():
            if outcome is None and stopping:
                # A run that had not begun to train keeps its place in the queue.
                outcome = Outcome(error="stopped before it began to train", exit_code=1)
            if outcome is None:
                outcome = record_death(self.requests[number], self._reason(code, work, number))
            self.outcomes[number] = outcome
        return False

    def _reason(self, code: int, work: Work, number: int) -> str:
        """Return the sentence about a process that ended without recording how a run did."""
        go_on = GO_ON.format(sweep=self.requests[number].directory.parent)
        if code < 0:
            help_ = "" if self.retries else f", {self.prefix}retries=1 does so by itself"
            return f"{_cause(code)}; {go_on}{help_}."
        return _last_line(work.log) or f"The process of the run ended with status {code}; {go_on}."


def _cause(code: int) -> str:
    """Return how a process ended.

    Example:
        >>> _cause(-9)
        'The process of the run was killed by SIGKILL (no memory left, or by hand)'
    """
    if code >= 0:
        return "The process of the run was stopped"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    why = " (no memory left, or by hand)" if name == "SIGKILL" else ""
    return f"The process of the run was killed by {name}{why}"


def _last_line(path: Path) -> str:
    """Return the last line that a process printed; empty if there is none."""
    try:
        text = read_regular(path, LOG_BYTES).decode(errors="replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


@contextlib.contextmanager
def _noted_signals() -> Iterator[deque[signal.Signals]]:
    """Note the signals that would stop the command, instead of obeying them.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    noted: deque[signal.Signals] = deque()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        del frame
        noted.append(signal.Signals(number))

    numbers = [n for n in (signal.SIGINT, *STOP_SIGNALS) if signal.getsignal(n) != signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
