"""Sharded tensors by torch.distributed.checkpoint, whose description of files is a pickle."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_runner.compat.torch_checkpoints import DESCRIPTION, load_sharded, save_sharded
from mtl_runner.experiment.sharding import shard_model
from mtl_runner.gradients.ranks import Ranks, joined


class Harmful:
    """An object whose pickle runs code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_tensors_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    """Breaks if torch's description names a class that the reader does not know."""
    with joined(Ranks(0, 1)) as ranks:
        layer = nn.Linear(2, 3, dtype=torch.float64)
        shard_model(layer, [], ranks, torch.device("cpu"))
        tensor = layer.weight.detach().to(dtype)
        save_sharded(tmp_path / "a", {"b.0": tensor})
        again = torch.zeros_like(tensor)
        load_sharded(tmp_path / "a", {"b.0": again}, is_alone=False)
        assert torch.equal(again.full_tensor(), tensor.full_tensor())  # type: ignore[attr-defined]
    read_alone = torch.zeros(3, 2, dtype=dtype)
    load_sharded(tmp_path / "a", {"b.0": read_alone}, is_alone=True)
    assert torch.equal(read_alone, tensor.to_local())  # type: ignore[attr-defined]


def test_a_foreign_description_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if resuming a run in a foreign folder runs what somebody has put there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / DESCRIPTION).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(pickle.UnpicklingError, match="does not belong there"):
        load_sharded(tmp_path, {"a": torch.zeros(1)}, is_alone=True)
    assert not (tmp_path / "harmed").exists()
