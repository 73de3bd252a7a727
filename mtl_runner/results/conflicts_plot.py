"""conflicts.png: how the tasks' gradients lie to each other over the shared parameters."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mtl_runner.results.style import colour, mark, new_figure, save

MOST_LINES = 10  # pairs of tasks that can still be told apart as curves


def plot_conflicts(
    path: Path, metrics: Mapping[str, list[str]], tasks: list[str], marks: Mapping[str, float]
) -> None:
    """The mean cosine of every pair of tasks, and its course; below 0 the two pull against each other."""
    courses = {pair: _course(metrics, *pair) for pair in combinations(tasks, 2)}
    figure, axes = new_figure(1, 2, 3.4, 2.8)
    _matrix(axes[0, 0], courses, tasks)
    axis = axes[0, 1]
    widest = sorted(courses, key=lambda pair: np.mean(courses[pair][1] or [0.0]))[
        :MOST_LINES
    ]  # the most conflicting ones
    for index, pair in enumerate(widest):
        axis.plot(*courses[pair], color=colour(index), linewidth=1.4, label=f"{pair[0]}, {pair[1]}")
    axis.axhline(0, color="black", linewidth=0.8)
    mark(axis, dict(marks))
    axis.set_ylim(-1.05, 1.05)
    axis.set_title("Cosine of two tasks' gradients", fontsize=10)
    axis.set_xlabel("epoch")
    axis.legend(frameon=False, fontsize=7)
    save(figure, path)


def _course(
    metrics: Mapping[str, list[str]], task: str, other: str
) -> tuple[list[float], list[float]]:
    rows = zip(
        metrics["epoch"], metrics["split"], metrics["task"], metrics[f"cosine_{other}"], strict=True
    )
    points = [(float(e), float(v)) for e, s, t, v in rows if s == "train" and t == task and v != ""]
    return [e for e, _ in points], [v for _, v in points]


def _matrix(
    axis: Any, courses: Mapping[tuple[str, str], tuple[list[float], list[float]]], tasks: list[str]
) -> None:
    table = np.eye(len(tasks))
    for (a, b), (_, values) in courses.items():
        i, j = tasks.index(a), tasks.index(b)
        table[i, j] = table[j, i] = np.mean(values) if values else np.nan
    axis.imshow(table, cmap="RdBu", vmin=-1, vmax=1)
    axis.set_xticks(range(len(tasks)), tasks, rotation=45, ha="right", fontsize=8)
    axis.set_yticks(range(len(tasks)), tasks, fontsize=8)
    axis.grid(visible=False)
    if len(tasks) <= 12:
        for i, j in np.ndindex(table.shape):
            dark = abs(table[i, j]) > 0.6
            axis.text(
                j,
                i,
                f"{table[i, j]:.2f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
    axis.set_title("Mean over the run", fontsize=10)
