"""The numbers of a table: decimals, what is best, and what differs from equal weights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mtl_runner.results.compare import compare
from mtl_runner.results.selection import Selection
from mtl_runner.results.statistics.differences import metric_differences
from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.table import Cell, Column
from tests.unit.results.run_builders import METRICS, write_run, write_study


def cells(*means: float) -> tuple[Cell, ...]:
    """Return cells without an interval."""
    return tuple(map(Cell, means))


def test_a_cell_is_the_mean_with_its_interval_and_deviation() -> None:
    """Breaks if ± is of other runs, or a run without a number spoils the mean."""
    cell, expected = Cell.of([1.0, math.nan, 3.0]), interval([1.0, 3.0])
    assert (cell.mean, cell.low, cell.high) == (2.0, expected.low, expected.high)
    assert cell.deviation == pytest.approx(math.sqrt(2))
    assert cell.half == pytest.approx(expected.high - 2.0)
    assert math.isnan(Cell.of([1.0]).half)


@pytest.mark.parametrize(
    ("halves", "decimals"), [((0.0026, 0.003), 4), ((0.59, 9.9), 1), ((12.0,), 0), ((0.0, 0.5), 2)]
)
def test_two_digits_of_the_interval_are_shown(halves: tuple[float, ...], decimals: int) -> None:
    """Breaks if a table shows noise as digits, or hides what tells strategies apart."""
    row = tuple(Cell(5.0, 5.0 - half, 5.0 + half) for half in halves)
    assert Column("", row).decimals == decimals


@pytest.mark.parametrize(
    ("means", "decimals"), [((105.3, 99.0), 1), ((0.012,), 5), ((math.nan,), 0), ((0.0,), 0)]
)
def test_without_intervals_four_digits_are_shown(means: tuple[float, ...], decimals: int) -> None:
    """Breaks if one seed makes fifteen digits."""
    assert Column("", cells(*means)).decimals == decimals


def test_the_best_two_are_told_by_what_is_printed() -> None:
    """Breaks if one of two equal numbers is bold, or the worst one of a metric to maximise."""
    assert Column("", cells(2.0, 1.00001, 1.00002, 3.0)).places == [2, 1, 1, 0]
    assert Column("", cells(2.0, math.nan, 1.0), higher_is_better=True).places == [1, 0, 2]
    assert Column("", cells(2.0, 1.0), higher_is_better=None).places == [0, 0]
    assert Column("", cells(1.0, 1.0)).places == [0, 0]


def test_what_differs_is_what_the_paired_test_says(sweep: Path) -> None:
    """Breaks if a mark is for another strategy, or without Holm's correction among those shown."""
    (table,) = compare(sweep).tables()
    shown = {s.name for s in table.strategies}
    rows = metric_differences(table.evidence)
    # Holm over three strategies: the least p of six seeds, 1/32, is not enough; over one it is.
    assert {r.strategy for r in rows if r.difference.p_holm < 0.05} == set()
    assert table.differing() == {("", "relative_loss"): set()}
    assert "famo" in shown
    (pair,) = compare(sweep).tables(Selection(strategies=("fixed, a=default", "famo")))
    assert pair.differing() == {
        ("a", "rmse"): {"famo"},
        ("b", "rmse"): {"famo"},
        ("", "relative_loss"): {"famo"},
    }
    (alone,) = compare(sweep).tables(Selection(strategies=("famo",), metrics=("a.rmse",)))
    assert alone.differing()["a", "rmse"] == {"famo"}


@pytest.mark.parametrize(("seeds", "can_differ"), [(5, False), (6, True)])
def test_few_seeds_cannot_differ(tmp_path: Path, seeds: int, can_differ: bool) -> None:
    """Breaks if a table of five seeds looks as if nothing differed."""
    for seed in range(seeds):
        write_run(tmp_path, f"e{seed}", METRICS, seed=seed)
    assert compare(tmp_path).tables()[0].can_differ == can_differ


def test_a_single_run_is_shown_on_test_where_that_is_asked_for(tmp_path: Path) -> None:
    """Breaks if the test numbers of a run, which it does not print, are nowhere to be had."""
    write_run(tmp_path, "one", METRICS)
    assert [table.split for table in compare(tmp_path / "one").tables()] == ["val"]
    (table,) = compare(tmp_path / "one").tables(Selection(split="test"))
    assert table.split == "test"
    assert math.isfinite(table.columns[0].cells[0].mean)


def test_a_study_is_shown_on_test_and_a_sweep_on_validation(sweep: Path) -> None:
    """Breaks if the table above a verdict is of another split than the verdict."""
    assert compare(sweep).tables()[0].split == "val"
    assert compare(sweep).tables(Selection(split="test"))[0].split == "test"
    jobs = {f"e{i}": {"strategy": "equal", "role": "equal"} for i in range(6)}
    write_study(sweep, jobs)
    assert compare(sweep).tables()[0].split == "test"


def test_a_study_that_still_tunes_keeps_test_to_itself(sweep: Path) -> None:
    """Breaks if settings can be chosen by their results on test."""
    write_study(sweep, {run.name: {"strategy": "x", "final": False} for run in sweep.iterdir()})
    assert compare(sweep).tables(Selection(split="test"))[0].split == "val"


def test_the_monitor_of_one_task_is_that_metric(tmp_path: Path) -> None:
    """Breaks if an accuracy of 0.9 is shown as -0.9, or a column comes twice."""
    for metric, monitor in (("accuracy", "a.accuracy"), ("f1", "a.f1")):
        folder = tmp_path / metric
        write_run(folder, "0", {"a": {"accuracy": 0.9, "f1": 0.8}}, monitor=-0.9)
        path = folder / "0" / "summary.json"
        text = path.read_text().replace('"relative_loss"', f'"{monitor}"', 1)
        path.write_text(text.replace('"regression"', '"classification"'))
    (main,) = compare(tmp_path / "accuracy").tables()
    assert [c.title for c in main.columns] == ["a accuracy", "mean rank"]
    (second,) = compare(tmp_path / "f1").tables()
    assert [(c.title, c.cells[0].mean) for c in second.columns[:2]] == [
        ("a accuracy", 0.9),
        ("a f1", 0.8),
    ]
    assert second.columns[1].higher_is_better
