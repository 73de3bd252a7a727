"""The table of the strategies of a report, and how far learning rates and seeds move a result. Every text is escaped here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from mtl_runner.results.read import Run
from mtl_runner.results.report_cells import as_float, data_value, sort_button
from mtl_runner.results.report_content import Section
from mtl_runner.results.spread import Spread
from mtl_runner.results.text import number

ROWS = 15  # that a long table shows before it is asked for all; of a sweep over fixed weights only what is drawn


class ReportColumn:
    """A column of numbers over strategies: the key of its mean, and whether it has an interval and a best value (a cost has none)."""

    def __init__(
        self,
        title: str,
        key: str,
        *,
        unit: str = "",
        higher: bool = False,
        interval: bool = True,
        marked: bool = True,
    ) -> None:
        self.title, self.unit, self.higher, self.marked = title, unit, higher, marked
        self.mean = f"{key}.mean" if interval else key
        self.ends = (f"{key}.low", f"{key}.high") if interval else None

    def values(self, row: dict[str, Any]) -> tuple[float, float, float]:
        mean = as_float(row.get(self.mean))
        low, high = (
            (as_float(row.get(end)) for end in self.ends) if self.ends else (math.nan, math.nan)
        )
        return mean, low, high


def strategies_table(
    section: Section, rows: list[dict[str, Any]], split: str, number_of: int, study: bool = False
) -> str:
    """One row per strategy, the best mean of each column marked; columns in which nothing varies are left out.

    Args:
        rows: as ``strategy_rows`` gives them.
        number_of: the section's place in the page's data, for the boxes that choose what is drawn.
        study: whether a study made the runs, which is judged on test.
    """
    group, at = section.group, rows[0]["at"]
    lines = {line.name: line for line in section.lines}
    columns = [
        ReportColumn(
            task,
            f"{split}.{task}.{metrics.main}",
            unit=metrics.main,
            higher=metrics.higher_is_better(metrics.main),
        )
        for task, metrics in group.tasks.items()
    ]
    if split == "val":
        columns.append(ReportColumn("all tasks", "monitor", unit=_monitor_name(section)))
    columns += [
        ReportColumn("mean rank", f"{split}.mean_rank", interval=False),
        ReportColumn("delta-m", f"{split}.delta_m", unit="%", interval=False),
        ReportColumn("delta-m", f"{split}.delta_m_task", unit="% by task", interval=False),
    ]
    if split == "val":
        for row, strategy in zip(rows, group.strategies, strict=True):
            row["seconds"], row["passes"] = (
                _mean_time(strategy.runs, "seconds"),
                _mean_time(strategy.runs, "backward_passes"),
            )
        columns += [
            ReportColumn("backward", "passes", unit="passes / step", interval=False, marked=False),
            ReportColumn("time", "seconds", unit="s per run", interval=False, marked=False),
        ]
    columns = [c for c in columns if any(math.isfinite(c.values(row)[0]) for row in rows)]
    columns = _distinct([c for c in columns if c.ends or _vary(c, rows)], rows)
    sort = next((c for c in columns if c.mean == "monitor.mean"), None)
    if sort is not None:
        rows = sorted(rows, key=lambda row: _order(sort.values(row)[0], sort.higher))
    counts = {(row["runs"], row["failed"]) for row in rows}
    show_runs = len(rows) > 1 and (len(counts) > 1 or any(failed for _, failed in counts))
    head = ['<th scope="col">', sort_button("strategy", "", "text"), "</th>"]
    if show_runs:
        head += ['<th scope="col" class="num">', sort_button("runs", "", "high"), "</th>"]
    for column in columns:
        sorted_by = (
            f' aria-sort="{"descending" if column.higher else "ascending"}"'
            if column is sort and len(rows) > 1
            else ""
        )
        head += [
            f'<th scope="col" class="num"{sorted_by}>',
            sort_button(column.title, column.unit, "high" if column.higher else "low"),
            "</th>",
        ]
    body = []
    long = len(rows) > ROWS + 3
    fixed = {job.strategy for job in section.jobs if job.role == "fixed"}
    swept = (
        {line.name for line in section.lines if line.name in fixed and not line.drawn}
        if long
        else set()
    )
    major = [row["strategy"] for row in rows if row["strategy"] not in swept]
    scales = [_scale(column, rows) for column in columns]
    for row in rows:
        line = lines[row["strategy"]]
        minor = line.name in swept
        more = (
            ' class="more minor"'
            if minor
            else ' class="more"'
            if long and major.index(line.name) >= ROWS
            else ""
        )
        cells = [_name_cell(line, number_of, split == "val")]
        if show_runs:
            failed = (
                f' <span class="failed">{row["failed"]} not finished</span>'
                if row["failed"]
                else ""
            )
            cells.append(f'<td class="num" data-value="{row["runs"]}">{row["runs"]}{failed}</td>')
        cells += [
            _number_cell(column, row, scale) for column, scale in zip(columns, scales, strict=True)
        ]
        body.append(f'<tr{more} data-colour="{line.colour % 8}">{"".join(cells)}</tr>')
    same = (
        ""
        if show_runs or not rows
        else f" {rows[0]['runs']} run{'s' if rows[0]['runs'] != 1 else ''} each."
        if len(rows) > 1
        else ""
    )
    where = (
        "Test"
        if split == "test"
        else "Validation, which chose all settings; the verdict is on test"
        if study
        else "Validation"
    )
    interval = "mean ± 95 % interval over runs; " if any(row["runs"] > 1 for row in rows) else ""
    delta = any(column.title == "delta-m" for column in columns)
    delta_note = (
        " Delta-m is the mean change against single-task training, the lower the better."
        if delta
        else ""
    )
    time_note = (
        " Runs of one stack share its time."
        if any(column.mean == "seconds" for column in columns)
        else ""
    )
    caption = f"{where}. {at.capitalize()} epoch: {interval}the best of each column is bold.{same}{delta_note}{time_note}"
    which = f"{len(rows)} strategies{', with all fixed weights' if swept else ''}"
    button = f'<button type="button" class="show-all">Show all {which}</button>' if long else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Strategies, {"test" if split == "test" else "validation"}">'
        f'<table class="sortable strategies"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{button}"
    )


def spreads_table(rows: Sequence[tuple[str, int, Spread]]) -> str:
    """Per strategy how far its result moves by the choice of learning rates and by the seed; nothing where no grid tells.

    Args:
        rows: strategy, colour and its spreads.
    """
    if not any(math.isfinite(spread.grids) for _, _, spread in rows):
        return ""
    head = "".join(
        f'<th scope="col"{" class=num" if unit else ""}>{sort_button(title, unit, kind)}</th>'
        for title, unit, kind in (
            ("strategy", "", "text"),
            ("learning rates", "spread", "low"),
            ("seeds", "spread", "low"),
        )
    )
    body = "".join(
        f'<tr data-colour="{colour % 8}"><th scope="row"><span class="swatch" aria-hidden="true"></span>{escape(name)}</th>'
        + "".join(
            f'<td class="num"{data_value(v)}>{number(v, 2) or "&ndash;"}</td>'
            for v in (spread.grids, spread.seeds)
        )
        + "</tr>"
        for name, colour, spread in rows
    )
    caption = (
        "How far the validation result moves: its standard deviation over the grids of one learning rate per decade that one could "
        "have tried instead, and over seeds."
    )
    return (
        '<div class="scroll spreads" tabindex="0" role="region" aria-label="Spreads"><table class="sortable"><caption><span>'
        f"{caption}</span></caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _name_cell(line: Any, number_of: int, with_box: bool) -> str:
    name = escape(line.name)
    if not with_box:
        return f'<th scope="row"><span class="swatch" aria-hidden="true"></span>{name}</th>'
    checked = " checked" if line.drawn else "" if line.curves else " disabled"
    return (
        f'<th scope="row"><label><input type="checkbox" data-section="{number_of}" data-strategy="{name}"{checked}>'
        f'<span class="swatch" aria-hidden="true"></span><span><span class="hidden">draw </span>{name}</span></label></th>'
    )


def _number_cell(
    column: ReportColumn, row: dict[str, Any], scale: tuple[float, float, float]
) -> str:
    mean, low, high = column.values(row)
    if not math.isfinite(mean):
        return '<td class="num none"><span aria-label="none">&ndash;</span></td>'
    least, most, best = scale
    is_best = column.marked and mean == best and most > least
    half = (
        f' <span class="half">± {number((high - low) / 2, 2)}</span>'
        if math.isfinite(high - low)
        else ""
    )
    whisker = ""
    if column.ends and most > least:
        low, high = (low, high) if math.isfinite(high - low) else (mean, mean)
        at = [
            f"--{name}:{100 * (min(max(v, least), most) - least) / (most - least):.1f}"
            for name, v in zip("mlh", (mean, low, high), strict=True)
        ]
        whisker = f'<span class="whisker" style="{";".join(at)}" aria-hidden="true"></span>'
    text = (
        f'<strong>{number(mean)}<span class="hidden"> best</span></strong>'
        if is_best
        else number(mean)
    )
    return (
        f'<td class="num{" best" if is_best else ""}"{data_value(mean)}>{text}{half}{whisker}</td>'
    )


def _scale(column: ReportColumn, rows: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Least and largest number that the column's whiskers show, and its best mean."""
    found = [column.values(row) for row in rows]
    means = [mean for mean, _, _ in found if math.isfinite(mean)]
    ends = [v for values in found for v in values if math.isfinite(v)]
    if len(means) < 2:
        return math.nan, math.nan, math.nan
    # An interval of few seeds may be far wider than all else: it is cut rather than that it hides the others.
    spread = max(means) - min(means) or max(ends) - min(ends)
    least, most = max(min(ends), min(means) - spread), min(max(ends), max(means) + spread)
    return least, most, max(means) if column.higher else min(means)


