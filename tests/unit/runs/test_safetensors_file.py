"""``best.safetensors``: read by others, and asked for before the training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mtl_runner.runs.predictor import load
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request


@pytest.mark.images
@pytest.mark.parametrize("weighting", ["fixed", "single_task"])
def test_the_best_weights_can_be_read_by_others(tmp_path: Path, weighting: str) -> None:
    """Breaks if the file holds the last epoch's weights, or other names than the model."""
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    options = (f"weighting={weighting}", "trainer.epochs=3", "optimizer.lr=1")
    assert run(tiny_request(tmp_path, "record.safetensors=true", *options)).error == ""
    read = safetensors.load_file(tmp_path / "best.safetensors")
    best = load(tmp_path).model.state_dict()
    assert read.keys() == best.keys()
    assert all(torch.equal(read[name], best[name]) for name in best)


def test_without_safetensors_a_run_does_not_begin_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a run of a day ends in an import error."""
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    outcome = run(tiny_request(tmp_path, "record.safetensors=true"))
    assert (
        outcome.error
        == "record.safetensors=true needs safetensors, which is not installed; install it with: pip install 'mtl-runner[safetensors]'."
    )
    assert not (tmp_path / "metrics.csv").exists()
