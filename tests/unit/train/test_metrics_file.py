"""metrics.csv as a file: its columns, its cells, and how it is cut back to a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.tasks.task import Task
from mtl_runner.train.metrics_file import (
    BASE_COLUMNS,
    MetricsFile,
    measured_columns,
    task_cells,
    total_cells,
)
from tests.support.builders import make_tasks

TASKS = make_tasks(a="regression", b="classification")


def lines_of(path: Path) -> list[str]:
    """Return the lines of a file."""
    return path.read_text().splitlines()


def test_the_columns_are_the_key_the_metrics_and_the_extra_ones(tmp_path: Path) -> None:
    """Breaks if a metric of two tasks has two columns, or an extra one stands among the metrics."""
    tasks = [*TASKS, Task("c", "regression_l1", size=1)]
    file = MetricsFile(tmp_path / "m.csv", tasks, extra_columns=["nll", "sigma_q05"])
    metrics = ["rmse", "mae", "r2", "rrmse", "accuracy", "f1", "ece"]
    assert lines_of(tmp_path / "m.csv") == [",".join([*BASE_COLUMNS, *metrics, "nll", "sigma_q05"])]
    assert file.columns == [*BASE_COLUMNS, *metrics, "nll", "sigma_q05"]


def test_numbers_are_written_in_full_and_undefined_ones_are_empty(tmp_path: Path) -> None:
    """Breaks if a CSV loses digits, or says nan where a number is not defined."""
    file = MetricsFile(tmp_path / "m.csv", TASKS)
    value = 0.1 + 0.2
    file.append(
        [
            {
                "epoch": 1,
                "split": "val",
                "task": 'a "b", c',
                "loss": value,
                "weight": math.nan,
                "sigma": None,
                "f1": 0.0,
            }
        ]
    )
    file.append([{"epoch": 2, "loss": math.inf, "unknown": 5}])
    first, second = lines_of(tmp_path / "m.csv")[1:]
    assert first.startswith('1,,val,"a ""b"", c",0.30000000000000004,,,')
    assert "nan" not in first
    assert second.split(",")[:5] == ["2", "", "", "", "inf"]
    assert "5" not in second


def test_a_resumed_file_is_cut_back_to_its_checkpoint(tmp_path: Path) -> None:
    """Breaks if rows that were written after the last checkpoint are there twice."""
    file = MetricsFile(tmp_path / "m.csv", TASKS)
    file.append([{"epoch": 1}])
    position = file.position
    content_at_checkpoint = (tmp_path / "m.csv").read_bytes()
    assert position == len(content_at_checkpoint)
    file.append([{"epoch": 2}])
    resumed = MetricsFile(tmp_path / "m.csv", TASKS, position)
    assert (tmp_path / "m.csv").read_bytes() == content_at_checkpoint
    assert resumed.position == position
    resumed.append([{"epoch": 2}])
    assert [line.split(",")[0] for line in lines_of(tmp_path / "m.csv")] == ["epoch", "1", "2"]
    with pytest.raises(
        RunDirectoryError,
        match=r"m\.csv' is shorter than its checkpoint says; run again with mtl-run repeat=",
    ):
        MetricsFile(tmp_path / "m.csv", TASKS, 10_000)
    with pytest.raises(RunDirectoryError, match="is shorter than its checkpoint says"):
        MetricsFile(tmp_path / "none.csv", TASKS, 1)


def test_a_new_run_starts_a_new_file(tmp_path: Path) -> None:
    """Breaks if a run appends to what a failed one left."""
    (tmp_path / "m.csv").write_text("old\n")
    MetricsFile(tmp_path / "m.csv", TASKS)
    assert lines_of(tmp_path / "m.csv")[0].startswith("epoch,")
    assert len(lines_of(tmp_path / "m.csv")) == 1


def test_cosines_have_a_column_per_task_and_a_cell_for_the_others() -> None:
    """Breaks if a task's cosine to itself is written, or the cosines of another task."""
    tasks = make_tasks(a="regression", b="regression", c="regression")
    assert measured_columns(["nll", "cosine", "norm_ratio"], tasks) == [
        "nll",
        "cosine_a",
        "cosine_b",
        "cosine_c",
        "norm_ratio",
    ]
    # A real matrix is symmetric; this one tells rows from columns.
    cosines = [[1.0, 0.1, 0.2], [0.11, 1.0, 0.3], [0.22, 0.33, 1.0]]
    measured = {
        "nll": [4.0, 5.0, 6.0],
        "cosine": [c for row in cosines for c in row],
        "norm_ratio": [0.5],
    }
    assert task_cells(measured, 1, tasks) == {"nll": 5.0, "cosine_a": 0.11, "cosine_c": 0.3}
    assert task_cells(measured, 0, tasks) == {"nll": 4.0, "cosine_b": 0.1, "cosine_c": 0.2}
    assert total_cells(measured) == {"norm_ratio": 0.5}
    assert total_cells({"nll": [1.0]}) == {}
