"""The runs of a report: which failed, what differs between them, and where they lie."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.run import Run
from mtl_runner.results.records.summary import as_float
from mtl_runner.results.report.cells import Head, Number
from mtl_runner.results.report.content import Content, monitor_name

LISTED = 500  # runs that the table holds; more would keep a browser waiting
LINKED = 50  # runs that failed for the same reason
VALUES = 12  # the values that the table of differences names per option


@dataclass(frozen=True)
class RunLink:
    """A link to a run's directory."""

    name: str
    address: str


@dataclass(frozen=True)
class Failure:
    """Runs that did not finish for the same reason; ``more`` of them are not linked."""

    status: str
    reason: str
    links: Sequence[RunLink]
    more: int = 0


@dataclass(frozen=True)
class DifferingOption:
    """An option that is not the same in all runs.

    Attributes:
        name: Its key.
        values: ``(value, number of runs)``, the most common first.
        default: The number of runs that leave it at its default.
        more: How many values are not listed.
    """

    name: str
    values: Sequence[tuple[str, int]]
    default: int
    more: int


@dataclass(frozen=True)
class RunRow:
    """A row of the table of runs."""

    link: RunLink
    data: str
    strategy: str
    tuning: bool
    seed: str
    seed_number: Number
    status: str
    monitor: Number
    seconds: Number


def failures(records: Records, folder: Path) -> list[Failure]:
    """Return the runs that did not finish by status and reason.

    Args:
        records: The runs.
        folder: The folder that links are relative to.
    """
    reasons: dict[tuple[str, str], list[RunLink]] = {}
    for run in records.unfinished:
        reasons.setdefault((run.status, run.reason), []).append(run_link(run, folder))
    return [
        Failure(status, reason, links[:LINKED], max(0, len(links) - LINKED))
        for (status, reason), links in list(reasons.items())[:LISTED]
    ]


def differing_options(content: Content) -> list[DifferingOption]:
    """Return the options, versions and devices that are not the same in all runs."""
    settings = _settings(content)
    # A run that was killed before it wrote anything down tells nothing about its environment.
    environment = {key for run in content.records.runs for key in run.summary.environment}
    options = []
    for key in sorted({key for setting in settings for key in setting}):
        counts = Counter(setting[key] for setting in settings if key in setting)
        default = 0 if key in environment else len(settings) - sum(counts.values())
        if len(counts) + (default > 0) > 1:
            more = max(0, len(counts) - VALUES)
            options.append(DifferingOption(key, counts.most_common(VALUES), default, more))
    return options


def listed_runs(content: Content) -> list[int]:
    """Return the places of the runs that the table lists, in their order.

    Of very many these are runs that did not finish, at most half of the table, and the best.
    """
    runs = content.records.runs
    if len(runs) <= LISTED:
        return list(range(len(runs)))
    unfinished = [i for i, run in enumerate(runs) if not run.finished][: LISTED // 2]
    finished = [i for i, run in enumerate(runs) if run.finished]
    best = sorted(finished, key=lambda i: _order(runs[i].summary.monitor.at(content.at)))
    return sorted([*unfinished, *best[: LISTED - len(unfinished)]])


def run_options(content: Content, listed: Sequence[int]) -> dict[str, Any]:
    """Return the options of the listed runs that differ between any runs.

    Args:
        content: The content of the report.
        listed: The places of the runs.

    Returns:
        ``names`` of the options, their ``values``, and in ``rows`` the places of a run's values,
        -1 for the default.
    """
    settings = _settings(content)
    names = [option.name for option in differing_options(content)]
    values: list[dict[str, int]] = [{} for _ in names]
    rows = [
        [
            places.setdefault(settings[i][name], len(places)) if name in settings[i] else -1
            for name, places in zip(names, values, strict=True)
        ]
        for i in listed
    ]
    return {"names": names, "values": [list(places) for places in values], "rows": rows}


def run_rows(content: Content, folder: Path, listed: Sequence[int]) -> list[RunRow]:
    """Return one row per listed run, with a link to its directory relative to a folder."""
    rows = []
    for role in (content.records.roles[i] for i in listed):
        run, summary = role.run, role.run.summary
        rows.append(
            RunRow(
                link=run_link(run, folder),
                data=role.data,
                strategy=role.trial or role.strategy,
                tuning=not role.final,
                seed="" if summary.seed is None else str(summary.seed),
                seed_number=Number(as_float(summary.seed)),
                status=run.status,
                monitor=Number(summary.monitor.at(content.at) if run.finished else math.nan),
                seconds=Number(summary.seconds, 3),
            )
        )
    return rows


def run_heads(content: Content) -> list[Head]:
    """Return the heads of the table of runs."""
    return [
        Head("run"),
        *([Head("data")] if len(content.sections) > 1 else []),
        Head("strategy"),
        Head("seed", "low"),
        Head("status"),
        Head(monitor_name(content.records.runs), "low"),
        Head("time", "low", "s"),
    ]


def _settings(content: Content) -> list[dict[str, str]]:
    """Return the options, versions and devices of every run."""
    return [
        {**settings, **run.summary.environment}
        for settings, run in zip(content.settings, content.records.runs, strict=True)
    ]


def _order(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def run_link(run: Run, folder: Path) -> RunLink:
    """Return a link to a run's directory, relative to a folder where there is a way."""
    return RunLink(run.name, directory_link(run.directory, folder))


def directory_link(target: Path, folder: Path) -> str:
    """Return the quoted path from a folder to a directory; absolute to another drive."""
    try:
        path = Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return target.resolve().as_uri() + "/"
    return quote(f"./{path}/")
