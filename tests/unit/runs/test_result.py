"""A finished run as an object: it reads its files, and a notebook shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.files import write_json
from mtl_runner.runs.result import RunResult

VAL = {"loss": 0.25, "relative_loss": 0.1, "rmse": 0.5}
SUMMARY = {
    "status": "finished",
    "monitor": {"name": "relative_loss", "final": 0.2, "best": 0.1, "best_epoch": 3},
    "tasks": {
        "<depth>": {"weight": 1.0, "sigma": None, "true_sigma": None, "final": {"val": VAL}},
    },
}


@pytest.fixture
def result(tmp_path: Path) -> RunResult:
    """A run directory with a summary, a metrics file and two pictures."""
    write_json(tmp_path / "summary.json", SUMMARY)
    (tmp_path / "metrics.csv").write_text("epoch,task,loss\n1,depth,0.5\n2,depth,0.25\n")
    for name in ("weights", "losses"):
        (tmp_path / f"{name}.png").write_bytes(b"a picture")
    return RunResult(tmp_path)


def test_files_are_read_when_they_are_asked_for(result: RunResult) -> None:
    """Breaks if a run without pictures or best.pt cannot be looked at, or numbers become text."""
    assert result.summary == SUMMARY
    assert result.metrics["loss"].tolist() == [0.5, 0.25]
    assert [path.name for path in result.pictures] == ["losses.png", "weights.png"]


def test_it_prints_as_the_end_of_the_command(result: RunResult) -> None:
    """Breaks if a notebook shows less than the terminal."""
    lines = repr(result).splitlines()
    assert lines[0].split()[:3] == ["task", "val", "loss"]
    assert lines[-2].startswith("relative_loss 0.2 at the end; best 0.1 at epoch 3")
    assert lines[-1] == str(result.directory)


def test_a_notebook_shows_table_and_pictures(result: RunResult) -> None:
    """Breaks if names of tasks are taken for tags, or a picture depends on another file."""
    html = result._repr_html_()
    assert "&lt;depth&gt;" in html
    assert "<depth>" not in html
    assert html.count('src="data:image/png;base64,YSBwaWN0dXJl"') == 2
