"""The rows of runs.csv: one per run, with its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_runner.results.records.labels import Label
from mtl_runner.results.records.roles import RunRole
from mtl_runner.results.records.summary import EPOCHS, SPLITS


def run_row(role: RunRole, label: Label, output: Path) -> dict[str, Any]:
    """Return a run's row of ``runs.csv``.

    Runs that chose settings come without the test split, which must not choose anything.
    """
    run, summary = role.run, role.run.summary
    row: dict[str, Any] = {
        "run": relative(run.directory, output),
        "status": run.status,
        "reason": run.reason,
        "data": role.data,
        "strategy": label.strategy,
        "seed": summary.seed,
        "overrides": " ".join(f"{key}={value}" for key, value in run.overrides.items()),
    }
    if not run.finished:
        return row
    best_epoch: Any = summary.monitor.best_epoch
    if isinstance(best_epoch, Mapping):
        best_epoch = " ".join(f"{task}:{epoch}" for task, epoch in best_epoch.items())
    row |= {
        "epochs": summary.epochs,
        "best_epoch": best_epoch,
        "monitor.best": summary.monitor.best,
        "monitor.final": summary.monitor.final,
        "seconds": summary.seconds,
    }
    for task, result in summary.tasks.items():
        row |= {f"{task}.weight": result.weight, f"{task}.sigma": result.sigma}
        for at in EPOCHS:
            for split in SPLITS if role.final else SPLITS[:1]:
                row |= {f"{at}.{split}.{task}.{m}": v for m, v in result.at(at, split).items()}
    return row


def relative(path: Path, base: Path) -> str:
    """Return a path as it is below a folder; as it was given if it lies elsewhere."""
    try:
        return str(path.resolve().relative_to(base.resolve()))
    except ValueError:
        return str(path)
