"""The rows of comparison.csv."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.strategies_table import Row, strategy_rows
from tests.unit.results.run_builders import METRICS, write_run


def rows_of(folder: Path, at: str = "final") -> dict[str, Row]:
    """Return the rows of a sweep by strategy."""
    (data,) = Records.read([folder]).datasets
    return {row["strategy"]: row for row in strategy_rows(data, at)}


def test_a_row_holds_means_and_intervals_over_seeds(tmp_path: Path) -> None:
    """Breaks if a mean is of other runs, or an interval is not that of the mean."""
    for seed, value in enumerate((1.0, 2.0, 4.0)):
        write_run(tmp_path, str(seed), {"a": {"rmse": value}}, seed=seed, monitor=value)
    row = rows_of(tmp_path)["fixed"]
    expected = interval([1.0, 2.0, 4.0])
    for column in ("monitor", "val.a.rmse", "test.a.rmse"):
        ends = [row[f"{column}.{end}"] for end in ("mean", "low", "high")]
        assert ends == [expected.mean, expected.low, expected.high]
    assert (row["data"], row["runs"], row["failed"], row["at"]) == ("d", 3, 0, "final")


def test_a_failed_run_counts_but_enters_no_mean(sweep: Path) -> None:
    """Breaks if a strategy of which some runs failed looks complete."""
    row = rows_of(sweep)["dwa"]
    assert (row["runs"], row["failed"]) == (5, 1)
    assert math.isfinite(row["val.a.rmse.high"])


def test_ranks_are_over_the_main_metrics_of_each_split(sweep: Path) -> None:
    """Breaks if a strategy is ranked by every metric that some task happens to have."""
    rows = rows_of(sweep)
    ranks = {name.split(",")[0]: row["val.mean_rank"] for name, row in rows.items()}
    assert ranks["famo"] == 1.0
    assert ranks["dwa"] == len(rows)
    assert {row["test.mean_rank"] for row in rows.values()} == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_ranks_of_a_split_are_by_its_own_values(tmp_path: Path) -> None:
    """Breaks if the ranks on test are those of validation."""
    for name, val, test in (("fixed", 1.0, 9.0), ("dwa", 2.0, 3.0)):
        write_run(tmp_path, name, {"a": {"rmse": val}}, weighting=name)
        summary = tmp_path / name / "summary.json"
        content = json.loads(summary.read_text())
        content["tasks"]["a"]["final"]["test"]["rmse"] = test
        summary.write_text(json.dumps(content))
    rows = rows_of(tmp_path)
    assert {n: (r["val.mean_rank"], r["test.mean_rank"]) for n, r in rows.items()} == {
        "fixed": (1.0, 2.0),
        "dwa": (2.0, 1.0),
    }


def test_single_task_runs_are_the_reference_of_delta_m(sweep: Path) -> None:
    """Breaks if delta-m of the baseline is not 0, or there is one without a baseline."""
    rows = rows_of(sweep)
    assert rows["single_task"]["val.delta_m"] == 0.0
    assert rows["famo"]["val.delta_m"] == pytest.approx(-7.1, abs=0.1)
    for run in sweep.glob("s*"):
        (run / "summary.json").unlink()
    assert math.isnan(rows_of(sweep)["famo"]["val.delta_m"])


def test_a_metric_that_some_runs_lack_has_the_mean_of_the_others(tmp_path: Path) -> None:
    """Breaks if runs of an older version turn a column into NaN."""
    write_run(tmp_path, "0", {"a": {"rmse": 1.0, "mae": 3.0}})
    write_run(tmp_path, "1", {"a": {"rmse": 1.0}}, seed=1)
    row = rows_of(tmp_path)["fixed"]
    assert (row["val.a.mae.mean"], row["val.a.rmse.mean"]) == (3.0, 1.0)
    assert math.isnan(row["val.a.mae.low"])


def test_a_strategy_of_which_no_run_finished_has_an_empty_row(tmp_path: Path) -> None:
    """Breaks if a diverged strategy crashes the table, or vanishes from it."""
    write_run(tmp_path, "0", METRICS)
    write_run(tmp_path, "1", METRICS, weighting="dwa", status="failed")
    row = rows_of(tmp_path)["dwa"]
    assert (row["runs"], row["failed"]) == (0, 1)
    assert all(math.isnan(row[c]) for c in ("monitor.mean", "val.a.rmse.mean", "val.mean_rank"))


def test_a_run_that_lacks_one_number_stays_in_the_other_means(tmp_path: Path) -> None:
    """Breaks if an undefined metric of one task drops the run's numbers of all tasks."""
    for seed, rmse in ((0, 1.0), (1, math.nan)):
        tasks = {"a": {"rmse": 1.0 + seed, "loss": 1.0}, "b": {"rmse": rmse, "loss": 1.0}}
        write_run(tmp_path, str(seed), tasks, seed=seed)
    row = rows_of(tmp_path)["fixed"]
    assert (row["runs"], row["val.a.rmse.mean"], row["val.b.rmse.mean"]) == (2, 1.5, 1.0)


def test_a_rank_for_any_preference_stands_beside_the_mean_rank(tmp_path: Path) -> None:
    """Breaks if it ranks by another split, or by a metric whose unit counts.

    With losses of 0 and 3, and of 1 and 0, the second is better for three quarters of preferences.
    """
    for name, a, b in (("fixed", 0.0, 3.0), ("dwa", 1.0, 0.0)):
        tasks = {t: {"rmse": 1.0, "relative_loss": v} for t, v in (("a", a), ("b", b))}
        write_run(tmp_path, name, tasks, weighting=name)
    rows = rows_of(tmp_path)
    for split in ("val", "test"):
        ranks = [rows[name][f"{split}.preference_rank"] for name in ("fixed", "dwa")]
        assert ranks == pytest.approx([1.75, 1.25])


def test_one_task_has_no_preference(tmp_path: Path) -> None:
    """Breaks if a column says nothing."""
    write_run(tmp_path, "0", {"a": {"rmse": 1.0, "relative_loss": 0.5}})
    assert "val.preference_rank" not in rows_of(tmp_path)["fixed"]
