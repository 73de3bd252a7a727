"""A comparison on the terminal, as text or Markdown: tables, verdicts, and what failed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.run import UNDER_WAY, Run
from mtl_runner.results.strategies_table import Row
from mtl_runner.results.text import align, markdown_table, markdown_text, number, printable
from mtl_runner.results.verdict.conclusions import Conclusions

# A line about runs that train lists so many of them.
LISTED_RUNS = 8
SPLIT_WORDS = {"val": "validation", "test": "test"}
FILES = ("report.html", "runs.csv", "comparison.csv", "comparison.png")


def overview(
    rows: Sequence[Row], conclusions: Conclusions, output: str, style: str = "text"
) -> str:
    """Format a whole comparison for the terminal.

    Args:
        rows: The rows of ``comparison.csv``, one per strategy.
        conclusions: The verdicts, with the runs that they rest on.
        output: Where the files are, as the reader would type it; empty if there are none.
        style: ``text`` or ``md``.
    """
    markdown = style == "md"
    plain = markdown_text if markdown else printable
    at = conclusions.evidence.at
    blocks = []
    for data in conclusions.records.datasets:
        title = f"{plain(data.name)} (validation, {at} epoch, mean ± 95 % interval over runs)"
        table = _table(data, [row for row in rows if row["data"] == data.name])
        notes = conclusions.missing(data)
        if markdown:
            blocks += [f"## {title}", markdown_table(table), *map(plain, notes)]
        else:
            blocks.append("\n".join([title, align(table), *map(plain, notes)]))
        if lines := conclusions.sentences(data.name):
            split = SPLIT_WORDS[conclusions.evidence.split]
            margin = number(100 * conclusions.margins[data.name])
            heading = f"Verdict ({split}, {at} epoch, margin {margin} %, by {conclusions.quantity(data.name)}): {lines[0]}"
            blocks.append(_list(plain(heading), [plain(line) for line in lines[1:]], markdown))
    if under_way := conclusions.records.under_way:
        blocks.append(plain(_under_way(under_way)))
    if unfinished := conclusions.records.stopped:
        reasons = [plain(f"{r.directory.name}: {r.status}: {r.reason}") for r in unfinished]
        blocks.append(_list("Not finished:", reasons, markdown))
    if foreign := conclusions.records.foreign:
        blocks.append(plain(_skipped(foreign)))
    if output:
        blocks.append(plain(f"{output}/: {', '.join([*FILES, *conclusions.files])}"))
    return "\n\n".join(blocks)


def _table(data: DatasetRuns, rows: Sequence[Row]) -> list[list[str]]:
    has_delta = any(s.role == "single_task" and s.finished for s in data.shown)
    mains = [(task, metrics.main) for task, metrics in data.tasks.items()]
    header = [
        "strategy",
        "runs",
        *(f"{task} {metric}" for task, metric in mains),
        "monitor",
        "mean rank",
    ]
    table = [[*header, *(["delta-m %", "delta-m % (tasks)"] if has_delta else [])]]
    for row in rows:
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        cells = [row["strategy"], f"{row['runs']}{failed}"]
        cells += [_with_interval(row, f"val.{task}.{metric}") for task, metric in mains]
        cells += [_with_interval(row, "monitor"), number(row.get("val.mean_rank"))]
        cells += [number(row["val.delta_m"]), number(row["val.delta_m_task"])] if has_delta else []
        table.append(cells)
    return table


def _under_way(runs: Sequence[Run]) -> str:
    """Return a line about runs that may still finish by themselves."""
    counts = Counter(run.status for run in runs)
    listed = [run.directory.name for run in runs if run.status == "running"][:LISTED_RUNS]
    names = f" ({', '.join(listed)}{', ...' if counts['running'] > LISTED_RUNS else ''})"
    parts = [
        f"{counts[status]} {status}{names if status == 'running' else ''}"
        for status in UNDER_WAY
        if counts[status]
    ]
    return f"Under way: {', '.join(parts)}; compare again when they have finished."


def _skipped(folders: Sequence[Path]) -> str:
    """Return a sentence about folders of other programs."""
    listed = ", ".join(map(str, folders[:LISTED_RUNS]))
    more = ", ..." if len(folders) > LISTED_RUNS else ""
    return f"Skipped, as another program's and no run of mtl-runner: {listed}{more}."


def _with_interval(row: Row, column: str) -> str:
    mean, low, high = (row.get(f"{column}.{end}", math.nan) for end in ("mean", "low", "high"))
    return number(mean) + (f" ± {number((high - low) / 2, 2)}" if math.isfinite(high - low) else "")


def _list(title: str, lines: Sequence[str], markdown: bool) -> str:
    if markdown:
        return "\n".join([title, "", *(f"- {line}" for line in lines)])
    return "\n".join([title, *(f"  {line}" for line in lines)])
