"""The result of a run in numbers: summary.json and the table at its end."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mtl_runner.results.records.summary import Summary, mapping
from mtl_runner.results.text import align, number
from mtl_runner.runs.records import judged_epoch, kept_files
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.position import short_epoch
from mtl_runner.train.trainer import Trainer
from mtl_runner.version import __version__

# The table shows so many metrics per task.
TABLE_METRICS = 2


def summarize(
    trainer: Trainer, final: dict[str, Evaluation], best: dict[str, Evaluation]
) -> dict[str, Any]:
    """Return the content of summary.json for a finished run, without its status and name.

    The noise is that of the model that is judged, the weight that of the last epoch.

    Args:
        trainer: The trained run.
        final: The evaluations of the last epoch, by split.
        best: The evaluations of the best epoch, by split.

    Returns:
        Metrics, weight and sigma per task, the monitor, sizes, times and versions.
    """
    experiment, means = trainer.experiment, trainer.means
    tasks = task_results(
        trainer.tasks,
        means.weight if means else [None] * len(trainer.tasks),
        trainer.sigmas(),
        trainer.sigma_estimates_noise(),
        {"final": final, "best": best},
        trainer.settings.trainer.judge,
    )
    model = trainer.learner.model
    is_given_up = trainer.gives_up() and trainer.epoch < trainer.settings.trainer.epochs
    return {
        "epochs": trainer.epoch,
        **({"given_up": True} if is_given_up else {}),
        "steps": trainer.step,
        "judge": trainer.settings.trainer.judge,
        "monitor": {
            "name": trainer.settings.trainer.monitor,
            "best": trainer.best.value,
            "best_epoch": trainer.best.epochs.get("", trainer.best.epochs),
            "final": trainer.monitor.value(final["val"]),
        },
        "tasks": tasks,
        "plots": trainer.settings.record.plots,
        "checkpoints": trainer.settings.record.checkpoints,
        "marks": experiment.schedule.epoch_marks(),
        "parameters": {
            "model": sum(p.numel() for p in model.parameters()),
            "trained": sum(p.numel() for p in experiment.parameters.tensors),
            "shared": sum(p.numel() for p in experiment.parameters.shared),
        },
        "device": str(experiment.device),
        "devices": experiment.ranks.size if experiment.ranks else 1,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "time": {
            "seconds": trainer.seconds,
            "steps_per_second": trainer.step / trainer.seconds if trainer.seconds else None,
            "backward_passes": trainer.learner.backward_passes,
        },
    }


def task_results(
    tasks: Sequence[Task],
    weights: Sequence[float | None],
    sigmas: Sequence[float | None],
    estimates: Sequence[bool],
    evaluations: Mapping[str, Mapping[str, Evaluation]],
    judge: str,
) -> dict[str, dict[str, Any]]:
    """Return the results of every task, as summary.json has them.

    Args:
        tasks: The tasks.
        weights: The last weight of each task; None where it is not known.
        sigmas: The learned noise scale of each task; None where there is none.
        estimates: Whether each sigma estimates the true noise scale.
        evaluations: The evaluations by ``"final"`` or ``"best"`` and by split.
        judge: Which of the two judges the run.
    """
    judged = evaluations[judge]
    return {
        task.name: {
            "kind": task.spec.name,
            "main_metric": task.main_metric,
            "metrics": _metrics_of(task),
            "weight": weights[i],
            "sigma": judged["val"].noise.get(task.name, {}).get("sigma", sigmas[i]),
            "true_sigma": task.true_sigma if estimates[i] else None,
            **{
                at: {split: evaluation.values[task.name] for split, evaluation in by_split.items()}
                for at, by_split in evaluations.items()
            },
            "noise": {
                split: evaluation.noise.get(task.name, {}) for split, evaluation in judged.items()
            },
        }
        for i, task in enumerate(tasks)
    }


def versions() -> dict[str, str]:
    """Return the versions of what could explain a difference."""
    return {
        "mtl_runner": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _metrics_of(task: Task) -> dict[str, dict[str, Any]]:
    """Return the direction of each metric of a task, and whether it counts in delta-m."""
    in_delta_m = {
        m.name for m in task.all_metrics if m.in_delta_m and m.higher_is_better is not None
    }
    return {
        name: {"higher_is_better": direction, "in_delta_m": name in in_delta_m}
        for name, direction in task.directions.items()
        if name in task.metric_names
    }


def task_table(summary: dict[str, Any]) -> str:
    """Return the table that a run ends with: a line per task, validation numbers as judged.

    Args:
        summary: The content of summary.json.

    Example:
        >>> depth = {"weight": 0.5, "sigma": None, "true_sigma": None}
        >>> val = {"loss": 0.25, "relative_loss": 0.1, "rmse": 0.5}
        >>> print(task_table({"tasks": {"depth": {**depth, "final": {"val": val}}}}))
        task   val loss  relative_loss  metrics (val)  weight
        -----  --------  -------------  -------------  ------
        depth  0.25      0.1            rmse 0.5       0.5
    """
    tasks = summary["tasks"]
    columns = ["task", "val loss", "relative_loss", "metrics (val)", "weight"]
    has_sigma = any(task.get("sigma") is not None for task in tasks.values())
    has_truth = has_sigma and any(task.get("true_sigma") is not None for task in tasks.values())
    columns += ["sigma"] * has_sigma + ["true sigma"] * has_truth
    rows = []
    for name, task in tasks.items():
        val = mapping(mapping(task.get(judged_epoch(summary))).get("val"))
        metrics = [(key, val[key]) for key in val if key not in ("loss", "relative_loss")][
            :TABLE_METRICS
        ]
        row = [
            name,
            number(val.get("loss")),
            number(val.get("relative_loss")),
            ", ".join(f"{k} {number(v)}" for k, v in metrics),
            number(task.get("weight")),
        ]
        row += [number(task.get("sigma"))] * has_sigma
        row += [number(task.get("true_sigma"))] * has_truth
        rows.append(row)
    return align([columns, *rows])


def monitor_line(summary: dict[str, Any]) -> str:
    """Return the line under the table: the monitor at the last epoch and at the best one.

    The table is about the one that is judged, which comes first; best.pt, if it was kept, holds the
    best model.

    Args:
        summary: The content of summary.json.

    Example:
        >>> monitor = {"name": "relative_loss", "final": 0.5, "best": 0.25, "best_epoch": 7}
        >>> monitor_line({"monitor": monitor})
        'relative_loss 0.5 at the end; best 0.25 at epoch 7 (best.pt)'
        >>> monitor_line({"monitor": monitor, "judge": "best"})
        'relative_loss 0.25 at epoch 7, the best (best.pt); 0.5 at the end'
        >>> monitor_line({"monitor": monitor, "checkpoints": "none"})
        'relative_loss 0.5 at the end; best 0.25 at epoch 7'
    """
    monitor = Summary.of(summary).monitor
    best_epoch = monitor.best_epoch
    if isinstance(best_epoch, Mapping):
        epochs = ", ".join(
            f"epoch {short_epoch(epoch)} of {task}" for task, epoch in best_epoch.items()
        )
    else:
        epochs = "an unknown epoch" if best_epoch is None else f"epoch {short_epoch(best_epoch)}"
    final, best = (number(monitor.as_recorded(epoch)) for epoch in ("final", "best"))
    file = " (best.pt)" if "best.pt" in kept_files(summary) else ""
    if judged_epoch(summary) == "best":
        return f"{monitor.name} {best} at {epochs}, the best{file}; {final} at the end"
    return f"{monitor.name} {final} at the end; best {best} at {epochs}{file}"
