"""The picture of a comparison: the metric of every strategy with its interval, and loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from mtl_runner.results.pictures.charts import Chart, DotChart, Dots, Series, log_axis_helps
from mtl_runner.results.pictures.draw import SMALL, draw_chart, draw_dots, plain_texts
from mtl_runner.results.pictures.style import colour, new_grid, save
from mtl_runner.results.records.curves import RecordedCurves, read_curves
from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import DatasetEvidence, evidence_of
from mtl_runner.results.statistics.intervals import interval

CURVE_HEIGHT = 2.5  # inches
SHOWN_TASKS = 24  # of more, the picture would be too wide to be looked at


def plot_comparison(path: Path, datasets: Sequence[DatasetRuns], at: str) -> None:
    """Draw two rows of charts per data set, one column per task; one colour per strategy.

    Args:
        path: The PNG file.
        datasets: The data sets.
        at: The epoch of the metrics, ``final`` or ``best``.
    """
    names = dict.fromkeys(s.name for data in datasets for s in data.shown)
    colours = {name: place for place, name in enumerate(names)}
    count = max(len(data.tasks) for data in datasets)
    columns = min(count, SHOWN_TASKS)
    heights = [h for data in datasets for h in (1.1 + 0.28 * len(data.shown), CURVE_HEIGHT)]
    figure, axes = new_grid(
        2 * len(datasets), columns, max(6.5, 3.5 * columns + 1), sum(heights) + 0.4, heights
    )
    for block, data in enumerate(datasets):
        evidence = evidence_of(data, at, "val")
        curves = {
            strategy.name: [
                read_curves(run.directory).only("val", "loss") for run in strategy.finished
            ]
            for strategy in data.shown
        }
        for column, task in enumerate(islice(data.tasks, columns)):
            above, below = axes[2 * block, column], axes[2 * block + 1, column]
            title = f"{data.name}: {task}" if len(datasets) > 1 else task
            draw_dots(above, metric_chart(evidence, task, title, colours), column == 0)
            draw_chart(below, curve_chart(curves, task, colours))
            below.xaxis.label.set_size(SMALL)
            below.yaxis.label.set_size(SMALL)
            below.tick_params(labelsize=SMALL)
        for axis in axes[2 * block : 2 * block + 2, len(data.tasks) :].flat:
            axis.set_visible(False)
    handles = [
        axes[0, 0].plot([], [], color=colour(place), linewidth=2, label=name)[0]
        for name, place in colours.items()
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(names), 4),
        frameon=False,
        fontsize=9,
    )
    plain_texts(legend)
    if count > columns:
        figure.suptitle(f"The first {columns} of {count} tasks; report.html has all.", fontsize=9)
    save(figure, path)


def metric_chart(
    evidence: DatasetEvidence, task: str, title: str, colours: Mapping[str, int]
) -> DotChart:
    """Return the main metric of a task on validation: values, means and intervals."""
    metric = evidence.main_metric(task)
    rows = []
    for strategy in evidence.strategies:
        if strategy.name in colours:
            values = strategy.metric(task, metric)
            mean = interval(values)
            dots = Dots(
                strategy.name, colours[strategy.name], values, mean.mean, mean.low, mean.high
            )
            rows.append(dots)
    direction = "higher" if evidence.tasks[task].higher_is_better(metric) else "lower"
    return DotChart(title, f"validation {metric} ({direction} is better)", rows)


def curve_chart(
    curves: Mapping[str, Sequence[RecordedCurves]], task: str, colours: Mapping[str, int]
) -> Chart:
    """Return the validation loss of a task over the epochs that all runs of a strategy have."""
    series = []
    for name, runs in curves.items():
        losses = [loss for run in runs if (loss := run.curve("val", task, "loss"))]
        if not losses:
            continue
        epochs = sorted(set.intersection(*(set(loss) for loss in losses)))
        if not epochs:
            continue
        table = np.array([[loss[epoch] for epoch in epochs] for loss in losses])
        several = len(table) > 1
        series.append(
            Series(
                epochs,
                table.mean(0).tolist(),
                colours[name],
                low=table.min(0).tolist() if several else (),
                high=table.max(0).tolist() if several else (),
            )
        )
    means = [value for curve in series for value in curve.y]
    return Chart("", "validation loss (mean, range)", series, has_log_axis=log_axis_helps(means))
