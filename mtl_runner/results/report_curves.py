"""Curves of a report: what metrics.csv says per epoch, averaged over seeds and thinned out until the page is small."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.results.read import Run

NUMBERS = 250_000  # that all curves of a page may hold together: about 2 MB
POINTS = (12, 160)  # per curve, at least and at most
OVERALL = ""  # the name of the mean over tasks; no task is called so

CurvePoints = dict[int, float]  # {epoch: value}
# Which column of which split's rows: (split, column) -> the quantity's name in the page.
QUANTITIES = {("val", "loss"): "loss", ("train", "weight"): "weight", ("train", "sigma"): "sigma"}


def read_curves(directory: Path) -> dict[str, dict[str, CurvePoints]]:
    """``{quantity: {task: {epoch: value}}}`` of one run; of a file that is cut off, what is whole.

    Quantities are the validation ``loss``, the ``weight`` and the ``sigma`` of each task, and ``relative``, the mean over tasks of
    the relative validation loss, under the task name ``OVERALL``.
    """
    found: dict[str, dict[str, CurvePoints]] = {}
    try:
        with (directory / "metrics.csv").open(
            newline="", encoding="utf-8", errors="replace"
        ) as file:
            reader = csv.reader(file)
            columns = {name: i for i, name in enumerate(next(reader, []))}
            if not {"epoch", "split", "task"} <= columns.keys():
                return {}
            epoch, split, task = columns["epoch"], columns["split"], columns["task"]
            wanted: dict[str, list[tuple[str, int]]] = {}
            for (where, column), quantity in QUANTITIES.items():
                if column in columns:
                    wanted.setdefault(where, []).append((quantity, columns[column]))
            relative = columns.get("relative_loss", -1)
            for row in reader:
                if len(row) != len(columns):
                    continue  # the last line of a run that was killed while it wrote
                if row[task] == "total":
                    if row[split] == "val" and relative >= 0:
                        _put(found, "relative", OVERALL, row[epoch], row[relative])
                    continue
                for quantity, column_index in wanted.get(row[split], ()):
                    _put(found, quantity, row[task], row[epoch], row[column_index])
    except (OSError, csv.Error):
        return found
    return found


def averaged(
    runs: Sequence[Mapping[str, Mapping[str, CurvePoints]]], points: int
) -> dict[str, dict[str, list[list[Any]]]]:
    """``{quantity: {task: [epochs, means]}}`` over seeds, with ``lows`` and ``highs`` (their range) after them if there are several.

    Where fewer than half of the seeds are still there (the others stopped early), a curve ends.
    """
    averages: dict[str, dict[str, list[list[Any]]]] = {}
    for quantity in dict.fromkeys(q for run in runs for q in run):
        for task in dict.fromkeys(t for run in runs for t in run.get(quantity, {})):
            curves = [run[quantity][task] for run in runs if task in run.get(quantity, {})]
            averages.setdefault(quantity, {})[task] = _average(curves, points)
    return averages


def points_for(curves: int) -> int:
    """How many epochs each of so many curves may show."""
    return max(POINTS[0], min(POINTS[1], NUMBERS // max(1, 4 * curves)))


def lines_for(tasks: int) -> int:
    """How many strategies may have curves at all, with the fewest points each: beyond, a page would be too large."""
    return NUMBERS // (4 * 3 * (tasks + 1) * POINTS[0])


def rounded(value: float) -> float | int | None:
    """Four significant digits, which is what a screen can show; None (no JSON number) for what is not finite."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def thinned(epochs: Sequence[int], points: int) -> list[int]:
    """At most so many of the epochs, the first and the last among them, evenly spread."""
    if len(epochs) <= points:
        return list(epochs)
    step = (len(epochs) - 1) / (points - 1)
    return [epochs[round(i * step)] for i in range(points)]


def _average(curves: Sequence[CurvePoints], points: int) -> list[list[Any]]:
    counts: dict[int, int] = {}
    for curve in curves:
        for epoch in curve:
            counts[epoch] = counts.get(epoch, 0) + 1
    epochs = thinned(sorted(e for e, count in counts.items() if 2 * count >= len(curves)), points)
    columns = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
    known = [[value for value in values if math.isfinite(value)] for values in columns]
    found: list[list[Any]] = [
        epochs,
        [rounded(sum(values) / len(values)) if values else None for values in known],
    ]
    if len(curves) > 1:
        found += [
            [rounded(pick(values)) if values else None for values in known] for pick in (min, max)
        ]
    return found


def _put(
    found: dict[str, dict[str, CurvePoints]], quantity: str, task: str, epoch: str, value: str
) -> None:
    if value:
        try:
            found.setdefault(quantity, {}).setdefault(task, {})[int(epoch)] = float(value)
        except ValueError:
            return


def curves_of(runs: Sequence[Run]) -> list[dict[str, dict[str, CurvePoints]]]:
    """The curves of every run that has some."""
    return [curves for run in runs if (curves := read_curves(run.directory))]
