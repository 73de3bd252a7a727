"""Runs of ``data=multi_mnist`` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.mnist_files import write_mnist


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in MNIST's format."""
    return write_mnist(tmp_path / "mnist")


@pytest.mark.long
def test_the_command_trains_on_the_files_and_says_what_is_wrong(
    mtl: Command, folder: Path, tmp_path: Path
) -> None:
    """Breaks if the pieces work, but not together: `mtl-run data=multi_mnist data.path=...`."""
    run = (
        "data=multi_mnist",
        "trainer.epochs=2",
        "data.batch_size=20",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    done = mtl("mtl-run", *run, f"data.path={folder}")
    assert done.code == 0, done.err
    tasks = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]
    assert set(tasks) == {"left", "right"}
    failed = mtl("mtl-run", *run, "data.path=nowhere", "hydra.run.dir=other")
    assert failed.code == 1
    assert "The folder 'nowhere' does not exist" in failed.last_line
    assert "Traceback" not in failed.err
