"""metrics.csv as curves: whole rows of a file that is cut off, and cells that are no numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.results.records.curves import RecordedCurves, read_curves

TEXT = """epoch,step,split,task,loss,weight,cosine_b
1,10,train,a,2.0,0.5,
1,10,val,a,2.5,,
1,10,val,total,,,
2,20,train,a,1.0,0.25,-0.1
2,20,val,a,1.5,,
2,20,val,b,7,,
"""


def curves_of(folder: Path, text: str) -> RecordedCurves:
    """Write metrics.csv and read it."""
    (folder / "metrics.csv").write_text(text)
    return read_curves(folder)


def test_a_curve_is_that_of_its_split_task_and_column(tmp_path: Path) -> None:
    """Breaks if a value of another split or task is drawn, or an empty cell is a zero."""
    curves = curves_of(tmp_path, TEXT)
    assert curves.curve("train", "a", "loss") == {1: 2.0, 2: 1.0}
    assert curves.curve("val", "a", "loss") == {1: 2.5, 2: 1.5}
    assert curves.curve("train", "a", "cosine_b") == {2: -0.1}
    assert curves.curve("val", "a", "weight") == {}


def test_the_total_is_no_task(tmp_path: Path) -> None:
    """Breaks if the mean over tasks is drawn as one more task."""
    curves = curves_of(tmp_path, TEXT)
    assert curves.tasks("val") == ["a", "b"]
    assert curves.tasks("test") == []


def test_unknown_columns_tasks_and_splits_have_no_curve(tmp_path: Path) -> None:
    """Breaks if a run of an older version without a column stops the report."""
    curves = curves_of(tmp_path, TEXT)
    assert curves.curve("train", "a", "sigma") == {}
    assert curves.curve("train", "z", "loss") == {}
    assert curves.curve("test", "a", "loss") == {}
    assert [curves.has(name) for name in ("loss", "cosine_b", "sigma")] == [True, True, False]


def test_a_column_of_empty_cells_has_nothing(tmp_path: Path) -> None:
    """Breaks if a picture is drawn of a quantity that was never recorded."""
    assert not curves_of(tmp_path, TEXT.replace("-0.1", "")).has("cosine_b")


@pytest.mark.parametrize("count", range(1, 60, 7))
def test_of_a_file_that_is_cut_off_the_whole_rows_stand(tmp_path: Path, count: int) -> None:
    """Breaks if a run that was killed while it wrote loses all its curves, or reads half a row."""
    text = TEXT[:-count]
    curves = curves_of(tmp_path, text)
    rows = [row for task_rows in curves.rows.values() for row in task_rows]
    complete = [line.split(",") for line in text.split("\n")[1:-1]]
    assert complete
    assert all(row in rows for row in complete)
    assert all(len(row) == len(curves.columns) for row in rows)


def test_a_cell_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    """Breaks if one broken cell hides the curve; a diverged loss is a number, though."""
    text = TEXT.replace("2,20,train,a,1.0", "2,20,train,a,oops") + "3,30,train,a,inf,1,\n"
    text += "x,40,train,a,9.0,1,\n"
    assert curves_of(tmp_path, text).curve("train", "a", "loss") == {1: 2.0, 3: float("inf")}


@pytest.mark.parametrize("text", ["", "epoch,task,loss\n1,a,2\n", "no table at all"])
def test_what_is_no_table_of_curves_has_none(tmp_path: Path, text: str) -> None:
    """Breaks if an empty or foreign file stops the report."""
    curves = curves_of(tmp_path, text)
    assert (curves.curve("train", "a", "loss"), curves.tasks("train")) == ({}, [])
    assert not curves.has("loss")


def test_no_file_has_no_curves(tmp_path: Path) -> None:
    """Breaks if a run that was killed early stops the report."""
    assert read_curves(tmp_path) == RecordedCurves()


def test_bytes_that_are_no_text_cost_their_row_alone(tmp_path: Path) -> None:
    """Breaks if a damaged file is worth nothing."""
    damaged = TEXT.encode().replace(b"2,20,train,a,1.0", b"2,20,train,a,\xff\xfe")
    (tmp_path / "metrics.csv").write_bytes(damaged)
    assert read_curves(tmp_path).curve("train", "a", "loss") == {1: 2.0}
