"""Figures for a paper: one file per panel, of a given width, with embedded fonts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtl_runner.results.pictures.charts import Chart, DotChart, Series
from mtl_runner.results.pictures.comparison import curves_of, winners
from mtl_runner.results.pictures.draw import draw_chart, draw_dots, plain_texts
from mtl_runner.results.pictures.strategies import (
    Look,
    curve_chart,
    dots_of,
    looks_of,
    metric_chart,
)
from mtl_runner.results.pictures.style import save, tidy
from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.report.content import Content
from mtl_runner.results.statistics.differences import relative_changes
from mtl_runner.results.statistics.pareto import front
from mtl_runner.results.table import StrategyTable

LETTERS_PER_INCH = 17  # of a legend at its size


def draw_figures(
    folder: Path,
    content: Content,
    tables: Sequence[StrategyTable],
    kind: str,
    width: float,
    are_named: bool = False,
) -> list[Path]:
    """Draw every panel of a comparison that has something to show.

    ``forest`` (the change against equal weights), ``metric_<task>``, ``curves_<task>``,
    ``weights_<task>``, ``front`` (of two tasks) and ``learning_rates``; of several data sets with
    the name of the data set in front.

    Args:
        folder: Where the files go.
        content: The content of the report, by which colours are chosen.
        tables: The tables of the data sets: the strategies, and the split.
        kind: ``pdf``, ``svg`` or ``png``.
        width: The width of every figure in inches.
        are_named: Whether the reader named the strategies; of more than there are colours, curves
            else show the baselines and the best.

    Returns:
        The files.
    """
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for data, table, section in zip(
        content.records.datasets, tables, content.sections, strict=True
    ):
        if not any(strategy.recorded for strategy in table.strategies):
            continue
        looks = looks_of(content.records.roles, data, table.strategies)
        panels = [
            *_panels(
                data, table, looks, table.strategies if are_named else winners(table.strategies)
            ),
            *(("learning_rates", chart) for chart in _rates(content.rates(section))),
        ]
        for name, chart in panels:
            full = f"{data.name}_{name}" if len(tables) > 1 else name
            path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', full)}.{kind}"
            draw_panel(path, chart, width)
            files.append(path)
    return files


def draw_panel(path: Path, chart: Chart | DotChart, width: float) -> None:
    """Draw one chart into a file of this width in inches; a legend stands below the axes."""
    rows = len(chart.rows) if isinstance(chart, DotChart) else 0
    labels = [] if isinstance(chart, DotChart) else [s.label for s in chart.series if s.label]
    columns = max(1, int(width * LETTERS_PER_INCH / (max(map(len, labels), default=0) + 6)))
    height = 0.65 + 0.2 * rows if rows else 0.62 * width
    height += 0.15 * math.ceil(len(labels) / columns)
    with rc_context({"font.size": 8, "legend.fontsize": 7}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        tidy(axis)
        if isinstance(chart, DotChart):
            draw_dots(axis, chart, names_rows=True)
        else:
            draw_chart(axis, chart)
            if (inside := axis.get_legend()) is not None:
                inside.remove()
                legend = figure.legend(
                    loc="outside lower center", ncols=columns, frameon=False, handlelength=1.8
                )
                plain_texts(legend)
        if axis.get_xscale() == "linear":
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=chart.x_label == "epoch"))
        axis.tick_params(labelsize=7)
        save(figure, path)


def _panels(
    data: DatasetRuns,
    table: StrategyTable,
    looks: Mapping[str, Look],
    with_curves: Sequence[StrategyEvidence],
) -> Iterator[tuple[str, Chart | DotChart]]:
    """Yield the name and the chart of every panel that has something to show."""
    if (forest := _forest(table, looks)) is not None:
        yield "forest", forest
    evidence = replace(table.evidence, strategies=table.strategies)
    for task in data.tasks:
        chart = metric_chart(evidence, task, "", looks, table.split)
        yield f"metric_{task}", replace(chart, x_label=f"{task}: {chart.x_label}")
    for name, split, column, label in (
        ("curves", "val", "loss", "validation loss"),
        ("weights", "train", "weight", "weight"),
    ):
        curves = {s.name: curves_of(data, table, s.name, split, column) for s in with_curves}
        for task in data.tasks:
            of_task = {s: runs[task] for s, runs in curves.items()}
            chart_of = curve_chart(
                of_task, task, looks, (split, column), f"{task}: {label}", has_legend=True
            )
            if any(len(curve.y) > 1 for curve in chart_of.series):
                yield f"{name}_{task}", chart_of
    if (plane := _plane(table, looks)) is not None:
        yield "front", plane


def _forest(table: StrategyTable, looks: Mapping[str, Look]) -> DotChart | None:
    """Return the change of every method against equal weights; None without these."""
    reference, data = table.reference, table.evidence
    if reference is None:
        return None
    data = replace(data, strategies=(reference, *(s for s in table.strategies)))
    rows = []
    for strategy in table.strategies:
        if strategy.role in ("equal", "single_task"):
            continue
        changes = list(relative_changes(data, strategy, reference).values())
        dots = dots_of(looks[strategy.name], changes)
        ends = [100 * math.expm1(end) for end in (dots.mean, dots.low, dots.high)]
        values = [100 * math.expm1(change) for change in changes]
        if values:
            rows.append(replace(dots, values=values, mean=ends[0], low=ends[1], high=ends[2]))
    quantity = "relative loss" if data.has_relative_loss else "main metrics"
    label = f"change of the {quantity} against\nequal weights, % (lower is better)"
    return DotChart("", label, rows, reference=0.0) if rows else None


def _plane(table: StrategyTable, looks: Mapping[str, Look]) -> Chart | None:
    """Return the plane of two tasks, with a line through the strategies that none dominates."""
    plane = front(replace(table.evidence, strategies=table.strategies), resamples=1)
    if plane is None:
        return None
    points = [
        Series([mean[0]], [mean[1]], looks[name].colour, looks[name].label)
        for name, mean in plane.means.items()
        if all(map(math.isfinite, mean))
    ]
    line = [plane.means[name] for name in plane.front]
    through = Series([p[0] for p in line], [p[1] for p in line], None, faint=True)
    x_label, y_label = (f"{task}: {plane.metric}" for task in plane.tasks)
    series = [*([through] if len(line) > 1 else []), *points]
    return Chart("", y_label, series, x_label=x_label) if points else None


def _rates(entries: Sequence[Mapping[str, object]]) -> list[Chart]:
    """Return the chart of learning rates; none if no strategy has several."""
    series = []
    for entry in entries:
        x, mean, low, high = (_numbers(entry[key]) for key in ("x", "mean", "low", "high"))
        colour = entry["colour"]
        assert isinstance(colour, int)
        series.append(Series(x, mean, colour, str(entry["name"]), low, high))
    label = "relative loss on validation"
    return (
        [Chart("", label, series, x_label="learning rate", has_log_x_axis=True)] if series else []
    )


def _numbers(values: object) -> list[float]:
    """Return numbers, NaN where there is none."""
    assert isinstance(values, list)
    return [math.nan if value is None else float(value) for value in values]
