"""The pictures of one run: losses, weights, sigmas, conflicts and the fit of a 1-d regression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mtl_runner.results.pictures.charts import Chart, Level, Matrix, Series, log_axis_helps
from mtl_runner.results.pictures.draw import SMALL, draw_charts
from mtl_runner.results.records.curves import RecordedCurves, read_curves
from mtl_runner.results.records.summary import Summary, TaskResult

LATENT = "latent_variance"  # a metric that loss terms on a latent can record
PAIRS = 10  # pairs of tasks whose curves can be told apart
WIDE = (5.2, 2.6)  # inches of a single chart


@dataclass(frozen=True)
class Fit:
    """Training points and the fitted line of one task, in the target's units.

    Attributes:
        x: The inputs of the training points.
        y: Their targets.
        grid: The inputs of the line.
        line: The predictions at these inputs.
        sigma: The predicted noise scale at these inputs; None without one.
    """

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    line: np.ndarray
    sigma: np.ndarray | None = None


def plot_run(
    directory: Path, content: Mapping[str, Any], fits: Mapping[str, Fit], figures: str = ""
) -> None:
    """Draw the pictures of a run that have something to show.

    Draws ``losses.png`` and ``weights.png``, and where there are such numbers ``sigmas.png``,
    ``conflicts.png``, ``latent_variance.png`` and ``fit.png``.

    Args:
        directory: The run directory.
        content: The content of its summary.json.
        fits: ``{task: fit}`` of tasks that are functions of one input.
        figures: A second format of the pictures, ``pdf`` or ``svg``; empty: none.
    """

    def draw(
        name: str,
        charts: Sequence[Chart | Matrix],
        columns: int,
        width: float,
        height: float,
        legend_size: int = SMALL,
    ) -> None:
        path = directory / name
        draw_charts(path, charts, columns, width, height, legend_size, figures)

    curves, summary = read_curves(directory), Summary.of(content)
    tasks = summary.tasks
    losses = loss_charts(curves, summary)
    columns = 2 if len(losses) == 4 else min(len(losses), 3)
    draw("losses.png", losses, columns, 3.0, 2.1)
    draw("weights.png", [weight_chart(curves, summary)], 1, *WIDE, 10)
    if any(math.isfinite(result.sigma) for result in tasks.values()):
        draw("sigmas.png", [sigma_chart(curves, summary)], 1, *WIDE)
    if any(curves.has(f"cosine_{task}") for task in tasks):
        draw("conflicts.png", conflict_charts(curves, summary), 2, 3.4, 2.8, 7)
    if curves.has(LATENT):
        chart = latent_chart(curves, summary)
        draw("latent_variance.png", [chart], 1, *WIDE, 10)
    if fits:
        charts = [
            _fit_chart(list(tasks).index(task), tasks[task], task, fits[task]) for task in fits
        ]
        draw("fit.png", charts, len(charts), 3.2, 2.6)


def loss_charts(curves: RecordedCurves, summary: Summary) -> list[Chart]:
    """Return a chart per task: its loss on training and validation, on one kind of axis for all.

    A ring marks the best evaluation by the monitor, a dashed line the loss of the trivial
    predictor.
    """
    charts = []
    for colour, task in enumerate(summary.tasks):
        train, val = (curves.curve(split, task, "loss") for split in ("train", "val"))
        series = [
            Series(list(train), list(train.values()), colour, "train", faint=True),
            Series(list(val), list(val.values()), colour, "validation"),
        ]
        best = _best_epoch(summary, task)
        if best in val and len(val) > 1:
            series.append(Series([best], [val[best]], colour, "best evaluation", is_mark=True))
        trivial = _trivial_loss(curves, task)
        levels = [] if trivial is None else [Level(trivial, None, "trivial predictor")]
        if colour:  # the first panel explains all
            series = [replace(curve, label="") for curve in series]
            levels = [replace(level, label="", is_dashed=True) for level in levels]
        charts.append(
            Chart(
                task,
                "loss",
                series,
                levels=levels,
                marks=summary.marks,
                title_colour=colour,
            )
        )
    values = [
        [*(y for s in chart.series for y in s.y), *(level.value for level in chart.levels)]
        for chart in charts
    ]
    # One kind of axis, so that panels beside each other are read alike.
    are_positive = all(y > 0 for task in values for y in task if math.isfinite(y))
    has_log_axis = are_positive and any(map(log_axis_helps, values))
    return [replace(chart, has_log_axis=has_log_axis) for chart in charts]


def _best_epoch(summary: Summary, task: str) -> float:
    """Return the best epoch by the monitor, of tasks that share nothing their own; else NaN."""
    best = summary.monitor.best_epoch
    epoch = best.get(task) if isinstance(best, Mapping) else best
    return math.nan if epoch is None else epoch


def _trivial_loss(curves: RecordedCurves, task: str) -> float | None:
    """Return the loss of the trivial predictor on validation, as the relative losses tell it."""
    relative = curves.curve("val", task, "relative_loss")
    for epoch, loss in curves.curve("val", task, "loss").items():
        if math.isfinite(loss) and relative.get(epoch, 0.0) > 0:
            return loss / relative[epoch]
    return None


def weight_chart(curves: RecordedCurves, summary: Summary) -> Chart:
    """Return the weights of the tasks over the epochs."""
    title = "What each loss is worth (d objective / d loss)"
    return _chart_of_tasks(curves, summary, "train", "weight", title, "weight")


def latent_chart(curves: RecordedCurves, summary: Summary) -> Chart:
    """Return the variance of the latent over the epochs."""
    title, label = "Variance of the latent (0: a constant encoder)", "variance, validation"
    return _chart_of_tasks(curves, summary, "val", LATENT, title, label)


def sigma_chart(curves: RecordedCurves, summary: Summary) -> Chart:
    """Return the learned noise scales over the epochs, and the true ones where they are known.

    A noise scale that is predicted per sample comes with the middle nine tenths of the training
    split as a band.
    """
    series: list[Series] = []
    levels: list[Level] = []
    values: list[float] = []
    for colour, (task, result) in enumerate(summary.tasks.items()):
        sigmas = curves.curve("train", task, "sigma")
        if not sigmas:
            continue
        low, high = (
            list(curves.curve("train", task, column).values())
            for column in ("sigma_q05", "sigma_q95")
        )
        final = list(sigmas.values())[-1]
        label = f"{task}: {final:.3g}"
        series.append(Series(list(sigmas), list(sigmas.values()), colour, label, low, high))
        values += sigmas.values()
        if math.isfinite(truth := result.true_sigma):
            levels.append(Level(truth, colour, f"{task}: true {truth:.3g}"))
            values.append(truth)
    return Chart(
        "Learned noise scale",
        "sigma (target units)",
        series,
        levels=levels,
        marks=summary.marks,
        has_log_axis=log_axis_helps(values),
    )


def conflict_charts(curves: RecordedCurves, summary: Summary) -> list[Chart | Matrix]:
    """Return the cosines of the tasks' gradients over the shared parameters.

    Returns:
        The mean cosine of every pair of tasks, and the curves of the pairs that conflict most;
        below 0 the two pull against each other.
    """
    tasks = list(summary.tasks)
    cosines = {(a, b): curves.curve("train", a, f"cosine_{b}") for a, b in combinations(tasks, 2)}
    means = {pair: _mean(list(cosine.values())) for pair, cosine in cosines.items()}
    table = np.eye(len(tasks))
    for (a, b), mean in means.items():
        i, j = tasks.index(a), tasks.index(b)
        table[i, j] = table[j, i] = mean
    worst = sorted(means, key=lambda pair: 0.0 if math.isnan(means[pair]) else means[pair])
    series = [
        Series(list(cosines[a, b]), list(cosines[a, b].values()), colour, f"{a}, {b}")
        for colour, (a, b) in enumerate(worst[:PAIRS])
    ]
    chart = Chart(
        "Cosine of two tasks' gradients",
        "",
        series,
        levels=[Level(0.0)],
        marks=summary.marks,
        y_limits=(-1.05, 1.05),
    )
    return [Matrix("Mean over the run", tasks, table.tolist()), chart]


def _fit_chart(colour: int, result: TaskResult, task: str, fit: Fit) -> Chart:
    """Return training points, the fitted line, and a band of one sigma where it is known."""
    sigma: Any = fit.sigma
    if sigma is None and math.isfinite(result.true_sigma) and math.isfinite(result.sigma):
        sigma = result.sigma
    grid = fit.grid.tolist()
    series = [
        Series(fit.x.tolist(), fit.y.tolist(), colour, "training data", points=True),
        Series(grid, fit.line.tolist(), None, "fit"),
    ]
    if sigma is not None:
        low, high = (fit.line - sigma).tolist(), (fit.line + sigma).tolist()
        series.append(Series(grid, (), colour, low=low, high=high, band_label="± sigma"))
    return Chart(task, task, series, x_label="x", title_colour=colour)


def _chart_of_tasks(
    curves: RecordedCurves, summary: Summary, split: str, column: str, title: str, label: str
) -> Chart:
    """Return one column over the epochs, a curve per task with its last value."""
    series: list[Series] = []
    for colour, task in enumerate(summary.tasks):
        if curve := curves.curve(split, task, column):
            values = list(curve.values())
            series.append(Series(list(curve), values, colour, f"{task}: {values[-1]:.3g}"))
    positive = [value for curve in series for value in curve.y if value > 0]
    return Chart(title, label, series, marks=summary.marks, has_log_axis=log_axis_helps(positive))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
