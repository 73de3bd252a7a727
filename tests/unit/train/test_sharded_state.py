"""Sharded tensors beside a checkpoint: written, read, kept and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.errors import RunDirectoryError
from mtl_runner.experiment.sharding import shard_model
from mtl_runner.gradients.ranks import Ranks, joined
from mtl_runner.gradients.shards import Shards, cut_like, full_tensor, is_sharded
from mtl_runner.train import checkpoint, sharded_state

CPU = torch.device("cpu")
NUMBERS = torch.randn(5, 2, dtype=torch.float64)


@pytest.fixture
def shards() -> Iterator[Shards]:
    """Return the parameters of a layer, in a group of this process alone."""
    with joined(Ranks(0, 1)) as ranks:
        layer = nn.Linear(2, 3)
        shard_model(layer, [], ranks, CPU)
        yield Shards(list(layer.parameters()), ranks)


def state_of(shards: Shards, step: int = 4) -> dict[str, Any]:
    """Return a state with a sharded tensor in it."""
    cut = cut_like(NUMBERS, shards.parameters[0])
    return {"epoch": step, "step": step, "update": {"state": [{0: cut}, (torch.ones(1), None)]}}


def save(directory: Path, shards: Shards, step: int = 4) -> dict[str, Any]:
    """Write a checkpoint with its sharded tensors; return its content."""
    state = sharded_state.save(state_of(shards, step), directory, shards.ranks)
    checkpoint.keep_previous(directory)
    checkpoint.save(directory / "checkpoint.pt", state)
    return checkpoint.load(directory / "checkpoint.pt")


def test_a_state_comes_back_sharded_or_whole(tmp_path: Path, shards: Shards) -> None:
    """Breaks if another number of processes cannot go on."""
    state = save(tmp_path, shards)
    again = sharded_state.put_back(state, tmp_path, shards, CPU)
    tensor = again["update"]["state"][0][0]
    assert is_sharded(tensor)
    assert torch.equal(full_tensor(tensor), NUMBERS)
    alone = sharded_state.put_back(state, tmp_path, None, CPU)
    assert torch.equal(alone["update"]["state"][0][0], NUMBERS)
    assert not is_sharded(alone["update"]["state"][0][0])
    assert alone["update"]["state"][1] == (torch.ones(1), None)
    assert sharded_state.put_back({"step": 4}, tmp_path, None, CPU) == {"step": 4}


def test_gathered_tensors_go_to_those_who_want_them(shards: Shards) -> None:
    """Breaks if ``best.pt`` holds a part of the weights."""
    state = {"weights": state_of(shards)["update"]["state"][0]}
    assert torch.equal(sharded_state.gathered(state, keep=True)["weights"][0], NUMBERS)
    assert sharded_state.gathered(state, keep=False) == {"weights": {0: None}}


def test_every_save_has_a_folder_of_its_own(tmp_path: Path, shards: Shards) -> None:
    """Breaks if a kill in a save damages the one before, or the folders pile up."""
    names = [save(tmp_path, shards, step)["sharded"]["folder"] for step in (4, 4, 8)]
    assert names == ["4", "4.1", "8"]
    sharded_state.keep_folders(tmp_path, {"4.1", "8"})
    folder = tmp_path / sharded_state.SHARDS
    assert sorted(path.name for path in folder.iterdir()) == ["4.1", "8"]
    checkpoint.keep_only(tmp_path, ["best.pt"])
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["change", "delete"])
def test_damaged_shards_are_noticed_and_the_save_before_is_taken(
    tmp_path: Path, shards: Shards, damage: str
) -> None:
    """Breaks if a run goes on with numbers that a disk has changed."""
    save(tmp_path, shards, step=4)
    state = save(tmp_path, shards, step=8)
    assert not checkpoint.is_damaged(tmp_path)
    (file,) = (tmp_path / sharded_state.SHARDS / "8").glob("*.distcp")
    if damage == "delete":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert not sharded_state.are_whole(state, tmp_path)
    checkpoint.go_back_if_damaged(tmp_path)
    assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == 4


def test_shards_that_are_missing_are_named(tmp_path: Path, shards: Shards) -> None:
    """Breaks if torch's wrapper of the error comes instead of a sentence."""
    state = save(tmp_path, shards)
    sharded_state.keep_folders(tmp_path, set())
    with pytest.raises(RunDirectoryError) as error:
        sharded_state.put_back(state, tmp_path, shards, CPU)
    folder = tmp_path / sharded_state.SHARDS / "4"
    assert (
        str(error.value)
        == f"The sharded tensors of the checkpoint in {str(folder)!r} cannot be read; run again with mtl-run repeat={tmp_path}."
    )
