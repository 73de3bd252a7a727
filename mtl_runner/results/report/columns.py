"""The columns of the table of strategies: which there are, their scales, and their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.results.records.summary import as_float
from mtl_runner.results.report.cells import Number, Sort
from mtl_runner.results.report.content import Section, monitor_name
from mtl_runner.results.strategies_table import Row
from mtl_runner.results.text import number


@dataclass(frozen=True)
class ReportColumn:
    """A column of numbers over strategies.

    Attributes:
        title: What it shows.
        key: The key of its numbers in a row.
        unit: Its unit.
        higher_is_better: Whether a higher number is better.
        has_interval: Whether there is an interval beside the mean.
        marks_best: Whether the best number is marked; the best of a cost is not.
    """

    title: str
    key: str
    unit: str = ""
    higher_is_better: bool = False
    has_interval: bool = True
    marks_best: bool = True

    def mean(self, row: Row) -> float:
        """Return the number of a row."""
        return as_float(row.get(f"{self.key}.mean" if self.has_interval else self.key))

    def ends(self, row: Row) -> tuple[float, float]:
        """Return the ends of its interval; NaN without one."""
        if not self.has_interval:
            return math.nan, math.nan
        return as_float(row.get(f"{self.key}.low")), as_float(row.get(f"{self.key}.high"))

    @property
    def sort(self) -> Sort:
        """The order from best to worst."""
        return "high" if self.higher_is_better else "low"


@dataclass(frozen=True)
class Scale:
    """The range that a column's whiskers show, and its best mean; NaN for fewer than two means."""

    least: float = math.nan
    most: float = math.nan
    best: float = math.nan

    def percent(self, value: float) -> str:
        """Return the place of a value between the ends."""
        clipped = min(max(value, self.least), self.most)
        return f"{100 * (clipped - self.least) / (self.most - self.least):.1f}"


@dataclass(frozen=True)
class MeanCell:
    """A mean in the table: its number, half its interval, its whisker, and whether it is best."""

    number: Number
    half: str = ""
    whisker: str = ""
    best: bool = False


def columns_of(section: Section, split: str) -> list[ReportColumn]:
    """Return the columns that a table of a split could have."""
    columns = [
        ReportColumn(
            task,
            f"{split}.{task}.{metrics.main}",
            metrics.main,
            metrics.higher_is_better(metrics.main),
        )
        for task, metrics in section.data.tasks.items()
    ]
    if split == "val":
        columns.append(
            ReportColumn(
                "all tasks",
                "monitor",
                monitor_name(r for s in section.data.shown for r in s.finished),
            )
        )
    for title, key, unit in (
        ("mean rank", "mean_rank", ""),
        ("mean rank", "preference_rank", "any preference"),
        ("delta-m", "delta_m", "%"),
        ("delta-m", "delta_m_task", "% by task"),
    ):
        columns.append(ReportColumn(title, f"{split}.{key}", unit, has_interval=False))
    if split == "val":
        for title, key, unit in (
            ("backward", "passes", "passes / step"),
            ("time", "seconds", "s per run"),
        ):
            columns.append(ReportColumn(title, key, unit, has_interval=False, marks_best=False))
    return columns


def shown_columns(columns: Sequence[ReportColumn], rows: Sequence[Row]) -> list[ReportColumn]:
    """Leave out columns without numbers, in which nothing varies, or that repeat another one."""
    shown: list[ReportColumn] = []
    for column in columns:
        known = any(math.isfinite(column.mean(row)) for row in rows)
        varies = (
            column.has_interval or len(rows) < 2 or len({row.get(column.key) for row in rows}) > 1
        )
        repeats = any(
            earlier.title == column.title
            and all(_same(earlier.mean(row), column.mean(row)) for row in rows)
            for earlier in shown
        )
        if known and varies and not repeats:
            shown.append(column)
    return shown


def mean_cell(column: ReportColumn, row: Row, scale: Scale) -> MeanCell:
    """Return the cell of a row: its mean, and the place of its interval on the scale."""
    mean, (low, high) = column.mean(row), column.ends(row)
    if not math.isfinite(mean):
        return MeanCell(Number(mean))
    half = number((high - low) / 2, 2) if math.isfinite(high - low) else ""
    whisker = ""
    if column.has_interval and scale.most > scale.least:
        ends = (low, high) if half else (mean, mean)
        places = zip("mlh", (mean, *ends), strict=True)
        whisker = ";".join(f"--{name}:{scale.percent(value)}" for name, value in places)
    best = column.marks_best and mean == scale.best and scale.most > scale.least
    return MeanCell(Number(mean), half, whisker, best)


def scale_of(column: ReportColumn, rows: Sequence[Row]) -> Scale:
    """Return the range that the whiskers of a column show."""
    means = [mean for row in rows if math.isfinite(mean := column.mean(row))]
    if len(means) < 2:
        return Scale()
    values = [v for row in rows for v in (column.mean(row), *column.ends(row)) if math.isfinite(v)]
    # An interval of few seeds may be far wider than all else: it is cut, so that it hides nothing.
    spread = max(means) - min(means) or max(values) - min(values)
    return Scale(
        max(min(values), min(means) - spread),
        min(max(values), max(means) + spread),
        max(means) if column.higher_is_better else min(means),
    )


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
