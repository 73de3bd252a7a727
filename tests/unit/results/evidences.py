"""Evidence made by hand: strategies whose values per seed are written down, as objects and as run directories."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.results.evidence import DatasetEvidence, Evidence, StrategyEvidence, Values
from mtl_runner.results.task_metrics import TaskMetrics

TASKS = {"a": "regression", "b": "regression"}
NOISE = (
    0.3,
    -0.2,
    0.1,
    -0.3,
    0.25,
    -0.15,
    0.05,
    -0.05,
    0.2,
    -0.2,
)  # in percent: what is left between paired runs


def strategy(
    name: str,
    role: str,
    change: float | Sequence[float] = 0.0,
    *,
    seeds: int = 8,
    failed: Sequence[int] = (),
    noise: float = 1.0,
    **given: Any,
) -> StrategyEvidence:
    """A strategy whose rmse of tasks a and b is ``change`` percent (one number, or one per task) above 1 and 10."""
    changes = [change, change] if isinstance(change, (int, float)) else list(change)
    values: dict[str, Values] = {}
    for seed in range(seeds):
        if seed not in failed:
            wobble = noise * (NOISE[seed % 10] if role != "equal" else 0.0)
            shared = 1 + 0.05 * math.sin(seed)  # what the seed does to all strategies alike
            values[f"seed={seed}"] = {
                task: {
                    "rmse": base * shared * (1 + (c + wobble) / 100),
                    "loss": base,
                    "relative_loss": 0.5 * (1 + (c + wobble) / 100),
                }
                for task, base, c in zip("ab", (1.0, 10.0), changes, strict=True)
            }
    worth = sum(changes) / len(changes)
    values = given.pop("values", values)
    fields: dict[str, Any] = {
        "name": name,
        "role": role,
        "of": "",
        "values": values,
        "relative_loss": relative_losses(values),
        "monitor": dict.fromkeys(values, 1 + worth / 100),
        "best_monitor": dict.fromkeys(values, 1 + worth / 100),
        "validation": {r: {"a": 1.0, "b": 1.0} for r in values},
        "failures": {f"seed={s}": "diverged" for s in failed},
        "unfinished": (),
        "seconds": dict.fromkeys(values, 2.0),
        "backward_passes": 1.0,
        "tuning": {},
    }
    return StrategyEvidence(**{**fields, **given})


def relative_losses(values: Mapping[str, Values]) -> dict[str, float]:
    """The mean over tasks per replicate, where all tasks have one."""
    found = {
        r: [metrics.get("relative_loss", math.nan) for metrics in tasks.values()]
        for r, tasks in values.items()
    }
    return {r: sum(each) / len(each) for r, each in found.items() if all(map(math.isfinite, each))}


def data_of(*strategies: StrategyEvidence, tasks: Mapping[str, str] = TASKS) -> DatasetEvidence:
    return DatasetEvidence(
        "d", {name: TaskMetrics.of({"kind": kind}) for name, kind in tasks.items()}, strategies
    )


def evidence_of(*strategies: StrategyEvidence) -> Evidence:
    return Evidence("final", "test", (data_of(*strategies),))


def write_run(
    folder: Path, name: str, tasks: Mapping[str, Mapping[str, float | None]], **summary: Any
) -> None:
    """A run directory as a finished run leaves it, with the same metrics everywhere."""
    options = {
        "weighting": "fixed",
        "seed": 0,
        "status": "finished",
        "monitor": 0.5,
        "overrides": {},
        **summary,
    }
    rows = {
        task: {"kind": "regression", "weight": 1.0, "sigma": None}
        | {at: {split: dict(metrics) for split in ("val", "test")} for at in ("final", "best")}
        for task, metrics in tasks.items()
    }
    choices = {
        "data": "d",
        "weighting": options["weighting"],
        "update": "joint",
        "schedule": "all",
        "likelihood": "standard",
    }
    overrides = {"weighting": options["weighting"], "seed": options["seed"], **options["overrides"]}
    found = {
        "status": options["status"],
        "reason": ""
        if options["status"] == "finished"
        else "The loss of task 'a' became nan in epoch 3.",
        "seed": options["seed"],
        "choices": {**choices, **options.get("choices", {})},
        "overrides": [f"{key}={value}" for key, value in overrides.items()],
    }
    if options["status"] == "finished":
        monitor = {
            "name": "relative_loss",
            "best": options["monitor"],
            "best_epoch": 1,
            "final": options["monitor"],
        }
        time = {
            "seconds": 1.5,
            "steps_per_second": 10.0,
            "backward_passes": options.get("backward_passes"),
        }
        found |= {"epochs": 3, "steps": 9, "monitor": monitor, "tasks": rows, "time": time}
    (folder / name).mkdir(parents=True)
    (folder / name / "summary.json").write_text(json.dumps(found))
