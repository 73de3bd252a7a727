"""One look for all pictures: colour-blind safe colours, figures with fixed margins, PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtl_runner.files import write_atomic

# Okabe & Ito (2008), without the yellow that vanishes on white; then repeated.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
DPI = 110


def colour(index: int | None) -> str:
    """Return the colour of a number, the same in all pictures; black for None."""
    return "black" if index is None else COLOURS[index % len(COLOURS)]


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure with a grid of axes and fixed margins.

    Without pyplot, which costs half a second to import, and without an automatic layout, which
    draws everything twice.

    Args:
        rows: The number of rows.
        columns: The number of columns.
        width: The width of each pair of axes in inches.
        height: Its height in inches.
    """
    left, right, bottom, top = 0.75, 0.2, 0.5, 0.4
    full_width, full_height = columns * (width + left) + right, rows * (height + bottom + top)
    figure = Figure(figsize=(full_width, full_height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=left / full_width,
        right=1 - right / full_width,
        bottom=bottom / full_height,
        top=1 - top / full_height,
        wspace=left / width,
        hspace=(bottom + top) / height,
    )
    for axis in axes.flat:
        tidy(axis)
    return figure, axes


def new_grid(
    rows: int, columns: int, width: float, height: float, height_ratios: list[float]
) -> tuple[Figure, Any]:
    """Return a figure of a size in inches whose labels make room for themselves."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=height_ratios)
    for axis in axes.flat:
        tidy(axis)
    return figure, axes


def tidy(axis: Axes) -> None:
    """Give axes a light grid and no box."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)


def save(figure: Figure, path: Path) -> None:
    """Write the PNG in one piece."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    write_atomic(path, picture.getvalue())
