"""The report of a sweep on the terminal: a line per run that has ended, each notice once, a bar.

It knows neither Hydra nor a launcher, only what runs record in their directories
(:mod:`~mtl_runner.runs.sweep_records`), so all ways of running a sweep show the same. Free of
torch.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mtl_runner.errors.words import counted, duration
from mtl_runner.results.records.summary import Summary
from mtl_runner.results.text import number, printable
from mtl_runner.runs.records import judged_epoch
from mtl_runner.runs.sweep_records import News, SweepRecords, summary_of
from mtl_runner.train.terminal import say

# Seconds between two looks at the directories; on a slow file system a look takes longer, and at
# most this share of the time.
LOOK_EVERY, LOOKING_SHARE = 0.2, 0.05
# The names of runs are padded to the same width, so that their results stand in a column.
NAME_WIDTH = 60


class SweepReport:
    """The report on the runs of a sweep, as they end.

    Args:
        directory: The directory of the sweep.
        total: How many runs the sweep will have; it grows with the runs that begin.

    Attributes:
        total: How many runs the sweep will have, as far as that is known.
        done: How many of them have ended.
        failed: How many of those failed.
        names: What lines call the runs that train next, by their number, where somebody knows
            better than their options.
        current: The report of this process's sweep, for the whole class; None in the process of a
            worker, which has no terminal of its own.

    Example:
        >>> report = SweepReport(Path("sweep"), total=25)
        >>> with report.watching({0: ["seed=0"], 1: ["seed=1"]}):
        ...     report.end_run(1, None, "")
        [ 1 of 25] 1: seed=1  finished
        >>> report.done, report.failed, report.total
        (1, 0, 25)
    """

    current: ClassVar[SweepReport | None] = None

    def __init__(self, directory: Path, total: int = 0) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self.names: Mapping[int, str] = {}
        self._records = SweepRecords(directory)
        self._labels: dict[int, str] = {}
        self._open: set[int] = set()
        self._notices: set[str] = set()
        self._clock = _Clock()
        self._bar: Any = None
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def watching(self, jobs: Mapping[int, Sequence[str]]) -> Iterator[None]:
        """Report the ends of runs while they train.

        Args:
            jobs: The options of each run that is about to train, by its number.
        """
        self._begin(jobs)
        stop = threading.Event()
        thread = threading.Thread(target=self._look_until, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            # Once for the runs, and once for what they said at their very end.
            for _ in range(2):
                self.look()
            self._close_bar()

    def look(self) -> None:
        """Report what has happened since the last look."""
        with self._lock:
            for news in self._records.news():
                self._report(news)
            if self._records.begun:
                self._clock.start()
            self._show_bar()

    def end_run(self, number: int, directory: Path | None, reason: str) -> None:
        """Report the end of a run that its directory has not told: the disk may be full.

        Args:
            number: The number of the run.
            directory: Its directory, if that is known.
            reason: Why it failed; empty if it did not.
        """
        with self._lock:
            summary = {} if directory is None else summary_of(directory)
            self._end(number, {"status": "failed", "reason": reason} if reason else summary)

    def count_earlier(self, runs: int) -> None:
        """Count runs of the sweep that were there before it went on.

        Args:
            runs: How many they are.
        """
        with self._lock:
            self.done += runs
            self.total = max(self.total, self.done)

    def name_of(self, number: int) -> str:
        """Return what lines call a run that trains now.

        Args:
            number: The number of the run.
        """
        return self._labels.get(number, str(number)).strip()

    def time_for(self, runs: int) -> float | None:
        """Return how many seconds so many more runs may take; None before any has ended.

        Args:
            runs: The number of runs.
        """
        return self._clock.time_for(runs)

    @property
    def state(self) -> str:
        """The state of the sweep in words: ``7 of 25, 2 failed, 40 s left``."""
        parts = [f"{self.done} of {self.total}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        left = self.time_for(self.total - self.done)
        if left is not None and self.done < self.total:
            parts.append(f"{duration(max(1, round(left)))} left")
        return ", ".join(parts)

    def _begin(self, jobs: Mapping[int, Sequence[str]]) -> None:
        """Take up runs that are about to train, some of which may have finished before."""
        with self._lock:
            self.total = max(self.total, self.done + len(jobs))
            self._labels, self._open = _labels(jobs, self.names), set(jobs)
            finished = self._records.begin(jobs)
            self._open -= finished
            self.done += len(finished)
            if finished:
                are = "is" if len(finished) == 1 else "are"
                say(f"{counted(len(finished), 'run')} of {self.total} {are} finished already.")
            self._show_bar()

    def _look_until(self, stop: threading.Event) -> None:
        pause = LOOK_EVERY
        while not stop.wait(pause):
            started = time.monotonic()
            self.look()
            pause = max(LOOK_EVERY, (time.monotonic() - started) / LOOKING_SHARE)

    def _report(self, news: News) -> None:
        """Print the notices of a run that no other run had, and its line if it has ended."""
        for notice in news.notices:
            # The same notice with other numbers is the same notice.
            key = re.sub(r"[\d.]+", "#", notice)
            if key not in self._notices:
                self._notices.add(key)
                say(printable(f"note, first in {self.name_of(news.number)}: {notice}"))
        if news.summary:
            self._end(news.number, news.summary)

    def _end(self, number: int, summary: Mapping[str, Any]) -> None:
        """Print the line of a run that has ended, once."""
        if number not in self._open:
            return
        self._open.remove(number)
        self._clock.count()
        failed = summary.get("status") == "failed"
        self.done, self.failed = self.done + 1, self.failed + failed
        self.total = max(self.total, self.done)
        count = f"{self.done:{len(str(self.total))}}"
        line = f"[{count} of {self.total}] {self._labels[number]}  {result_of(summary)}"
        say(printable(line), sys.stderr if failed else sys.stdout)
        self._show_bar()

    def _show_bar(self) -> None:
        """Show the bar, or bring it up to date; only a terminal has one."""
        if self._bar is None:
            if not sys.stderr.isatty():
                return
            from tqdm import tqdm

            self._bar = tqdm(bar_format="{bar:20} {desc}", leave=False, dynamic_ncols=True)
        state = self.state
        if state != self._bar.desc:
            self._bar.total, self._bar.n = self.total, self.done
            self._bar.set_description_str(state)

    def _close_bar(self) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None


@dataclass
class _Clock:
    """The time that the runs of a sweep have taken, and will take.

    Attributes:
        started: When the first run began: imports and the queue of a cluster do not come again.
        last_end: When the last run ended.
        ended: How many have ended.
    """

    started: float | None = None
    last_end: float = field(default_factory=time.monotonic)
    ended: int = 0

    def start(self) -> None:
        """Remember that the first run has begun."""
        if self.started is None:
            self.started = time.monotonic()

    def count(self) -> None:
        """Count a run that has ended."""
        self.start()
        self.ended, self.last_end = self.ended + 1, time.monotonic()

    def time_for(self, runs: int) -> float | None:
        """Return how many seconds so many more runs may take; None before any has ended."""
        if not self.ended or self.started is None:
            return None
        mean = (self.last_end - self.started) / self.ended
        # It counts down while a run trains, and waits for one that takes longer.
        return max(mean * runs - (time.monotonic() - self.last_end), mean * (runs - 1))


def result_of(summary: Mapping[str, Any]) -> str:
    """Return how a run ended, in words.

    Args:
        summary: The content of its summary.json.

    Example:
        >>> monitor = {"name": "relative_loss", "final": 0.5, "best": 0.25}
        >>> result_of({"status": "finished", "monitor": monitor, "time": {"seconds": 3.21}})
        'relative_loss 0.5, 3.2 s'
        >>> early = {"epochs": 10, "given_up": True, "monitor": monitor, "time": {"seconds": 1}}
        >>> result_of({"status": "finished", **early})
        'relative_loss 0.5, given up after epoch 10, 1 s'
        >>> result_of({"status": "failed", "reason": "The loss became nan."})
        'failed: The loss became nan.'
    """
    if summary.get("status", "finished") != "finished":
        return f"{summary['status']}: {summary.get('reason') or 'run.log may say why'}"
    result = Summary.of(summary)
    if not result.monitor.name:
        return "finished"
    value = number(result.monitor.as_recorded(judged_epoch(dict(summary)))) or "nan"
    parts = [f"{result.monitor.name} {value}"]
    if result.given_up:
        parts.append(f"given up after epoch {result.epochs}")
    if result.seconds == result.seconds:
        parts.append(duration(result.seconds))
    return ", ".join(parts)


def varying_options(
    jobs: Mapping[int, Sequence[str]], earlier: Iterable[Iterable[str]] = ()
) -> dict[int, str]:
    """Return the options of each job that not all jobs share.

    Args:
        jobs: The options of each job, by its number; those of a single one are all its own.
        earlier: The options of runs of the same sweep that are no jobs now.

    Example:
        >>> varying_options({2: ["weighting=dwa", "seed=0"]}, [["weighting=fixed", "seed=0"]])
        {2: 'weighting=dwa'}
    """
    every = [set(options) for options in (*jobs.values(), *earlier)]
    shared = set.intersection(*every) if len(every) > 1 else set()
    return {
        job: " ".join(option.lstrip("+") for option in options if option not in shared)
        for job, options in jobs.items()
    }


def _labels(jobs: Mapping[int, Sequence[str]], names: Mapping[int, str]) -> dict[int, str]:
    """Return what a line says of each job: its number, and the options that not all jobs share.

    Example:
        >>> _labels({0: ["data=digits", "seed=0"], 1: ["data=digits", "seed=10"]}, {})
        {0: '0: seed=0 ', 1: '1: seed=10'}
    """
    labels = {}
    for job, options in varying_options(jobs).items():
        label = names.get(job, options)
        labels[job] = f"{job}: {label}" if label else str(job)
    width = min(NAME_WIDTH, max(map(len, labels.values()), default=0))
    return {job: label.ljust(width) for job, label in labels.items()}
