"""A run on a GPU equals the run on the CPU. Skipped where there is no GPU, as in CI."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.support.commands import Command

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA GPU"
)


@pytest.mark.parametrize(
    "weighting", ["fixed", "uncertainty", "per_task_adam", "staged", "single_task"]
)
def test_a_run_on_a_gpu_equals_the_run_on_the_cpu_to_rounding(
    mtl: Command, tmp_path: Path, weighting: str
) -> None:
    """Breaks if a tensor stays on the CPU, or the devices get different data or weights."""
    losses = {}
    for device in ("cpu", "cuda"):
        options = (
            f"weighting={weighting}",
            "data=digits",
            "trainer.epochs=3",
            "record.plots=none",
            f"trainer.device={device}",
        )
        result = mtl("mtl-run", *options, f"hydra.run.dir={device}")
        assert result.code == 0, result.err
        losses[device] = pd.read_csv(tmp_path / device / "metrics.csv")["loss"].dropna().to_numpy()
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)
