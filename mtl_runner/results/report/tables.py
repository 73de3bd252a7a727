"""The table of the strategies of a report, and how far learning rates and seeds move a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.results.records.run import Run
from mtl_runner.results.report.cells import Head, Number
from mtl_runner.results.report.columns import (
    MeanCell,
    ReportColumn,
    columns_of,
    mean_cell,
    scale_of,
    shown_columns,
)
from mtl_runner.results.report.content import Content, Line, Section
from mtl_runner.results.strategies_table import Row

# Strategies that a long table shows at first; of a sweep over fixed weights only drawn ones.
ROWS = 15
LISTED = 200  # strategies that a page holds at all, unless more were asked for


@dataclass(frozen=True)
class StrategyRow:
    """A row of the table.

    Attributes:
        line: The strategy in the figures.
        hidden: The classes of a row that is not shown at first.
        runs: The number of finished runs.
        failed: The number of runs that did not finish.
        cells: One per column.
    """

    line: Line
    hidden: str
    runs: int
    failed: int
    cells: Sequence[MeanCell]


@dataclass(frozen=True)
class StrategiesTable:
    """The strategies on one split, the best mean of each column marked.

    Attributes:
        split: ``val`` or ``test``.
        label: The name of the table for a screen reader.
        caption: What the numbers are.
        heads: The heads of its columns.
        shows_runs: Whether there is a column of the numbers of runs.
        chooses: Whether boxes choose what is drawn.
        rows: One per strategy.
        button: The text of the button that shows all rows; empty if they all are shown.
    """

    split: str
    label: str
    caption: str
    heads: Sequence[Head]
    shows_runs: bool
    chooses: bool
    rows: Sequence[StrategyRow]
    button: str


@dataclass(frozen=True)
class SpreadRow:
    """How far one strategy's result moves."""

    line: Line
    cells: Sequence[Number]


def strategies_table(
    section: Section, rows: Sequence[Row], at: str, split: str, study: bool = False
) -> StrategiesTable:
    """Return the table of a section; columns in which nothing varies are left out.

    Args:
        section: The data set.
        rows: As ``strategy_rows`` gives them.
        at: The epoch, ``final`` or ``best``.
        split: ``val`` or ``test``.
        study: Whether a study made the runs, which is judged on test.
    """
    if split == "val":
        runs = {strategy.name: strategy.finished for strategy in section.data.shown}
        rows = [row | _costs(runs[row["strategy"]]) for row in rows]
    columns = shown_columns(columns_of(section, split), rows)
    by_monitor = next((column for column in columns if column.key == "monitor"), None)
    if by_monitor is not None:
        rows = sorted(rows, key=lambda row: _order(by_monitor.mean(row)))
    every, rows = len(rows), _thinned(section, rows)
    counts = {(row["runs"], row["failed"]) for row in rows}
    shows_runs = len(rows) > 1 and (len(counts) > 1 or any(failed for _, failed in counts))
    heads = [Head("strategy"), *([Head("runs", "high")] if shows_runs else [])]
    for column in columns:
        is_sorted = column is by_monitor and len(rows) > 1
        heads.append(Head(column.title, column.sort, column.unit, "ascending" * is_sorted))
    is_long = len(rows) > ROWS + 3
    fixed = {role.strategy for role in section.data.roles if role.role == "fixed"}
    swept = {
        line.name for line in section.lines if is_long and line.name in fixed and not line.drawn
    }
    which = f"{len(rows)} strategies{', with all fixed weights' if swept else ''}"
    return StrategiesTable(
        split=split,
        label=f"Strategies, {'test' if split == 'test' else 'validation'}",
        caption=_caption(columns, rows, at, split, study, shows_runs, every),
        heads=heads,
        shows_runs=shows_runs,
        chooses=split == "val",
        rows=_rows(section, columns, rows, swept, is_long),
        button=f"Show all {which}" if is_long else "",
    )


def spreads_table(content: Content, section: Section) -> list[SpreadRow]:
    """Return per strategy how far learning rates and the seed move its result.

    Empty where no grid of learning rates tells.
    """
    spreads = content.spreads(section)
    if not any(math.isfinite(spread.grids) for _, spread in spreads):
        return []
    return [SpreadRow(line, [Number(s.grids, 2), Number(s.seeds, 2)]) for line, s in spreads]


def _rows(
    section: Section,
    columns: Sequence[ReportColumn],
    rows: Sequence[Row],
    swept: set[str],
    is_long: bool,
) -> list[StrategyRow]:
    lines = {line.name: line for line in section.lines}
    scales = [scale_of(column, rows) for column in columns]
    optional = _optional(section, rows)
    table = []
    major = [row["strategy"] for row in rows if row["strategy"] not in swept]
    places = {name: place for place, name in enumerate(major)}
    for row in rows:
        line = lines[row["strategy"]]
        if line.name in swept:
            hidden = "more minor"
        elif line.name in optional:
            hidden = "optional more" if is_long and places[line.name] >= ROWS else "optional"
        else:
            hidden = ""
        cells = [mean_cell(c, row, scale) for c, scale in zip(columns, scales, strict=True)]
        table.append(StrategyRow(line, hidden, row["runs"], row["failed"], cells))
    return table


def _thinned(section: Section, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows that a page can hold: those that were asked for, and the best others."""
    if len(rows) <= LISTED:
        return rows
    optional = _optional(section, rows)
    room = max(0, LISTED - sum(row["strategy"] not in optional for row in rows))
    kept = {row["strategy"] for row in [r for r in rows if r["strategy"] in optional][:room]}
    return [row for row in rows if row["strategy"] not in optional or row["strategy"] in kept]


def _optional(section: Section, rows: Sequence[Row]) -> set[str]:
    """Return the strategies that a long table may hide: nobody asked for them by name.

    They are fixed weights, twins, and settings of a strategy that another one of it beats.
    """
    families = {line.name: line.family for line in section.lines}
    role_of = {strategy.name: strategy.role for strategy in section.data.shown}
    best: dict[str, str] = {}
    for row in rows:
        if role_of[row["strategy"]] not in ("fixed", "twin"):
            best.setdefault(families[row["strategy"]], row["strategy"])
    return set(families) - set(best.values())


def _caption(
    columns: Sequence[ReportColumn],
    rows: Sequence[Row],
    at: str,
    split: str,
    study: bool,
    shows_runs: bool,
    every: int,
) -> str:
    if split == "test":
        name = "Test"
    elif study:
        name = "Validation, which chose all settings; the verdict is on test"
    else:
        name = "Validation"
    several = any(row["runs"] > 1 for row in rows)
    notes = [
        f"{name}. {at.capitalize()} epoch: {'mean ± 95 % interval over runs; ' if several else ''}the best of each column is bold."
    ]
    if len(rows) > 1 and not shows_runs:
        runs = rows[0]["runs"]
        notes.append(f"{runs} run{'s' if runs != 1 else ''} each.")
    if every > len(rows):
        notes.append(f"{len(rows)} of {every} strategies: the best; comparison.csv holds all.")
    if any(column.title == "delta-m" for column in columns):
        notes.append(
            "Delta-m is the mean change against single-task training, the lower the better."
        )
    if any(column.key == "seconds" for column in columns):
        notes.append("Runs of one stack share its time.")
    return " ".join(notes)


def _costs(runs: Sequence[Run]) -> Row:
    return {
        "seconds": _mean([run.summary.seconds for run in runs]),
        "passes": _mean([run.summary.backward_passes for run in runs]),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _order(value: float) -> float:
    return value if math.isfinite(value) else math.inf
