"""The content of a picture with axes, apart from how it is drawn: series, bands, labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LOG_RATIO = 20  # positive values that span more than this factor are drawn on a log axis


@dataclass(frozen=True)
class Series:
    """A curve, or points, with an optional band.

    Attributes:
        x: The horizontal values.
        y: The vertical values; empty for a band alone.
        colour: The number of its colour; None is black.
        label: Its name in the legend; empty for none.
        low: The lower edge of its band; empty without one.
        high: The upper edge.
        band_label: The name of the band in the legend.
        faint: Whether it is drawn behind the others.
        points: Whether points are drawn instead of a curve.
        is_mark: Whether these points are ringed, to point at them.
        dash: The number of its dashes; 0 is a solid line.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: int | None = None
    label: str = ""
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    band_label: str = ""
    faint: bool = False
    points: bool = False
    is_mark: bool = False
    dash: int = 0


@dataclass(frozen=True)
class Level:
    """A horizontal line at a value, such as the true sigma of generated data."""

    value: float
    colour: int | None = None
    label: str = ""
    is_dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes:
        title: What it shows.
        y_label: The vertical axis.
        series: What is drawn.
        x_label: The horizontal axis.
        levels: Horizontal lines.
        marks: ``{text: epoch}`` where tasks start or end.
        y_limits: The ends of the vertical axis; None: those of the values.
        title_colour: The colour of a title that names a task; None is black.
        has_log_axis: Whether the vertical axis is logarithmic.
        has_log_x_axis: Whether the horizontal axis is logarithmic.
    """

    title: str
    y_label: str
    series: Sequence[Series]
    x_label: str = "epoch"
    levels: Sequence[Level] = ()
    marks: Mapping[str, float] = field(default_factory=dict)
    y_limits: tuple[float, float] | None = None
    title_colour: int | None = None
    has_log_axis: bool = False
    has_log_x_axis: bool = False


@dataclass(frozen=True)
class Matrix:
    """A symmetric table of numbers between -1 and 1.

    Attributes:
        title: What it shows.
        names: The names of rows and columns.
        values: The numbers; NaN where unknown.
    """

    title: str
    names: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Dots:
    """The values of one strategy, with mean and interval (NaN ends without one).

    Its interval has the dashes of its curve, by which strategies of one colour are told apart.
    """

    name: str
    colour: int
    values: Sequence[float]
    mean: float
    low: float
    high: float
    dash: int = 0


@dataclass(frozen=True)
class DotChart:
    """The values of several strategies, one row each, beside a reference if there is one."""

    title: str
    x_label: str
    rows: Sequence[Dots]
    reference: float | None = None


def log_axis_helps(values: Sequence[float]) -> bool:
    """Return whether all values are positive and span more than a factor of 20.

    Example:
        >>> log_axis_helps([0.1, 5.0]), log_axis_helps([0.0, 5.0])
        (True, False)
    """
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > LOG_RATIO
