"""The records that the runs of a sweep write into their directories, read while they train.

A run records its state itself, in whatever process and on whatever machine it trains. Free of
torch.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import read_regular
from mtl_runner.results.records.reading import UnreadableError
from mtl_runner.results.records.summary import check_summary
from mtl_runner.runs.logs import NOTICES
from mtl_runner.runs.records import read_summary

# How deep below the sweep's directory a run may lie, and how much is read of its notices.
DEPTH, NOTICE_BYTES = 4, 1 << 20
ENDS = ("finished", "failed")

Options = tuple[str, ...]


@dataclass(frozen=True)
class News:
    """The news about a run.

    Attributes:
        number: The number of its job.
        notices: Its new notices.
        summary: The content of its summary.json if it has just ended, else empty.
    """

    number: int
    notices: Sequence[str] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Record:
    """The state of a run directory, as far as it has been read.

    Attributes:
        stamp: What tells an old summary.json from a new one; None if there was none.
        status: The status of the run, since its job was given away.
        number: The number of its job; None if it is none of those that train now.
        notices: The size of its notices so far.
        ended: Whether its end was reported.
        closed: Whether nothing can come any more.
    """

    stamp: tuple[int, int] | None = None
    status: str = ""
    number: int | None = None
    notices: int = 0
    ended: bool = False
    closed: bool = False


@dataclass
class SweepRecords:
    """The directories of a sweep's runs, and what was read of them so far.

    Attributes:
        directory: The directory of the sweep.
        begun: Whether a run has been seen at work.

    Example:
        >>> import json, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> records = SweepRecords(Path(folder.name))
        >>> records.begin({0: ["seed=0"], 1: ["seed=1"]})
        set()
        >>> run = Path(folder.name) / "0_run"
        >>> (run / ".hydra").mkdir(parents=True)
        >>> record = {"status": "failed", "reason": "No data.", "overrides": ["seed=0"]}
        >>> _ = (run / "summary.json").write_text(json.dumps(record))
        >>> [(news.number, news.summary["reason"]) for news in records.news()]
        [(0, 'No data.')]
        >>> list(records.news())
        []
        >>> folder.cleanup()
    """

    directory: Path
    begun: bool = False

    _waiting: dict[Options, list[int]] = field(default_factory=dict)
    _records: dict[Path, _Record] = field(default_factory=lambda: defaultdict(_Record))

    def begin(self, jobs: Mapping[int, Sequence[str]]) -> set[int]:
        """Take up runs that are about to train.

        Args:
            jobs: Their options, by their number.

        Returns:
            The numbers of those that finished before.
        """
        self._waiting = {}
        for number, options in jobs.items():
            self._waiting.setdefault(tuple(options), []).append(number)
        finished = set()
        for directory in self._directories(self.directory):
            record, summary = self._records[directory], summary_of(directory)
            record.stamp, record.status = _stamp(directory / "summary.json"), ""
            record.notices = _size(directory / NOTICES)
            record.number = self._take_number(directory, summary)
            if record.number is not None and summary.get("status") == "finished":
                record.ended = record.closed = True
                finished.add(record.number)
        return finished

    def news(self) -> Iterator[News]:
        """Yield what is new about each run since the last call."""
        for directory in self._directories(self.directory):
            news = self._news_of(directory)
            if news is not None:
                yield news

    def _directories(self, folder: Path, depth: int = DEPTH) -> Iterator[Path]:
        """Yield the run directories in a folder about which there may be news."""
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: _number_in(entry.name)):
                path = folder / entry.name
                known = self._records.get(path)
                if known is not None:
                    if not known.closed:
                        yield path
                elif entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                    continue
                elif (path / ".hydra").is_dir():
                    yield path
                elif depth > 1:
                    yield from self._directories(path, depth - 1)

    def _news_of(self, directory: Path) -> News | None:
        record, summary = self._records[directory], dict[str, Any]()
        stamp = _stamp(directory / "summary.json")
        if stamp is not None and stamp != record.stamp:
            summary = summary_of(directory)
            record.stamp, record.status = stamp, str(summary.get("status", ""))
            if record.number is None:
                record.number = self._take_number(directory, summary)
        if record.number is None or record.status not in ("running", *ENDS):
            return None
        self.begun = True
        notices = _new_notices(directory / NOTICES, record)
        if record.ended:
            # The last words of a run come after its results: it was worth one more look.
            record.closed = True
        elif record.status in ENDS:
            record.ended = True
            return News(record.number, notices, summary)
        return News(record.number, notices) if notices else None

    def _take_number(self, directory: Path, summary: Mapping[str, Any]) -> int | None:
        """Return the number of the job that a directory belongs to, which then is taken.

        A repeated run records the options that it repeats before its own.
        """
        recorded = summary.get("overrides")
        if not isinstance(recorded, list):
            return None
        for options, numbers in self._waiting.items():
            if numbers and tuple(recorded[len(recorded) - len(options) :]) == options:
                in_name = _number_in(directory.name)
                number = in_name if in_name in numbers else numbers[0]
                numbers.remove(number)
                return number
        return None


def summary_of(directory: Path) -> dict[str, Any]:
    """Return the content of a run's summary.json; empty if it cannot be used.

    Args:
        directory: The run directory.

    Example:
        >>> summary_of(Path("no/such/run"))
        {}
    """
    with contextlib.suppress(RunDirectoryError, UnreadableError, OSError):
        summary = read_summary(directory)
        check_summary(summary)
        return summary
    return {}


def _new_notices(path: Path, record: _Record) -> list[str]:
    """Return the notices of a run that were written since the last look."""
    if _size(path) <= record.notices:
        return []
    with contextlib.suppress(OSError):
        content = read_regular(path, NOTICE_BYTES)
        # The last line may not be whole yet.
        end = content.rfind(b"\n") + 1
        news, record.notices = content[record.notices : end], end
        return news.decode(errors="replace").splitlines()
    return []


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return numbers that change with every writing of a file; None if there is none."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_mtime_ns, status.st_ino
    return None


def _size(path: Path) -> int:
    """Return the size of a file, 0 if there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _number_in(name: str) -> int:
    """Return the number that the name of a directory begins with; -1 without one."""
    match = re.match(r"\d+", name)
    return int(match[0]) if match else -1
