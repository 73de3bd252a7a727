"""An earlier comparison in the output folder is never replaced silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.results.compare import compare_directories
from mtl_runner.results.earlier import keep_earlier
from tests.unit.results.run_builders import METRICS, write_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write three sweeps of one run; the folder around them is the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y", "z"):
        write_run(tmp_path / name, "0", METRICS)
    return tmp_path


def compare_into(output: str, *names: str) -> None:
    """Compare sweeps of the working directory."""
    compare_directories([Path(name) for name in names], Path(output), plots=False)


def test_a_comparison_of_other_runs_is_kept(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if `mtl-compare a b` destroys what `mtl-compare a c` has left, without a word."""
    compare_into("comparison", "x", "y")
    before = (folder / "comparison" / "report.html").read_bytes()
    (folder / "comparison" / "notes.txt").write_text("mine")
    with caplog.at_level("WARNING", logger="mtl_runner"):
        compare_into("comparison", "x", "z")
    kept = folder / "comparison.previous"
    assert (kept / "report.html").read_bytes() == before
    assert "y/0" in (kept / "runs.csv").read_text()
    assert "z/0" in (folder / "comparison" / "runs.csv").read_text()
    assert (folder / "comparison" / "notes.txt").read_text() == "mine"
    assert f"comparison held a comparison of other runs; it is now in {kept}." in caplog.messages
    compare_into("comparison", "y", "z")
    assert "z/0" in (folder / "comparison.previous-2" / "runs.csv").read_text()
    assert (kept / "report.html").read_bytes() == before


def test_the_same_comparison_is_made_again_in_its_place(folder: Path) -> None:
    """Breaks if every look at a sweep that grows leaves one more folder."""
    compare_into("comparison", "x", "y")
    compare_into("comparison", "x", "y")
    compare_into("comparison", "x", "y", "z")
    assert sorted(path.name for path in folder.iterdir()) == ["comparison", "x", "y", "z"]


def test_a_sweep_of_which_a_run_was_deleted_is_compared_in_its_place(folder: Path) -> None:
    """Breaks if a sweep's own tables are moved away from it."""
    write_run(folder / "x", "1", METRICS, seed=1)
    compare_into("x", "x")
    (folder / "x" / "1" / "summary.json").unlink()
    compare_into("x", "x")
    assert sorted(path.name for path in folder.iterdir()) == ["x", "y", "z"]


def test_a_folder_without_a_comparison_is_left_alone(folder: Path) -> None:
    """Breaks if a user's own files are moved because of their folder."""
    (folder / "mine").mkdir()
    assert keep_earlier(folder / "mine", []) is None
    assert keep_earlier(folder / "missing", []) is None
