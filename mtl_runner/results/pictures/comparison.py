"""The picture of a comparison: the metric of every strategy with its interval, and loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mtl_runner.results.pictures.charts import Chart
from mtl_runner.results.pictures.draw import SMALL, draw_chart, draw_dots
from mtl_runner.results.pictures.strategies import Look, curve_chart, looks_of, metric_chart
from mtl_runner.results.pictures.style import new_grid, save
from mtl_runner.results.records.curves import RecordedCurves, read_curves
from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.records.roles import RunRole
from mtl_runner.results.selection import SINGLE_TASK, Selection
from mtl_runner.results.table import StrategyTable, table_of

CURVE_HEIGHT = 2.5  # inches
SHOWN_TASKS = 24  # of more, the picture would be too wide to be looked at
DRAWN = 8  # strategies, as many as there are colours: of more, the baselines and the best


def plot_comparison(
    path: Path, datasets: Sequence[DatasetRuns], roles: Sequence[RunRole], at: str
) -> None:
    """Draw two rows of charts per data set, one column per task; the names have the colours.

    Of many strategies the baselines and the best methods are drawn. There are no curves where no
    run has two epochs.

    Args:
        path: The PNG file.
        datasets: The data sets.
        roles: All runs of the comparison.
        at: The epoch of the metrics, ``final`` or ``best``.
    """
    tables = [table_of(data, at, "val", Selection(split="val")) for data in datasets]
    drawn = [winners(table.strategies) for table in tables]
    looks = [
        looks_of(roles, data, strategies) for data, strategies in zip(datasets, drawn, strict=True)
    ]
    curves = [
        loss_charts(data, table, of_strategy)
        for data, table, of_strategy in zip(datasets, tables, looks, strict=True)
    ]
    have_curves = [any(len(s.y) > 1 for chart in charts for s in chart.series) for charts in curves]
    count = max(len(data.tasks) for data in datasets)
    columns = min(count, SHOWN_TASKS)
    heights = [
        height
        for strategies, has_curves in zip(drawn, have_curves, strict=True)
        for height in (1.1 + 0.28 * len(strategies), *([CURVE_HEIGHT] if has_curves else []))
    ]
    figure, axes = new_grid(
        len(heights), columns, max(6.5, 3.5 * columns + 1), sum(heights) + 0.4, heights
    )
    row = 0
    for data, table, strategies, of_strategy, charts, has_curves in zip(
        datasets, tables, drawn, looks, curves, have_curves, strict=True
    ):
        evidence = replace(table.evidence, strategies=strategies)
        for column, task in enumerate(islice(data.tasks, columns)):
            title = f"{data.name}: {task}" if len(datasets) > 1 else task
            chart = metric_chart(evidence, task, title, of_strategy)
            draw_dots(axes[row, column], chart, column == 0)
            if has_curves:
                below = axes[row + 1, column]
                draw_chart(below, charts[column])
                below.xaxis.label.set_size(SMALL)
                below.yaxis.label.set_size(SMALL)
                below.tick_params(labelsize=SMALL)
        for axis in axes[row : row + 1 + has_curves, len(data.tasks) :].flat:
            axis.set_visible(False)
        row += 1 + has_curves
    notes = []
    if count > columns:
        notes.append(f"The first {columns} of {count} tasks; report.html has all.")
    if any(len(s) < len(data.shown) for s, data in zip(drawn, datasets, strict=True)):
        shown, total = sum(map(len, drawn)), sum(len(data.shown) for data in datasets)
        notes.append(f"The baselines and the best: {shown} of {total} rows; report.html has all.")
    if notes:
        figure.suptitle(" ".join(notes), fontsize=9)
    save(figure, path)


def winners(strategies: Sequence[StrategyEvidence]) -> tuple[StrategyEvidence, ...]:
    """Return the baselines and the best others by the monitor, as many as there are colours."""
    fixed = [s.name for s in strategies if s.role == "fixed"]
    kept = {s.name for s in strategies if s.role in ("equal", SINGLE_TASK) or [s.name] == fixed}
    room = max(2, DRAWN - len(kept))
    candidates = [s for s in strategies if s.name not in kept]
    kept |= {s.name for s in sorted(candidates, key=lambda s: s.mean_monitor)[:room]}
    return tuple(s for s in strategies if s.name in kept)


def loss_charts(data: DatasetRuns, table: StrategyTable, looks: Mapping[str, Look]) -> list[Chart]:
    """Return the validation loss of the strategies over the epochs, a chart per task."""
    curves = {name: curves_of(data, table, name, "val", "loss") for name in looks}
    return [
        curve_chart({name: runs[task] for name, runs in curves.items()}, task, looks)
        for task in islice(data.tasks, SHOWN_TASKS)
    ]


def curves_of(
    data: DatasetRuns, table: StrategyTable, name: str, split: str, column: str
) -> dict[str, list[RecordedCurves]]:
    """Return one column of the finished runs of a strategy, per task.

    Args:
        data: The data set.
        table: Its table, which says where the tasks of a merged baseline come from.
        name: The strategy.
        split: The split.
        column: The column of metrics.csv.
    """
    runs = {s.name: s.finished for s in data.shown}
    read: dict[str, list[RecordedCurves]] = {}
    curves = {}
    for task in data.tasks:
        source = name if name in runs else table.sources.get(task, name)
        if source not in read:
            read[source] = [
                read_curves(run.directory).only(split, column) for run in runs.get(source, [])
            ]
        curves[task] = read[source]
    return curves
