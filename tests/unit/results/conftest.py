"""A sweep with baselines, without training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.results.evidence_builders import NOISE
from tests.unit.results.run_builders import write_run

# {first letter of the runs: options, difference to equal weights in percent}
STRATEGIES = {
    "e": ({}, 0.0),
    "f": ({"overrides": {"weighting.weights.a": 2}, "monitor": 0.4}, -1.0),
    "g": ({"weighting": "famo"}, -9.0),
    "d": ({"weighting": "dwa"}, 8.0),
    "s": ({"weighting": "single_task"}, -2.0),
}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write equal weights, fixed ones, famo, dwa and single tasks, six seeds each.

    The last run of dwa failed. The folder around the sweep is the working directory.
    """
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sweep"
    for letter, (options, change) in STRATEGIES.items():
        for seed in range(6):
            value = 1 + (change + (NOISE[seed] if letter != "e" else 0)) / 100
            metrics = {"rmse": value, "mae": value, "loss": value, "relative_loss": value / 2}
            status = "failed" if (letter, seed) == ("d", 5) else "finished"
            tasks = {"a": metrics, "b": metrics}
            write_run(folder, f"{letter}{seed}", tasks, seed=seed, status=status, **options)
    return folder
