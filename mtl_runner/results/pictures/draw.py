"""How charts are drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from mtl_runner.results.pictures.charts import Chart, DotChart, Matrix, Series
from mtl_runner.results.pictures.style import colour, new_figure, save, tidy_ticks

PLAIN: dict[str, Any] = {"parse_math": False}  # a name such as in_$_per_$ is no formula
SMALL = 8  # font size of legends and ticks
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
CROWDED = 5  # labels that find room inside the axes
LEGEND_ROOM = 1.6  # inches beside the axes
NAMED = 12  # a matrix of more tasks shows no numbers


def draw_charts(
    path: Path,
    charts: Sequence[Chart | Matrix],
    columns: int,
    width: float,
    height: float,
    legend_size: int = SMALL,
    figures: str = "",
) -> None:
    """Draw charts side by side into a PNG file.

    Args:
        path: The file.
        charts: What is drawn, row by row.
        columns: The number of charts in a row.
        width: The width of each in inches.
        height: Its height in inches.
        legend_size: The font size of the legends.
        figures: A second format of the file, ``pdf`` or ``svg``; empty: none.
    """
    rows = math.ceil(len(charts) / columns)
    is_crowded = any(isinstance(chart, Chart) and _is_crowded(chart) for chart in charts)
    figure, axes = new_figure(rows, columns, width, height, LEGEND_ROOM if is_crowded else 0.0)
    for chart, axis in zip(charts, axes.flat, strict=False):
        if isinstance(chart, Matrix):
            draw_matrix(axis, chart)
        else:
            draw_chart(axis, chart, legend_size)
    for axis in axes.flat[len(charts) :]:
        axis.set_visible(False)
    save(figure, path, figures)


def draw_chart(axis: Axes, chart: Chart, legend_size: int = SMALL) -> None:
    """Draw a chart into axes."""
    for series in chart.series:
        _draw_series(axis, series)
    for level in chart.levels:
        style = "--" if level.label or level.is_dashed else "-"
        shade, label = colour(level.colour), _shown(level.label)
        axis.axhline(level.value, color=shade, linewidth=0.9, label=label, linestyle=style)
    if chart.has_log_axis:
        axis.set_yscale("log")
    if chart.has_log_x_axis:
        axis.set_xscale("log")
    if chart.y_limits is not None:
        axis.set_ylim(*chart.y_limits)
    _draw_marks(axis, chart)
    if chart.title_colour is None:
        axis.set_title(chart.title, fontsize=10, **PLAIN)
    else:
        axis.set_title(chart.title, color=colour(chart.title_colour), fontweight="bold", **PLAIN)
    axis.set_xlabel(chart.x_label, **PLAIN)
    axis.set_ylabel(chart.y_label, **PLAIN)
    tidy_ticks(axis, chart.x_label == "epoch")
    if axis.get_legend_handles_labels()[1]:
        place: dict[str, Any] = {}
        if _is_crowded(chart):
            place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        plain_texts(axis.legend(frameon=False, fontsize=legend_size, **place))


def _is_crowded(chart: Chart) -> bool:
    """Return whether a legend inside the axes would cover the curves."""
    labels = [series.label for series in chart.series] + [level.label for level in chart.levels]
    return len(list(filter(None, labels))) > CROWDED


def plain_texts(legend: Legend) -> None:
    """Show the names in a legend letter by letter: a pair of dollar signs is no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def draw_matrix(axis: Axes, matrix: Matrix) -> None:
    """Draw a table of numbers between -1 and 1 into axes."""
    table = np.array(matrix.values)
    places = range(len(matrix.names))
    axis.imshow(table, cmap="RdBu", vmin=-1, vmax=1)
    axis.set_xticks(places, matrix.names, rotation=45, ha="right", fontsize=SMALL, **PLAIN)
    axis.set_yticks(places, matrix.names, fontsize=SMALL, **PLAIN)
    axis.grid(visible=False)
    if len(table) <= NAMED:
        for i, j in np.ndindex(table.shape):
            shade = "white" if abs(table[i, j]) > 0.6 else "black"
            text = f"{table[i, j]:.2f}"
            axis.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=shade)
    axis.set_title(matrix.title, fontsize=10, **PLAIN)


def draw_dots(axis: Axes, chart: DotChart, names_rows: bool) -> None:
    """Draw the values of strategies with their intervals into axes.

    Args:
        axis: The axes.
        chart: What is drawn.
        names_rows: Whether the strategies' names stand beside the rows.
    """
    for place, row in enumerate(chart.rows):
        shade = colour(row.colour)
        axis.scatter(
            row.values, [place] * len(row.values), s=14, color=shade, alpha=0.6, linewidths=0
        )
        known = not math.isnan(row.low)
        error = [[row.mean - row.low], [row.high - row.mean]] if known else None
        bars = axis.errorbar(
            [row.mean],
            [place],
            xerr=error,
            fmt="o",
            color=shade,
            markersize=5,
            capsize=3,
            linewidth=1.6,
        )
        for line in bars.lines[2]:
            line.set_linestyle(DASHES[row.dash % len(DASHES)])
    names = [row.name for row in chart.rows] if names_rows else []
    axis.set_yticks(range(len(chart.rows)), names, **PLAIN)
    for text, row in zip(axis.get_yticklabels(), chart.rows, strict=False):
        text.set_color(colour(row.colour))
    if chart.reference is not None:
        axis.axvline(chart.reference, color="0.4", linewidth=0.9)
    axis.set_ylim(len(chart.rows) - 0.5, -0.5)
    axis.set_title(chart.title, fontweight="bold", **PLAIN)
    axis.set_xlabel(chart.x_label, fontsize=SMALL, **PLAIN)
    axis.tick_params(labelsize=SMALL)


def _draw_series(axis: Axes, series: Series) -> None:
    shade, label = colour(series.colour), _shown(series.label)
    if series.is_mark:
        axis.scatter(
            series.x, series.y, s=45, facecolors="none", edgecolors=shade, label=label, zorder=3
        )
    elif series.points:
        axis.scatter(series.x, series.y, s=12, color=shade, alpha=0.45, linewidths=0, label=label)
    elif len(series.y):
        look: dict[str, Any] = {"linewidth": 1.8}
        if series.faint:
            look = {"linewidth": 1, "alpha": 0.45}
        if len(series.y) == 1:  # a curve of one point would not be seen
            look |= {"marker": "o", "markersize": 4}
        look["linestyle"] = DASHES[series.dash % len(DASHES)]
        axis.plot(series.x, series.y, color=shade, label=label, **look)
    if len(series.low):
        axis.fill_between(
            series.x,
            series.low,
            series.high,
            color=shade,
            alpha=0.15,
            linewidth=0,
            label=_shown(series.band_label),
        )


def _shown(label: str) -> str | None:
    """Return a label that the legend shows; matplotlib hides those that begin with ``_``."""
    return f" {label}" if label.startswith("_") else label or None


def _draw_marks(axis: Axes, chart: Chart) -> None:
    """Draw dotted lines where tasks start or end; what happens at one epoch shares a label."""
    texts: dict[float, list[str]] = {}
    for text, epoch in chart.marks.items():
        texts.setdefault(epoch, []).append(text)
    for epoch, together in texts.items():
        axis.axvline(epoch, color="0.4", linestyle=":", linewidth=1)
        axis.annotate(
            ", ".join(together),
            (epoch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            rotation=90,
            va="top",
            ha="left",
            fontsize=7,
            color="0.3",
            **PLAIN,
        )