def _distinct(columns: list[ReportColumn], rows: Sequence[dict[str, Any]]) -> list[ReportColumn]:
    """Without a column that says the same as one before it (delta-m by task where each task has one metric)."""
    kept: list[ReportColumn] = []
    for column in columns:
        twin = any(
            other.title == column.title
            and all(_same(other.values(row)[0], column.values(row)[0]) for row in rows)
            for other in kept
        )
        if not twin:
            kept.append(column)
    return kept


def _mean_time(runs: Sequence[Run], name: str) -> float:
    """The mean of what the summaries say about the cost of the runs; NaN where none says it."""
    known = [
        v
        for v in (as_float(run.summary.get("time", {}).get(name)) for run in runs)
        if math.isfinite(v)
    ]
    return sum(known) / len(known) if known else math.nan


def _vary(column: ReportColumn, rows: Sequence[dict[str, Any]]) -> bool:
    return len(rows) < 2 or len({row.get(column.mean) for row in rows}) > 1


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def _order(value: float, higher: bool) -> float:
    return math.inf if not math.isfinite(value) else -value if higher else value


def _monitor_name(section: Section) -> str:
    names = {
        str(run.summary.get("monitor", {}).get("name", ""))
        for s in section.group.strategies
        for run in s.runs
    }
    return (names.pop() if len(names) == 1 else "monitor").replace("_", " ")
