"""Curves of a report: averages over seeds of metrics.csv, thinned out until the page is small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.results.records.curves import TOTAL, Curve, read_curves
from mtl_runner.results.records.run import Run

NUMBERS = 250_000  # that all curves of a page may hold together: about 2 MB
POINTS = (12, 160)  # per curve, at least and at most
OVERALL = ""  # the name of the mean over tasks; no task is called so

# {quantity in the page: (split, column)}
QUANTITIES = {"loss": ("val", "loss"), "weight": ("train", "weight"), "sigma": ("train", "sigma")}
Quantities = dict[str, dict[str, Curve]]  # {quantity: {task: curve}}


def quantities_of(directory: Path) -> Quantities:
    """Return the curves of one run by quantity and task.

    Quantities are the validation ``loss``, the ``weight`` and the ``sigma`` of each task, and
    ``relative``, the mean over tasks of the relative validation loss, under the name ``OVERALL``.
    """
    recorded = read_curves(directory)
    curves: Quantities = {}
    for quantity, (split, column) in QUANTITIES.items():
        for task in recorded.tasks(split):
            if curve := recorded.curve(split, task, column):
                curves.setdefault(quantity, {})[task] = curve
    if relative := recorded.curve("val", TOTAL, "relative_loss"):
        curves["relative"] = {OVERALL: relative}
    return curves


def curves_of(runs: Sequence[Run]) -> list[Quantities]:
    """Return the curves of every run that has some."""
    return [curves for run in runs if (curves := quantities_of(run.directory))]


def averaged(
    runs: Sequence[Mapping[str, Mapping[str, Curve]]], points: int
) -> dict[str, dict[str, list[list[Any]]]]:
    """Average curves over seeds.

    Where fewer than half of the seeds are still there (the others stopped early), a curve ends.

    Args:
        runs: ``{quantity: {task: curve}}`` of each run.
        points: How many epochs a curve may show.

    Returns:
        ``{quantity: {task: [epochs, means]}}``; of several runs with their ``lows`` and ``highs``
        (the range over seeds) after them.
    """
    averages: dict[str, dict[str, list[list[Any]]]] = {}
    for quantity in dict.fromkeys(quantity for run in runs for quantity in run):
        for task in dict.fromkeys(task for run in runs for task in run.get(quantity, {})):
            curves = [run[quantity][task] for run in runs if task in run.get(quantity, {})]
            averages.setdefault(quantity, {})[task] = _average(curves, points)
    return averages


def points_for(curves: int) -> int:
    """Return how many epochs each of so many curves may show."""
    return max(POINTS[0], min(POINTS[1], NUMBERS // max(1, 4 * curves)))


def lines_for(tasks: int) -> int:
    """Return how many strategies may have curves at all, with the fewest points each."""
    return NUMBERS // (4 * 3 * (tasks + 1) * POINTS[0])


def rounded(value: float) -> float | int | None:
    """Return four significant digits, which a screen can show; None for what is not finite."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def thinned(epochs: Sequence[float], points: int) -> list[float]:
    """Return at most so many of the epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= points:
        return list(epochs)
    step = (len(epochs) - 1) / (points - 1)
    return [epochs[round(i * step)] for i in range(points)]


def _average(curves: Sequence[Curve], points: int) -> list[list[Any]]:
    counts: dict[float, int] = {}
    for curve in curves:
        for epoch in curve:
            counts[epoch] = counts.get(epoch, 0) + 1
    epochs = thinned(sorted(e for e, count in counts.items() if 2 * count >= len(curves)), points)
    values = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
    finite = [[value for value in column if math.isfinite(value)] for column in values]
    means = [rounded(sum(column) / len(column)) if column else None for column in finite]
    rows: list[list[Any]] = [epochs, means]
    if len(curves) > 1:
        rows += [[rounded(end(c)) if c else None for c in finite] for end in (min, max)]
    return rows
