"""Runs of ``data=speed_mismatch`` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Command

NET = ("model.width=4", "model.depth=1")


@pytest.mark.parametrize("strategy", ["per_task_adam", "adatask"])
@pytest.mark.long
def test_a_run_with_rates_per_task_records_both_tasks(
    mtl: Command, tmp_path: Path, strategy: str
) -> None:
    """Breaks the command of the README; the pixels have metrics of their own."""
    few = ("trainer.epochs=1", "data.batch_size=256", "record.plots=none", *NET)
    result = mtl(
        "mtl-run", "data=speed_mismatch", f"weighting={strategy}", *few, "hydra.run.dir=run"
    )
    assert result.code == 0, result.err
    tasks = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]
    assert {"accuracy", "f1"} < set(tasks["digit"]["final"]["test"])
    assert {"miou", "pixel_accuracy"} < set(tasks["pixels"]["final"]["test"])
