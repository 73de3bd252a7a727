"""Studies for reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.results.run_builders import write_study, write_trained_run


def write_made_study(folder: Path, methods: int = 0) -> Path:
    """Write a study of equal weights, dwa with its twin, nine fixed weights and more methods."""
    strategies = [("equal", "equal", ""), ("dwa", "strategy", ""), ("dwa frozen", "twin", "dwa")]
    strategies += [(f"fixed y1={i}.5 y2=1", "fixed", "") for i in range(9)]
    strategies += [(f"method{i}", "strategy", "") for i in range(methods)]
    jobs: dict[str, Any] = {}
    for i, (name, role, twin_of) in enumerate(strategies):
        weighting = "dwa" if role == "strategy" else "fixed"
        write_trained_run(folder / str(i), weighting, 1, loss_factor=1.0 - i / 100)
        jobs[str(i)] = {"strategy": name, "role": role, "of": twin_of}
    write_study(folder, jobs)
    return folder
