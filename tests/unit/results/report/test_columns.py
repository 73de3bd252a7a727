"""The columns of the table of strategies."""

from __future__ import annotations

import math
from pathlib import Path

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.report.columns import ReportColumn, scale_of, shown_columns
from mtl_runner.results.report.content import Content
from mtl_runner.results.report.tables import strategies_table
from mtl_runner.results.strategies_table import strategy_rows
from tests.unit.results.run_builders import write_run


def test_half_the_interval_stands_behind_the_plus_minus(tmp_path: Path) -> None:
    """Breaks if the whole width of the interval is printed as what is added and subtracted."""
    for seed, error in enumerate((1.0, 2.0, 4.0)):
        write_run(tmp_path, str(seed), {"a": {"rmse": error}}, seed=seed)
    section = Content.of(Records.read([tmp_path]), "final").sections[0]
    table = strategies_table(section, strategy_rows(section.data, "final"), "final", "val")
    cell = table.rows[0].cells[0]
    # Student's t of two degrees of freedom, 4.303, times the standard error, 0.882.
    assert (round(cell.number.value, 3), cell.half) == (2.333, "3.8")


def test_columns_that_say_nothing_are_left_out() -> None:
    """Breaks if a table has an empty column, one of equal numbers, or the same column twice."""
    rows = [{"a": 1.0, "same": 3.0, "b": 1.0}, {"a": 2.0, "same": 3.0, "b": 2.0}]
    columns = [
        ReportColumn("delta-m", "a", has_interval=False),
        ReportColumn("delta-m", "b", has_interval=False),
        ReportColumn("rank", "same", has_interval=False),
        ReportColumn("time", "none", has_interval=False),
    ]
    assert [column.key for column in shown_columns(columns, rows)] == ["a"]


def test_a_wide_interval_is_cut_so_that_it_hides_nothing() -> None:
    """Breaks if the interval of two seeds makes all other whiskers points."""
    column = ReportColumn("a", "a")
    rows = [
        {"a.mean": 1.0, "a.low": -50.0, "a.high": 52.0},
        {"a.mean": 2.0, "a.low": 1.9, "a.high": 2.1},
    ]
    scale = scale_of(column, rows)
    assert (scale.least, scale.most, scale.best) == (0.0, 3.0, 1.0)
    assert math.isnan(scale_of(column, rows[:1]).least)
