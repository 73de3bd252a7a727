"""One look for all pictures: colour-blind safe colours, figures with fixed margins, files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from mtl_runner.files import write_atomic

# Okabe & Ito (2008), without the yellow that vanishes on white; then repeated.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
DPI = 110
DPIS = {"pdf": 300, "svg": 300}  # of images inside a drawing


def colour(index: int | None) -> str:
    """Return the colour of a number, the same in all pictures; black for None."""
    return "black" if index is None else COLOURS[index % len(COLOURS)]


def new_figure(
    rows: int, columns: int, width: float, height: float, room: float = 0.0
) -> tuple[Figure, Any]:
    """Return a figure with a grid of axes and fixed margins.

    Without pyplot, which costs half a second to import, and without an automatic layout, which
    draws everything twice.

    Args:
        rows: The number of rows.
        columns: The number of columns.
        width: The width of each pair of axes in inches.
        height: Its height in inches.
        room: Inches on the right for a legend beside the axes.
    """
    left, right, bottom, top = 0.75, 0.2 + room, 0.5, 0.4
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


def tidy_ticks(axis: Axes, counts_epochs: bool) -> None:
    """Give axes ticks that can be read: whole epochs, and plain numbers on a short log axis.

    Args:
        axis: The axes, once everything is drawn.
        counts_epochs: Whether the horizontal axis counts epochs.
    """
    if counts_epochs:
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        low, high = axis.dataLim.intervalx
        if low == high:
            axis.set_xticks([low])
    low, high = axis.get_ylim()
    if axis.get_yscale() == "log" and 0 < high < 10 * low:
        axis.yaxis.set_major_locator(MaxNLocator(5))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def tidy(axis: Axes) -> None:
    """Give axes a light grid and no box."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)


def save(figure: Figure, path: Path, figures: str = "") -> None:
    """Write a picture in one piece, in the format that the end of its name says.

    Fonts are embedded in a PDF as TrueType, which publishers ask for, and drawn as outlines in an
    SVG. The same figure gives the same bytes.

    Args:
        figure: The figure.
        path: The file: ``.png``, ``.pdf`` or ``.svg``.
        figures: A second format, ``pdf`` or ``svg``, that is written beside the file; empty: none.
    """
    for file in (path, path.with_suffix(f".{figures}")) if figures else (path,):
        picture = io.BytesIO()
        kind = file.suffix[1:]
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
        with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "mtl-runner"}):
            figure.savefig(picture, dpi=DPIS.get(kind, DPI), format=kind, metadata=metadata)
        write_atomic(file, picture.getvalue())
