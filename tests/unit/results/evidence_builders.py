"""Evidence made by hand, with values per seed from the test, or gathered from directories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import (
    DatasetEvidence,
    Evidence,
    StrategyEvidence,
    Values,
    gather,
)
from mtl_runner.results.records.task_metrics import TaskMetrics

TASKS = {"a": "regression", "b": "regression"}
# In percent, by seed: what differs between paired runs beside the strategy.
NOISE = (0.3, -0.2, 0.1, -0.3, 0.25, -0.15, 0.05, -0.05, 0.2, -0.2)


def strategy(
    name: str,
    role: str,
    change: float | Sequence[float] = 0.0,
    *,
    seeds: int = 8,
    failed: Sequence[int] = (),
    noise: float = 1.0,
    **fields: Any,
) -> StrategyEvidence:
    """Return a strategy with an rmse near 1 for task a and near 10 for task b.

    Args:
        name: Its name.
        role: Its role, ``"equal"`` or ``"strategy"``.
        change: How far its rmse lies above that of equal weights, in percent, or one per task.
        seeds: The number of its seeds.
        failed: The seeds whose runs failed.
        noise: The factor of the noise that it has beside equal weights.
        **fields: Fields of the evidence that are given instead.
    """
    changes = [change, change] if isinstance(change, (int, float)) else list(change)
    values: dict[str, Values] = {}
    for seed in range(seeds):
        if seed not in failed:
            percent = noise * (NOISE[seed % 10] if role != "equal" else 0.0)
            seed_effect = 1 + 0.05 * math.sin(seed)
            values[f"seed={seed}"] = {
                task: {
                    "rmse": base * seed_effect * (1 + (task_change + percent) / 100),
                    "loss": base,
                    "relative_loss": 0.5 * (1 + (task_change + percent) / 100),
                }
                for task, base, task_change in zip("ab", (1.0, 10.0), changes, strict=True)
            }
    values = fields.pop("values", values)
    monitor = dict.fromkeys(values, 1 + sum(changes) / len(changes) / 100)
    defaults: dict[str, Any] = {
        "name": name,
        "role": role,
        "values": values,
        "recorded": values,
        "relative_loss": relative_losses(values),
        "monitor": monitor,
        "best_monitor": monitor,
        "validation": {replicate: {"a": 1.0, "b": 1.0} for replicate in values},
        "failures": {f"seed={seed}": "diverged" for seed in failed},
        "seconds": dict.fromkeys(values, 2.0),
        "backward_passes": 1.0,
    }
    return StrategyEvidence(**{**defaults, **fields})


def relative_losses(values: Mapping[str, Values]) -> dict[str, float]:
    """Return the mean relative loss over tasks per replicate, where all tasks have one."""
    losses = {
        replicate: [metrics.get("relative_loss", math.nan) for metrics in tasks.values()]
        for replicate, tasks in values.items()
    }
    return {r: sum(row) / len(row) for r, row in losses.items() if all(map(math.isfinite, row))}


def data_of(*strategies: StrategyEvidence, tasks: Mapping[str, str] = TASKS) -> DatasetEvidence:
    """Return the evidence of a data set with tasks of these kinds."""
    metrics = {name: TaskMetrics.of({"kind": kind}) for name, kind in tasks.items()}
    return DatasetEvidence("d", metrics, strategies)


def evidence_of(*strategies: StrategyEvidence) -> Evidence:
    """Return the evidence of one data set on the test split."""
    return Evidence("final", "test", (data_of(*strategies),))


def evidence_in(*folders: Path, **options: Any) -> Evidence:
    """Return the evidence of the runs in some folders."""
    return gather(Records.read(folders), **options)


def dataset_in(*folders: Path, **options: Any) -> DatasetEvidence:
    """Return the evidence of the only data set of the runs in some folders."""
    (data,) = evidence_in(*folders, **options).datasets
    return data
