"""A stack of runs that a launcher has listed in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.run import read_run
from mtl_runner.runs.queued import enqueue
from mtl_runner.runs.recorded_stack import train_recorded_stack
from tests.unit.runs.small_runs import tiny_request


def write_stack(tmp_path: Path, *options: str) -> Path:
    """Queue three runs and list them in a file."""
    runs = []
    for seed in range(3):
        request = tiny_request(tmp_path / str(seed), f"seed={seed}", *options)
        enqueue(replace(request, job=str(seed)))
        runs.append({"directory": str(request.directory), "job": str(seed)})
    path = tmp_path / "stack.json"
    path.write_text(json.dumps({"version": 1, "memory": 2e9, "runs": runs}))
    return path


def test_the_runs_of_a_file_train_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a job of a cluster trains its stack one by one, or not at all."""
    assert train_recorded_stack(write_stack(tmp_path)) == 0
    assert [read_run(tmp_path / str(seed)).status for seed in range(3)] == ["finished"] * 3
    assert "runs by itself" not in capsys.readouterr().out


def test_what_cannot_be_stacked_trains_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a job of a cluster leaves out what does not stack."""
    assert train_recorded_stack(write_stack(tmp_path, "trainer.ema=0.9")) == 0
    assert [read_run(tmp_path / str(seed)).status for seed in range(3)] == ["finished"] * 3
    assert capsys.readouterr().out.count("runs by itself: trainer.ema") == 3


def test_a_failed_run_is_the_exit_status(tmp_path: Path) -> None:
    """Breaks if a cluster is told that all went well."""
    assert train_recorded_stack(write_stack(tmp_path, "optimizer.lr=1e300")) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": [{}], "memory": 1}'])
def test_a_file_that_lists_nothing_is_one_sentence(tmp_path: Path, text: str) -> None:
    """Breaks if a damaged file ends in a traceback."""
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(
        RunDirectoryError,
        match=r"lists no stack of runs .*; start the sweep again with resume=true",
    ):
        train_recorded_stack(tmp_path / "stack.json")
