"""Run directories as mtl-run leaves them, written without training: for what reads them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from mtl_runner.results.task_metrics import TaskMetrics

TASKS = {"y1": "regression", "y2": "regression"}


def make_run(
    directory: Path,
    weighting: str = "fixed",
    seed: int = 0,
    *,
    tasks: dict[str, str] | None = None,
    epochs: int = 20,
    status: str = "finished",
    reason: str = "",
    worth: float = 1.0,
    **overrides: Any,
) -> Path:
    """One run directory; ``worth`` scales its losses. Keys of overrides have ``__`` for dots.

    ``status="killed"`` leaves nothing but the config, as a run that was killed while it loaded its data.
    """
    tasks = tasks or TASKS
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text("seed: 0\n")
    pairs = {
        "weighting": weighting,
        "seed": seed,
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    (directory / ".hydra" / "overrides.yaml").write_text(
        json.dumps([f"{k}={v}" for k, v in pairs.items()])
    )
    if status == "killed":
        return directory
    rows = [_rows(epoch, epochs, seed, worth, tasks, weighting) for epoch in range(1, epochs + 1)]
    columns = [
        "epoch",
        "step",
        "split",
        "task",
        "loss",
        "weight",
        "sigma",
        "active",
        "relative_loss",
    ]
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for block in rows:
            writer.writerows(block)
    if status == "cut off":  # killed in the middle of a line
        text = (directory / "metrics.csv").read_text()
        (directory / "metrics.csv").write_text(text[: int(0.6 * len(text))])
        status = "running"
    found = {
        row["task"]: row["loss"]
        for row in rows[-1]
        if row["split"] == "val" and row["task"] != "total"
    }
    values = {
        task: {
            "loss": loss,
            "relative_loss": loss,
            TaskMetrics.of({"kind": tasks[task]}).main: loss,
        }
        for task, loss in found.items()
    }
    mean = sum(found.values()) / len(found)
    both = {
        task: {"val": value, "test": {k: 1.1 * v for k, v in value.items()}}
        for task, value in values.items()
    }
    summary = {
        "status": status,
        "reason": reason,
        "seed": seed,
        "choices": {
            "weighting": weighting,
            "data": "made",
            "update": "joint",
            "schedule": "all",
            "likelihood": "standard",
        },
        "overrides": [f"{k}={v}" for k, v in pairs.items()],
        "epochs": epochs,
        "monitor": {"name": "relative_loss", "best": mean, "best_epoch": epochs, "final": mean},
        "tasks": {
            task: {
                "kind": tasks[task],
                "weight": 1.0,
                "sigma": None,
                "final": both[task],
                "best": both[task],
            }
            for task in tasks
        },
        "versions": {"torch": "2.13.0"},
        "time": {"seconds": 2.0 + seed},
    }
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def _rows(
    epoch: int, epochs: int, seed: int, worth: float, tasks: dict[str, str], weighting: str
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    losses = []
    for i, task in enumerate(tasks):
        noise = 0.03 * math.sin(7 * seed + 3 * i + 0.9 * epoch)
        loss = (
            worth ** (1 - 2 * (i % 2))
            * (0.2 + 0.1 * i + 0.8 * math.exp(-5 * epoch / epochs))
            * (1 + noise)
        )
        losses.append(loss)
        learned = weighting == "uncertainty"
        extra = {
            "weight": 1 / loss if learned else 1.0,
            "sigma": math.sqrt(loss) if learned else "",
            "active": 1.0,
        }
        rows.append(
            {
                "epoch": epoch,
                "step": 10 * epoch,
                "split": "train",
                "task": task,
                "loss": 0.9 * loss,
                **extra,
            }
        )
        rows.append(
            {
                "epoch": epoch,
                "step": 10 * epoch,
                "split": "val",
                "task": task,
                "loss": loss,
                "relative_loss": loss,
            }
        )
    mean = sum(losses) / len(losses)
    return [
        *rows,
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "split": "val",
            "task": "total",
            "relative_loss": mean,
        },
    ]
