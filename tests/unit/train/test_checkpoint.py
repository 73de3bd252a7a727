"""Checkpoints: written whole or not at all, readable without running code, and one older copy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner.errors import RunDirectoryError
from mtl_runner.train import checkpoint


class Foreign:
    """An object that only code of somebody else's can rebuild."""


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    """Breaks if dtype, nesting or random states change on the way through the file."""
    state = {
        "epoch": 3,
        "model": {"w": torch.randn(2, 2, dtype=torch.float64)},
        "order": torch.Generator().manual_seed(1).get_state(),
        "values": [0.1, None, "a"],
    }
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    loaded = checkpoint.load(tmp_path / "checkpoint.pt")
    for key in ("model", "order"):
        torch.testing.assert_close(loaded.pop(key), state.pop(key), rtol=0, atol=0)
    assert loaded == state


def test_a_state_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    """Breaks if a failed save destroys the last good checkpoint."""
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(path, {"epoch": 2, "function": lambda: None})
    assert checkpoint.load(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """Breaks if loading somebody else's run executes what is pickled in it."""
    path = tmp_path / "checkpoint.pt"
    torch.save({"object": Foreign()}, path)
    with pytest.raises(RunDirectoryError, match="cannot be read as a checkpoint"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Breaks if a missing or damaged file ends in an error of torch."""
    path = tmp_path / "checkpoint.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"checkpoint\.pt"):
        checkpoint.load(path)


def test_the_previous_files_come_back(tmp_path: Path) -> None:
    """Breaks if a replica that was killed ahead of the others cannot go back to their epoch."""
    for epoch in (1, 2):
        checkpoint.keep_previous(tmp_path)
        for name in checkpoint.FILES:
            checkpoint.save(tmp_path / name, {"epoch": epoch})
    assert checkpoint.saved_epochs(tmp_path) == [2, 1]
    checkpoint.restore_previous(tmp_path)
    assert [checkpoint.load(tmp_path / name)["epoch"] for name in checkpoint.FILES] == [1, 1]
    assert checkpoint.saved_epochs(tmp_path) == [1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.pt", "checkpoint.pt"]


def test_deleting_the_previous_files_leaves_the_present_ones(tmp_path: Path) -> None:
    """Breaks if a finished save leaves a hidden folder, or deletes the checkpoint itself."""
    checkpoint.save(tmp_path / "checkpoint.pt", {"epoch": 1})
    checkpoint.keep_previous(tmp_path)
    checkpoint.delete_previous(tmp_path)
    checkpoint.delete_previous(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_run_without_a_checkpoint_starts_at_epoch_0(tmp_path: Path) -> None:
    """Breaks if a run that was killed before its first checkpoint cannot be resumed."""
    checkpoint.keep_previous(tmp_path)
    assert checkpoint.saved_epochs(tmp_path) == [0]
