"""Run directories and studies as ``mtl-run`` leaves them, written without training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_runner.results.records.task_metrics import TaskMetrics

TASKS = {"y1": "regression", "y2": "regression"}
METRICS = {
    "a": {"rmse": 1.0, "mae": 1.0, "loss": 1.0, "relative_loss": 0.5},
    "b": {"rmse": 2.0, "loss": 4.0, "relative_loss": 0.7},
}
PLAIN = {"update": "joint", "schedule": "all", "likelihood": "standard"}
COLUMNS = (
    "epoch", "step", "split", "task", "loss", "weight", "sigma", "active", "relative_loss",
)  # fmt: skip


def write_run(
    folder: Path, name: str, tasks: Mapping[str, Mapping[str, float | None]], **options: Any
) -> None:
    """Write a run directory with a summary.json alone.

    Args:
        folder: The folder of the sweep.
        name: The name of the run directory.
        tasks: ``{task: {metric: value}}``, the same at every epoch and on every split.
        **options: ``weighting``, ``seed``, ``status``, ``monitor``, ``judge``, ``overrides``,
            ``choices`` and ``backward_passes`` of the run.
    """
    options = {
        "weighting": "fixed",
        "seed": 0,
        "status": "finished",
        "monitor": 0.5,
        "overrides": {},
        **options,
    }
    finished = options["status"] == "finished"
    overrides = {"weighting": options["weighting"], "seed": options["seed"], **options["overrides"]}
    choices = {"data": "d", "weighting": options["weighting"], **PLAIN}
    summary: dict[str, Any] = {
        "status": options["status"],
        "reason": "" if finished else "The loss of task 'a' became nan in epoch 3.",
        "seed": options["seed"],
        "choices": {**choices, **options.get("choices", {})},
        "overrides": [f"{key}={value}" for key, value in overrides.items()],
    }
    if "judge" in options:
        summary["judge"] = options["judge"]
    if finished:
        summary |= {
            "epochs": 3,
            "steps": 9,
            "monitor": {
                "name": "relative_loss",
                "best": options["monitor"],
                "best_epoch": 1,
                "final": options["monitor"],
            },
            "tasks": {
                task: {"kind": "regression", "weight": 1.0, "sigma": None}
                | {at: {split: dict(m) for split in ("val", "test")} for at in ("final", "best")}
                for task, m in tasks.items()
            },
            "time": {
                "seconds": 1.5,
                "steps_per_second": 10.0,
                "backward_passes": options.get("backward_passes"),
            },
        }
    (folder / name).mkdir(parents=True)
    (folder / name / "summary.json").write_text(json.dumps(summary))


def write_study(folder: Path, jobs: Mapping[str, Mapping[str, Any]], **fields: Any) -> None:
    """Write the study.json of a folder.

    Args:
        folder: The folder of the study.
        jobs: ``{run directory: its entry}``; by default a final run of an unnamed strategy.
        **fields: More fields of the file, as ``margin`` or ``notes``.
    """
    default = {"phase": 4, "strategy": "", "role": "strategy", "of": "", "final": True}
    study = {
        "version": 1,
        "margin": 0.02,
        "jobs": {name: {**default, **job} for name, job in jobs.items()},
        **fields,
    }
    (folder / "study.json").write_text(json.dumps(study))


def write_trained_run(
    directory: Path,
    weighting: str = "fixed",
    seed: int = 0,
    *,
    tasks: dict[str, str] | None = None,
    epochs: int = 20,
    status: str = "finished",
    reason: str = "",
    loss_factor: float = 1.0,
    **overrides: Any,
) -> Path:
    """Write a run directory with config, curves and summary.

    Args:
        directory: The run directory.
        weighting: The option of the weighting.
        seed: The seed.
        tasks: ``{task: kind}``; two regressions by default.
        epochs: The number of epochs.
        status: The status. ``killed`` leaves the config alone, as a run that was killed while it
            loaded its data; ``cut off`` ends metrics.csv in the middle of a line.
        reason: Why it did not finish.
        loss_factor: The factor of its losses.
        **overrides: Options, with ``__`` for the dots of their keys.
    """
    tasks = tasks or TASKS
    options = {"weighting": weighting, "seed": seed}
    options |= {key.replace("__", "."): value for key, value in overrides.items()}
    typed = [f"{key}={value}" for key, value in options.items()]
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text("seed: 0\nweighting: {}\n")
    (directory / ".hydra" / "overrides.yaml").write_text(json.dumps(typed))
    if status == "killed":
        return directory
    learned = weighting == "uncertainty"
    losses = [
        _losses(epoch / epochs, epoch, seed, loss_factor, tasks) for epoch in range(1, epochs + 1)
    ]
    _write_metrics(directory / "metrics.csv", losses, learned)
    if status == "cut off":
        text = (directory / "metrics.csv").read_text()
        (directory / "metrics.csv").write_text(text[: int(0.6 * len(text))])
        status = "running"
    mean = sum(losses[-1].values()) / len(tasks)
    results = {task: _results(tasks[task], loss) for task, loss in losses[-1].items()}
    summary = {
        "status": status,
        "reason": reason,
        "seed": seed,
        "choices": {"weighting": weighting, "data": "made", **PLAIN},
        "overrides": typed,
        "epochs": epochs,
        "monitor": {"name": "relative_loss", "best": mean, "best_epoch": epochs, "final": mean},
        "tasks": results,
        "versions": {"torch": "2.13.0"},
        "time": {"seconds": 2.0 + seed},
    }
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def _losses(
    progress: float, epoch: int, seed: int, factor: float, tasks: Mapping[str, str]
) -> dict[str, float]:
    """Return decaying losses; the factor makes every second task worse and the others better."""
    losses = {}
    for i, task in enumerate(tasks):
        noise = 0.03 * math.sin(7 * seed + 3 * i + 0.9 * epoch)
        decay = 0.2 + 0.1 * i + 0.8 * math.exp(-5 * progress)
        losses[task] = factor ** (1 - 2 * (i % 2)) * decay * (1 + noise)
    return losses


def _write_metrics(path: Path, losses: list[dict[str, float]], learned: bool) -> None:
    """Write metrics.csv; learned weights are the inverse of the loss."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for epoch, row in enumerate(losses, 1):
            place = {"epoch": epoch, "step": 10 * epoch}
            for task, loss in row.items():
                weight, sigma = (1 / loss, math.sqrt(loss)) if learned else (1.0, "")
                train = {"loss": 0.9 * loss, "weight": weight, "sigma": sigma, "active": 1.0}
                validation = {"loss": loss, "relative_loss": loss}
                writer.writerow({**place, "split": "train", "task": task, **train})
                writer.writerow({**place, "split": "val", "task": task, **validation})
            mean = sum(row.values()) / len(row)
            writer.writerow({**place, "split": "val", "task": "total", "relative_loss": mean})


def _results(kind: str, loss: float) -> dict[str, Any]:
    """Return a task's entry of summary.json; on test it is a tenth worse."""
    names = ("loss", "relative_loss", *TaskMetrics.of({"kind": kind}).in_delta_m)
    splits = {
        split: dict.fromkeys(names, factor * loss)
        for split, factor in (("val", 1.0), ("test", 1.1))
    }
    return {"kind": kind, "weight": 1.0, "sigma": None, "final": splits, "best": splits}
