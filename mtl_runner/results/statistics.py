"""Means with 95 % t-intervals, delta-m and ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from mtl_runner.results.task_metrics import TaskMetrics


@dataclass(frozen=True)
class Interval:
    """Mean and 95 % confidence interval; with one value the ends are NaN."""

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of independent values (seeds, folds)."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    n = len(known)
    mean = sum(known) / n if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / (n - 1))
    half = _quantile(n - 1) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


@cache
def _quantile(degrees: int) -> float:
    """Student's t at 97.5 %. Asked for thousands of times with the same few numbers of seeds, at .3 ms each."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def delta_m(
    model: Mapping[str, Mapping[str, float]],
    baseline: Mapping[str, Mapping[str, float]],
    tasks: Mapping[str, TaskMetrics],
) -> tuple[float, float]:
    """Mean relative change against the single-task baseline in percent, lower is better: over metrics, and over tasks.

    Maninis et al., CVPR 2019, eq. 4, with the sign turned as in later papers: (-1)^[higher is better] (M - B) / |B|. The first
    number averages over all metrics of all tasks, the second first within each task.

    Args:
        model, baseline: ``{task: {metric: value}}`` with the same keys.
        tasks: What they are measured by, for the directions.
    """
    per_task = {}
    for task, metrics in model.items():
        changes = []
        for name, value in metrics.items():
            reference = baseline[task][name]
            change = (value - reference) / abs(reference) if reference else math.nan
            changes.append(100 * (-change if tasks[task].higher_is_better(name) else change))
        per_task[task] = changes
    every = [change for changes in per_task.values() for change in changes]
    means = [sum(changes) / len(changes) for changes in per_task.values() if changes]
    return (sum(every) / len(every), sum(means) / len(means)) if every else (math.nan, math.nan)


def mean_ranks(columns: Sequence[tuple[bool, Sequence[float]]]) -> list[float]:
    """Mean rank (1 is best, ties share) of each strategy over columns of (is higher better?, one value per strategy)."""
    totals: list[list[float]] = [[] for _ in columns[0][1]] if columns else []
    for higher_is_better, values in columns:
        signed = [-v if higher_is_better else v for v in values]
        for i, value in enumerate(signed):
            if math.isfinite(value):
                below = sum(other < value for other in signed if math.isfinite(other))
                equal = sum(other == value for other in signed if math.isfinite(other))
                totals[i].append(below + (equal + 1) / 2)
    return [sum(ranks) / len(ranks) if ranks else math.nan for ranks in totals]
