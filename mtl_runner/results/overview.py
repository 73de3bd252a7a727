"""A comparison on the terminal, as text or Markdown: tables, verdicts, and what failed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtl_runner.results.names import short_names
from mtl_runner.results.records.run import UNDER_WAY, Run
from mtl_runner.results.table import Cell, StrategyTable
from mtl_runner.results.text import align, markdown_table, markdown_text, number, printable
from mtl_runner.results.verdict.conclusions import Conclusions

# A line about runs that train lists so many of them.
LISTED_RUNS = 8
LONGEST = 60  # letters of a strategy's name
SPLIT_WORDS = {"val": "validation", "test": "test"}
OVER_RUNS = {  # what stands beside a mean, and how a title calls it
    "half": "mean ± 95 % interval over runs",
    "ends": "mean and ends of its 95 % interval over runs",
    "sd": "mean ± standard deviation over runs",
    "none": "mean over runs",
}
FILES = ("report.html", "runs.csv", "comparison.csv", "comparison.png")


def overview(
    tables: Sequence[StrategyTable],
    conclusions: Conclusions,
    output: str,
    style: str = "text",
    error: str = "half",
) -> str:
    """Format a whole comparison for the terminal.

    Args:
        tables: The table of every data set.
        conclusions: The verdicts, with the runs that they rest on.
        output: Where the files are, as the reader would type it; empty if there are none.
        style: ``text`` or ``md``.
        error: What stands beside a mean: ``half``, ``ends``, ``sd`` or ``none``.
    """
    markdown = style == "md"
    plain = markdown_text if markdown else printable
    at = conclusions.evidence.at
    blocks = []
    for data, table in zip(conclusions.records.datasets, tables, strict=True):
        split = SPLIT_WORDS[table.split]
        title = f"{plain(data.name)} ({split}, {at} epoch, {OVER_RUNS[error]})"
        notes = [*table.notes, *conclusions.missing(data)]
        if markdown:
            blocks += [f"## {title}", markdown_table(_cells(table, error)), *map(plain, notes)]
        else:
            blocks.append("\n".join([title, align(_cells(table, error)), *map(plain, notes)]))
        if lines := conclusions.sentences(data.name):
            split = SPLIT_WORDS[conclusions.evidence.split]
            margin = number(100 * conclusions.margins[data.name])
            heading = f"Verdict ({split}, {at} epoch, margin {margin} %, by {conclusions.quantity(data.name)}): {lines[0]}"
            use = conclusions.recommendation(data.name)
            tuning = conclusions.tuning(data.name)
            lines = [
                *([use.sentences] if use else []),
                *lines[1:],
                *([tuning] if tuning else []),
            ]
            blocks.append(_list(plain(heading), [plain(line) for line in lines], markdown))
        if lines := conclusions.remarks(data.name):
            blocks.append(_list("Beside the verdict:", [plain(line) for line in lines], markdown))
    if lines := conclusions.dependence:
        title = "Across the factors of the study:"
        blocks.append(_list(title, [plain(line) for line in lines], markdown))
    if lines := conclusions.across:
        blocks.append(_list("Over all data sets:", [plain(line) for line in lines], markdown))
    if under_way := conclusions.records.under_way:
        blocks.append(plain(_under_way(under_way)))
    if unfinished := conclusions.records.stopped:
        blocks.append(_list("Not finished:", list(map(plain, _reasons(unfinished))), markdown))
    if foreign := conclusions.records.foreign:
        blocks.append(plain(_skipped(foreign)))
    if output:
        blocks.append(plain(f"{output}/: {', '.join([*FILES, *conclusions.files])}"))
    return "\n\n".join(blocks)


def _cells(table: StrategyTable, error: str) -> list[list[str]]:
    """Return the table as text, its header first."""
    names = short_names(table.strategies, LONGEST)
    rows = [["strategy", "runs", *(column.title for column in table.columns)]]
    for place, strategy in enumerate(table.strategies):
        numbers = [_with_error(column.cells[place], error) for column in table.columns]
        rows.append([names[strategy.name], table.count(place), *numbers])
    return rows


def _reasons(runs: Sequence[Run]) -> list[str]:
    """Return why runs did not finish, a line for each reason with the number of its runs."""
    names: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        names.setdefault((run.status, run.reason), []).append(run.directory.name)
    return [
        f"{of_reason[0] if len(of_reason) == 1 else f'{len(of_reason)} runs'}: {status}: {reason}"
        for (status, reason), of_reason in names.items()
    ]


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


def _with_error(cell: Cell, error: str) -> str:
    """Return a mean with what stands beside it, where that is known.

    Example:
        >>> _with_error(Cell(0.5, 0.41, 0.59), "ends")
        '0.5 [0.41, 0.59]'
    """
    if error == "ends":
        ends = f" [{number(cell.low)}, {number(cell.high)}]" if math.isfinite(cell.half) else ""
        return number(cell.mean) + ends
    beside = {"half": cell.half, "sd": cell.deviation}.get(error, math.nan)
    return number(cell.mean) + (f" ± {number(beside, 2)}" if math.isfinite(beside) else "")


def _list(title: str, lines: Sequence[str], markdown: bool) -> str:
    if markdown:
        return "\n".join([title, "", *(f"- {line}" for line in lines)])
    return "\n".join([title, *(f"  {line}" for line in lines)])
