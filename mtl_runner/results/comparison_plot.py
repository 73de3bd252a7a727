"""The picture of a sweep: per task the metric of every strategy with its interval, and the loss curves with bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from mtl_runner.results.plots import series
from mtl_runner.results.read import read_metrics
from mtl_runner.results.statistics import interval
from mtl_runner.results.style import colour, log_axis_helps, new_grid, save

if TYPE_CHECKING:
    from mtl_runner.results.groups import Group


def plot_comparison(path: Path, groups: Sequence[Group], at: str) -> None:
    """Two rows of panels per data set, one column per task; one colour per strategy throughout."""
    columns = max(len(group.tasks) for group in groups)
    names = list(dict.fromkeys(s.name for group in groups for s in group.strategies))
    height = sum(1.1 + 0.28 * len(group.strategies) + 2.5 for group in groups)
    ratios = [h for group in groups for h in (1.1 + 0.28 * len(group.strategies), 2.5)]
    figure, axes = new_grid(
        2 * len(groups), columns, max(6.5, 3.5 * columns + 1), height + 0.4, height_ratios=ratios
    )
    for block, group in enumerate(groups):
        curves = {id(run): read_metrics(run.directory) for s in group.strategies for run in s.runs}
        for column, (task, metrics) in enumerate(group.tasks.items()):
            _dots(axes[2 * block, column], group, task, metrics.main, at, names, first=column == 0)
            _curves(axes[2 * block + 1, column], group, task, names, curves)
            axes[2 * block, column].set_title(
                f"{group.data}: {task}" if len(groups) > 1 else task, fontweight="bold"
            )
        for axis in axes[2 * block : 2 * block + 2, len(group.tasks) :].flat:
            axis.set_visible(False)
    handles = [
        axes[0, 0].plot([], [], color=colour(i), linewidth=2, label=name)[0]
        for i, name in enumerate(names)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(names), 4),
        frameon=False,
        fontsize=9,
    )
    save(figure, path)


def _dots(
    axis: Axes, group: Group, task: str, metric: str, at: str, names: list[str], first: bool
) -> None:
    for row, strategy in enumerate(group.strategies):
        values = strategy.values("val", task, metric, at)
        found = interval(values)
        shade = colour(names.index(strategy.name))
        axis.scatter(values, [row] * len(values), s=14, color=shade, alpha=0.6, linewidths=0)
        error = (
            None if math.isnan(found.low) else [[found.mean - found.low], [found.high - found.mean]]
        )
        axis.errorbar(
            [found.mean],
            [row],
            xerr=error,
            fmt="o",
            color=shade,
            markersize=5,
            capsize=3,
            linewidth=1.6,
        )
    axis.set_yticks(
        range(len(group.strategies)), [s.name for s in group.strategies] if first else []
    )
    axis.set_ylim(len(group.strategies) - 0.5, -0.5)
    axis.set_xlabel(
        f"validation {metric} ({'higher' if group.tasks[task].higher_is_better(metric) else 'lower'} is better)",
        fontsize=8,
    )
    axis.tick_params(labelsize=8)


def _curves(axis: Axes, group: Group, task: str, names: list[str], curves: dict[int, Any]) -> None:
    drawn: list[float] = []
    for strategy in group.strategies:
        found = [
            series(curves[id(run)], "val", task, "loss") for run in strategy.runs if curves[id(run)]
        ]
        if not found:
            continue
        epochs = sorted(set.intersection(*(set(e) for e, _ in found)))
        if not epochs:
            continue
        table = np.array(
            [[dict(zip(e, v, strict=True))[epoch] for epoch in epochs] for e, v in found]
        )
        shade, mean = colour(names.index(strategy.name)), table.mean(0)
        axis.plot(epochs, mean, color=shade, linewidth=1.5)
        if len(table) > 1:
            axis.fill_between(
                epochs, table.min(0), table.max(0), color=shade, alpha=0.15, linewidth=0
            )
        drawn += mean.tolist()
    if log_axis_helps(drawn):
        axis.set_yscale("log")
    axis.set_xlabel("epoch", fontsize=8)
    axis.set_ylabel("validation loss (mean, range)", fontsize=8)
    axis.tick_params(labelsize=8)
