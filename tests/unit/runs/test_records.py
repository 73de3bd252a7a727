"""What a run directory records, and what is said where it records nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.records import read_config, read_identity, read_summary


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    """Breaks if a wrong path after resume= ends in a traceback."""
    with pytest.raises(RunDirectoryError, match="does not exist; give the path"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="holds no run"):
        read_config(tmp_path)
    (tmp_path / "multirun.yaml").write_text("")
    with pytest.raises(RunDirectoryError, match="is a sweep; start the same command again"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_summary_that_cannot_be_read_is_empty(tmp_path: Path, text: str) -> None:
    """Breaks if a run that was killed while it began cannot be started again."""
    (tmp_path / "summary.json").write_text(text)
    assert read_summary(tmp_path) == {}


def test_a_run_without_an_identity_takes_it_from_its_summary(tmp_path: Path) -> None:
    """Breaks if runs recorded before run.json cannot be repeated."""
    (tmp_path / "summary.json").write_text('{"overrides": ["seed=1"], "choices": {"data": "toy"}}')
    assert read_identity(tmp_path) == {"overrides": ["seed=1"], "choices": {"data": "toy"}}
