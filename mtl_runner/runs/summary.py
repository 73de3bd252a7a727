"""summary.json and the table at the end of a run: what came out, in numbers."""

from __future__ import annotations

import platform
from typing import Any

import torch

from mtl_runner.results.text import align, number
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.trainer import Trainer
from mtl_runner.version import __version__

TABLE_METRICS = 2  # main metrics per task in the table


def summarize(
    trainer: Trainer, final: dict[str, Evaluation], best: dict[str, Evaluation]
) -> dict[str, Any]:
    """What summary.json says of a finished run, beside its status and its name."""
    sigmas, means = trainer.sigmas(), trainer.means
    estimates = trainer.sigma_estimates_noise()
    experiment = trainer.experiment
    tasks = {
        task.name: {
            "kind": task.spec.name,
            "main_metric": task.main_metric,
            "metrics": _metrics_of(task),
            "weight": means.weight[i] if means else None,
            "sigma": final["val"].noise.get(task.name, {}).get("sigma", sigmas[i]),
            "true_sigma": task.true_sigma if estimates[i] else None,
            "final": {split: evaluation.values[task.name] for split, evaluation in final.items()},
            "best": {split: evaluation.values[task.name] for split, evaluation in best.items()},
            "noise": {
                split: evaluation.noise.get(task.name, {}) for split, evaluation in final.items()
            },
        }
        for i, task in enumerate(trainer.tasks)
    }
    model = trainer.learner.model
    return {
        "epochs": trainer.epoch,
        "steps": trainer.step,
        "monitor": {
            "name": trainer.settings.trainer.monitor,
            "best": trainer.best.value,
            "best_epoch": trainer.best.epochs.get("", trainer.best.epochs),
            "final": trainer.monitor.value(final["val"]),
        },
        "tasks": tasks,
        "plots": trainer.settings.record.plots,
        "marks": experiment.schedule.epoch_marks(),
        "parameters": {
            "model": sum(p.numel() for p in model.parameters()),
            "trained": sum(p.numel() for p in experiment.parameters.tensors),
            "shared": sum(p.numel() for p in experiment.parameters.shared),
        },
        "device": str(experiment.device),
        "threads": torch.get_num_threads(),
        "versions": {
            "mtl_runner": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "time": {
            "seconds": trainer.seconds,
            "steps_per_second": trainer.step / trainer.seconds if trainer.seconds else None,
            "backward_passes": trainer.learner.backward_passes,
        },
    }


def _metrics_of(task: Task) -> dict[str, dict[str, Any]]:
    """What a reader of the files must know of each metric of a task."""
    in_delta_m = {
        m.name for m in task.all_metrics if m.in_delta_m and m.higher_is_better is not None
    }
    return {
        name: {"higher_is_better": direction, "in_delta_m": name in in_delta_m}
        for name, direction in task.directions.items()
        if name in task.metric_names
    }


def table(summary: dict[str, Any]) -> str:
    """The table that a run ends with: one line per task, validation numbers of the final model."""
    tasks = summary["tasks"]
    columns = ["task", "val loss", "vs trivial", "metrics (val)", "weight"]
    has_sigma = any(task["sigma"] is not None for task in tasks.values())
    has_truth = has_sigma and any(task["true_sigma"] is not None for task in tasks.values())
    columns += ["sigma"] * has_sigma + ["true sigma"] * has_truth
    rows = []
    for name, task in tasks.items():
        val = task["final"]["val"]
        metrics = [(key, val[key]) for key in val if key not in ("loss", "relative_loss")][
            :TABLE_METRICS
        ]
        row = [
            name,
            number(val["loss"]),
            number(val.get("relative_loss")),
            ", ".join(f"{k} {number(v)}" for k, v in metrics),
            number(task["weight"]),
        ]
        row += [number(task["sigma"])] * has_sigma + [number(task["true_sigma"])] * has_truth
        rows.append(row)
    return align([columns, *rows])


def verdict(summary: dict[str, Any]) -> str:
    """One line under the table: the monitor at the last epoch, which the table shows, and at the best one, which is kept."""
    monitor, epoch = summary["monitor"], summary["monitor"]["best_epoch"]
    when = (
        f"epoch {epoch}"
        if isinstance(epoch, int)
        else ", ".join(f"epoch {e} of {task}" for task, e in epoch.items())
    )
    return f"{monitor['name']} {number(monitor['final'])} at the end; best {number(monitor['best'])} at {when} (best.pt)"
