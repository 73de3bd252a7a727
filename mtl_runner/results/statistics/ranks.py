"""Ranks of strategies, and their change against single-task training (delta-m)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence, Values
from mtl_runner.results.records.task_metrics import TaskMetrics


def delta_m(
    values: Values, baseline: Values, tasks: Mapping[str, TaskMetrics]
) -> tuple[float, float]:
    """Return the mean relative change against a baseline in percent, lower is better.

    Maninis et al., CVPR 2019, eq. 4, with the sign turned as in later papers:
    (-1)^[higher is better] (M - B) / |B|.

    Args:
        values: ``{task: {metric: value}}``.
        baseline: The same for the single-task baseline.
        tasks: The metrics of the tasks, for their directions.

    Returns:
        The mean over all metrics of all tasks, and the mean over tasks of each task's mean.

    Example:
        >>> tasks = {"depth": TaskMetrics("rmse", {"rmse": False})}
        >>> delta_m({"depth": {"rmse": 1.1}}, {"depth": {"rmse": 1.0}}, tasks)[0].__round__(6)
        10.0
    """
    changes_of_task = {}
    for task, metrics in values.items():
        changes = []
        for metric, value in metrics.items():
            reference = baseline[task][metric]
            change = (value - reference) / abs(reference) if reference else math.nan
            changes.append(100 * (-change if tasks[task].higher_is_better(metric) else change))
        changes_of_task[task] = changes
    all_changes = [change for changes in changes_of_task.values() for change in changes]
    means = [sum(changes) / len(changes) for changes in changes_of_task.values() if changes]
    if not all_changes:
        return math.nan, math.nan
    return sum(all_changes) / len(all_changes), sum(means) / len(means)


def delta_to_single_task(data: DatasetEvidence, strategy: StrategyEvidence) -> tuple[float, float]:
    """Return delta-m of a strategy's means over seeds against the single-task baseline.

    A metric that either side never recorded is left out; one that is NaN in all runs is recorded.

    Returns:
        As :func:`delta_m`; NaN without single-task runs of every task, and for a strategy that does
        not have every task.
    """
    return _delta(data, strategy.mean_values)


def deltas_of_replicates(
    data: DatasetEvidence, strategy: StrategyEvidence
) -> tuple[list[float], list[float]]:
    """Return delta-m of every replicate of a strategy, whose spread is that of delta-m.

    The baseline is the mean of the single-task runs, as in :func:`delta_to_single_task`, so that
    the mean over replicates that recorded the same metrics is that number.

    Args:
        data: The data set.
        strategy: The strategy.

    Returns:
        Over all metrics, and over tasks, as :func:`delta_m`; a number per replicate.
    """
    deltas = [_delta(data, values) for values in strategy.recorded.values()]
    return [over_metrics for over_metrics, _ in deltas], [over_tasks for _, over_tasks in deltas]


def _delta(data: DatasetEvidence, values: Values) -> tuple[float, float]:
    """Return delta-m of some numbers against the single-task baseline; NaN where a task lacks."""
    baseline = data.single_task
    if baseline is None:
        return math.nan, math.nan
    compared = [task for task, metrics in data.tasks.items() if metrics.in_delta_m]
    if not all(task in values for task in compared):
        return math.nan, math.nan
    known = {
        task: {
            metric: values[task][metric]
            for metric in metrics.in_delta_m
            if metric in values.get(task, {}) and metric in baseline.get(task, {})
        }
        for task, metrics in data.tasks.items()
    }
    return delta_m({task: v for task, v in known.items() if v}, baseline, data.tasks)


def mean_ranks(columns: Sequence[tuple[bool, Sequence[float]]]) -> list[float]:
    """Return each strategy's mean rank over columns; 1 is best, ties share, NaN is not ranked.

    Args:
        columns: Per metric whether a higher value is better, and one value per strategy.

    Example:
        >>> mean_ranks([(True, [0.9, 0.8, 0.8]), (False, [2.0, 1.0, 3.0])])
        [1.5, 1.75, 2.75]
    """
    if not columns:
        return []
    signed = np.array([[-v if higher else v for v in values] for higher, values in columns])
    signed = np.where(np.isfinite(signed), signed, np.nan)
    # As scipy's rankdata, whose import costs more than all else in a small comparison.
    ranks = pd.DataFrame(signed).rank(axis=1).to_numpy()
    known = np.isfinite(ranks)
    sums, counts = np.where(known, ranks, 0.0).sum(0), known.sum(0)
    return [float(s / n) if n else math.nan for s, n in zip(sums, counts, strict=True)]
