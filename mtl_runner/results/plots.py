"""The pictures of one run: losses, weights, sigmas and the fit of a 1-d regression."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_runner.results.conflicts_plot import plot_conflicts
from mtl_runner.results.read import read_metrics
from mtl_runner.results.style import colour, log_axis_helps, mark, new_figure, save

Series = tuple[list[float], list[float]]
Words = tuple[str, str]  # title and label
LATENT = "latent_variance"  # a metric that loss terms on a latent can record


@dataclass(frozen=True)
class Fit:
    """Training points and the fitted line of one task, in the target's units."""

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    line: np.ndarray
    sigma: np.ndarray | None = None  # predicted at every point of the grid


def plot_run(directory: Path, summary: dict[str, Any], fits: Mapping[str, Fit]) -> None:
    """Draw ``losses.png``, ``weights.png``, and where they make sense ``sigmas.png``, ``conflicts.png``, ``latent_variance.png`` and ``fit.png``."""
    metrics = read_metrics(directory)
    tasks = list(summary["tasks"])
    marks = summary.get("marks", {})
    _losses(directory / "losses.png", metrics, tasks, marks)
    words = ("What each loss is worth (d objective / d loss)", "weight")
    _courses(
        directory / "weights.png",
        metrics,
        tasks,
        marks,
        split="train",
        column="weight",
        words=words,
    )
    truths = {task: summary["tasks"][task]["true_sigma"] for task in tasks}
    if any(summary["tasks"][task]["sigma"] is not None for task in tasks):
        _sigmas(directory / "sigmas.png", metrics, tasks, truths, marks)
    if any(column.startswith("cosine_") and any(values) for column, values in metrics.items()):
        plot_conflicts(directory / "conflicts.png", metrics, tasks, marks)
    if any(metrics.get(LATENT, [])):
        words = ("Variance of the latent (0: a constant encoder)", "variance, validation")
        _courses(
            directory / "latent_variance.png",
            metrics,
            tasks,
            marks,
            split="val",
            column=LATENT,
            words=words,
        )
    if fits:
        sigmas = {
            task: summary["tasks"][task]["sigma"] if truths[task] is not None else None
            for task in tasks
        }
        _fit(directory / "fit.png", fits, tasks, sigmas)


def series(metrics: Mapping[str, list[str]], split: str, task: str, column: str) -> Series:
    """Epochs and values of one curve; empty cells are left out."""
    rows = zip(metrics["epoch"], metrics["split"], metrics["task"], metrics[column], strict=True)
    points = [(float(e), float(v)) for e, s, t, v in rows if s == split and t == task and v != ""]
    return [e for e, _ in points], [v for _, v in points]


def _losses(
    path: Path, metrics: Mapping[str, list[str]], tasks: list[str], marks: dict[str, float]
) -> None:
    columns = 2 if len(tasks) == 4 else min(len(tasks), 3)
    rows = math.ceil(len(tasks) / columns)
    figure, axes = new_figure(rows, columns, 3.0, 2.1)
    for index, (task, axis) in enumerate(zip(tasks, axes.flat, strict=False)):
        train, val = series(metrics, "train", task, "loss"), series(metrics, "val", task, "loss")
        axis.plot(*train, color=colour(index), alpha=0.45, linewidth=1, label="train")
        axis.plot(*val, color=colour(index), linewidth=1.8, label="validation")
        if log_axis_helps(train[1] + val[1]):
            axis.set_yscale("log")
        mark(axis, marks)
        axis.set_title(task, color=colour(index), fontweight="bold")
        axis.set_xlabel("epoch")
        axis.set_ylabel("loss")
        axis.legend(frameon=False, fontsize=8)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    save(figure, path)


def _courses(
    path: Path,
    metrics: Mapping[str, list[str]],
    tasks: list[str],
    marks: dict[str, float],
    *,
    split: str,
    column: str,
    words: Words,
) -> None:
    """One column over the epochs, a line per task."""
    figure, axes = new_figure(1, 1, 5.2, 2.6)
    axis = axes[0, 0]
    values: list[float] = []
    for index, task in enumerate(tasks):
        epochs, found = series(metrics, split, task, column)
        if found:
            axis.plot(epochs, found, color=colour(index), linewidth=1.8, label=task)
            values += found
    if log_axis_helps([value for value in values if value > 0]):
        axis.set_yscale("log")
    mark(axis, marks)
    axis.set_title(words[0], fontsize=10)
    axis.set_xlabel("epoch")
    axis.set_ylabel(words[1])
    if values:
        axis.legend(frameon=False)
    save(figure, path)


def _sigmas(
    path: Path,
    metrics: Mapping[str, list[str]],
    tasks: list[str],
    truths: Mapping[str, float | None],
    marks: dict[str, float],
) -> None:
    figure, axes = new_figure(1, 1, 5.2, 2.6)
    axis = axes[0, 0]
    values: list[float] = []
    for index, task in enumerate(tasks):
        epochs, sigmas = series(metrics, "train", task, "sigma")
        if not sigmas:
            continue
        axis.plot(
            epochs, sigmas, color=colour(index), linewidth=1.8, label=f"{task}: {sigmas[-1]:.3g}"
        )
        if (
            "sigma_q05" in metrics
        ):  # predicted per sample: the middle nine tenths of the training split
            low, high = (
                series(metrics, "train", task, column)[1] for column in ("sigma_q05", "sigma_q95")
            )
            axis.fill_between(epochs, low, high, color=colour(index), alpha=0.15, linewidth=0)
        values += sigmas
        truth = truths[task]
        if truth is not None:
            axis.axhline(
                truth,
                color=colour(index),
                linestyle="--",
                linewidth=1,
                label=f"{task}: true {truth:.3g}",
            )
            values.append(truth)
    if log_axis_helps(values):
        axis.set_yscale("log")
    mark(axis, marks)
    axis.set_title("Learned noise scale", fontsize=10)
    axis.set_xlabel("epoch")
    axis.set_ylabel("sigma (target units)")
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def _fit(
    path: Path, fits: Mapping[str, Fit], tasks: list[str], sigmas: Mapping[str, float | None]
) -> None:
    figure, axes = new_figure(1, len(fits), 3.2, 2.6)
    for axis, (task, fit) in zip(axes.flat, fits.items(), strict=True):
        shade = colour(tasks.index(task))
        sigma = fit.sigma if fit.sigma is not None else sigmas[task]
        axis.scatter(
            fit.x, fit.y, s=12, color=shade, alpha=0.45, linewidths=0, label="training data"
        )
        axis.plot(fit.grid, fit.line, color="black", linewidth=1.6, label="fit")
        if sigma is not None:
            axis.fill_between(
                fit.grid,
                fit.line - sigma,
                fit.line + sigma,
                color=shade,
                alpha=0.15,
                linewidth=0,
                label="± sigma",
            )
        axis.set_title(task, color=shade, fontweight="bold")
        axis.set_xlabel("x")
        axis.set_ylabel(task)
        axis.legend(frameon=False, fontsize=8)
    save(figure, path)
