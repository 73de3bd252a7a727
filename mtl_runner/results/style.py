"""One look for all pictures: colour-blind safe colours, one per task or strategy throughout, readable at page width."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito (2008), without the yellow that vanishes on white; then repeated.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
DPI = 110


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """A figure with a grid of axes of ``width`` x ``height`` inches each, and fixed margins.

    Without pyplot, which costs half a second to import, and without an automatic layout, which draws everything twice.
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
    """A figure of ``width`` x ``height`` inches in all whose labels find their own room."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=height_ratios)
    for axis in axes.flat:
        tidy(axis)
    return figure, axes


def tidy(axis: Axes) -> None:
    """A light grid and no box."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)


def save(figure: Figure, path: Path) -> None:
    """Write the PNG in one piece."""
    picture = io.BytesIO()  # PIL hides what the disk says
    figure.savefig(picture, dpi=DPI, format="png")
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(picture.getbuffer())
    temporary.replace(path)


def log_axis_helps(values: list[float]) -> bool:
    """Whether positive values span more than a factor of 20."""
    known = [value for value in values if value == value and abs(value) != float("inf")]
    return bool(known) and min(known) > 0 and max(known) / min(known) > 20


def mark(axis: Axes, marks: dict[str, float], labels: bool = True) -> None:
    """Dotted lines where tasks start or end."""
    together: dict[float, list[str]] = {}  # what happens at one epoch stands in one label
    for text, epoch in marks.items():
        together.setdefault(epoch, []).append(text)
    for epoch, texts in together.items():
        axis.axvline(epoch, color="0.4", linestyle=":", linewidth=1)
        if labels:
            axis.annotate(
                ", ".join(texts), (epoch, 1), xycoords=("data", "axes fraction"), xytext=(3, -3), textcoords="offset points",
                rotation=90, va="top", ha="left", fontsize=7, color="0.3",
            )  # fmt: skip
