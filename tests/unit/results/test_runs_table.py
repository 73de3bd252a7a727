"""The rows of runs.csv."""

from __future__ import annotations

from pathlib import Path

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.runs_table import relative, run_row
from tests.unit.results.run_builders import METRICS, write_run


def test_a_row_holds_both_epochs_and_splits(tmp_path: Path) -> None:
    """Breaks if a number stands under another epoch, split, task or metric."""
    write_run(tmp_path, "0", METRICS, seed=3, monitor=0.25)
    records = Records.read([tmp_path])
    row = run_row(records.roles[0], records.labels[0], tmp_path)
    assert (row["run"], row["seed"], row["monitor.best"], row["best_epoch"]) == ("0", 3, 0.25, 1)
    for column in ("final.val.a.rmse", "best.test.a.rmse"):
        assert row[column] == 1.0
    assert row["overrides"] == "weighting=fixed seed=3"


def test_paths_are_short_inside_the_output_folder(tmp_path: Path) -> None:
    """Breaks if a copied sweep names the runs by where they were before."""
    assert relative(tmp_path / "a" / "0", tmp_path) == str(Path("a", "0"))
    assert relative(Path("x"), tmp_path) == "x"
