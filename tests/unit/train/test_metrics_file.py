"""metrics.csv as a file: its columns, its cells, and how it is cut back to a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.tasks.task import Task
from mtl_runner.train import metrics_file
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
    saved = file.state()
    content_at_checkpoint = (tmp_path / "m.csv").read_bytes()
    assert saved["position"] == len(content_at_checkpoint)
    file.append([{"epoch": 2}])
    resumed = MetricsFile(tmp_path / "m.csv", TASKS, saved)
    assert (tmp_path / "m.csv").read_bytes() == content_at_checkpoint
    assert resumed.state() == saved
    resumed.append([{"epoch": 2}])
    assert [line.split(",")[0] for line in lines_of(tmp_path / "m.csv")] == ["epoch", "1", "2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv"]


EDITS = {
    "carriage returns": lambda data: data.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "a comment": lambda data: b"# my best run\n" + data,
    "a column": lambda data: data.replace(b"\n", b",note\n"),
    "semicolons": lambda data: data.replace(b",", b";"),
    "zero bytes": lambda data: b"\0" * len(data),
    "another number": lambda data: data.replace(b"0.25", b"0.26"),
    "fewer rows": lambda data: data[:20],
    "no rows": lambda data: b"",
}


def edited_file(path: Path, edit: Callable[[bytes], bytes]) -> tuple[dict[str, Any], bytes, bytes]:
    """Write a file and edit it; return its state before, its content before, and after."""
    file = MetricsFile(path, TASKS)
    file.append([{"epoch": epoch, "loss": 0.25} for epoch in range(5)])
    written = path.read_bytes()
    path.write_bytes(edit(written))
    return file.state(), written, edit(written)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_file_is_set_aside_and_written_anew(
    edit: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if a file that somebody has opened in a spreadsheet gets rows glued to its own."""
    path = tmp_path / "m.csv"
    saved, written, edited = edited_file(path, EDITS[edit])
    MetricsFile(path, TASKS, saved).append([{"epoch": 5}])
    assert path.read_bytes().startswith(written)
    assert lines_of(path)[-1].startswith("5,")
    assert (tmp_path / "m.csv.edited").read_bytes() == edited
    assert caplog.messages == [
        "m.csv was edited; it is set aside as m.csv.edited and written anew from the checkpoint."
    ]


def test_what_was_set_aside_before_stays(tmp_path: Path) -> None:
    """Breaks if a second edit overwrites the first one."""
    path = tmp_path / "m.csv"
    saved, written, edited = edited_file(path, EDITS["a comment"])
    MetricsFile(path, TASKS, saved)
    path.write_bytes(b"once more")
    MetricsFile(path, TASKS, saved)
    assert path.read_bytes() == written
    assert (tmp_path / "m.csv.edited").read_bytes() == edited
    assert (tmp_path / "m.csv.edited.1").read_bytes() == b"once more"


def test_a_missing_file_is_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a run cannot go on because somebody has moved its table."""
    path = tmp_path / "m.csv"
    saved, written, _ = edited_file(path, EDITS["no rows"])
    path.unlink()
    MetricsFile(path, TASKS, saved)
    assert path.read_bytes() == written
    assert caplog.messages == ["m.csv was missing; it is written anew from the checkpoint."]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        ("a comment", r"is not what the run wrote \(it differs in its first \d+ bytes\)"),
        ("fewer rows", "is shorter than its checkpoint says"),
    ],
)
def test_an_edited_file_that_is_too_long_to_be_kept_is_refused(
    edit: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if every save writes millions of rows again, or a long file is patched up."""
    monkeypatch.setattr(metrics_file, "KEPT_BYTES", 100)
    path = tmp_path / "m.csv"
    saved, written, edited = edited_file(path, EDITS[edit])
    assert saved["content"] is None
    after = "; put the original back, or run again with mtl-run repeat="
    with pytest.raises(RunDirectoryError, match=rf"m\.csv' {problem}{after}"):
        MetricsFile(path, TASKS, saved)
    assert path.read_bytes() == edited
    path.write_bytes(written)
    assert MetricsFile(path, TASKS, saved).state() == saved


def test_a_checkpoint_of_an_older_version_knows_the_length_only(tmp_path: Path) -> None:
    """Breaks if a run that an older version began cannot be resumed."""
    path = tmp_path / "m.csv"
    saved, written, _ = edited_file(path, lambda data: data + b"5,")
    old = {"position": saved["position"]}
    resumed = MetricsFile(path, TASKS, old)
    assert path.read_bytes() == written
    resumed.append([{"epoch": 5}])
    again = resumed.state()
    assert again == {"position": path.stat().st_size, "checksum": None, "content": None}
    assert MetricsFile(path, TASKS, again).state() == again
    with pytest.raises(RunDirectoryError, match="is shorter than its checkpoint says"):
        MetricsFile(tmp_path / "none.csv", TASKS, old)


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
