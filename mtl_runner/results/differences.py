"""Differences between runs of two strategies with the same seed: one number per seed, or one per task and metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mtl_runner.metric_names import higher_is_better
from mtl_runner.results.evidence import DataSet, StrategyEvidence, Values
from mtl_runner.results.paired import Paired, holm, paired


@dataclass(frozen=True)
class MetricDifference:
    """One task's metric: the strategy's value minus that of equal weights with the same seed, in the metric's unit."""

    strategy: str
    task: str
    metric: str
    difference: Paired


def relative_changes(data: DataSet, strategy: StrategyEvidence, reference: StrategyEvidence) -> dict[str, float]:
    """Per seed: the mean over tasks of the relative change of each task's main metric, signed so that lower is better.

    .. math:: d_s = \\frac{1}{T} \\sum_t (-1)^{[\\text{higher is better}]} \\frac{M_{t,s} - R_{t,s}}{|R_{t,s}|}

    with M the strategy's and R the reference's value on the same seed: delta-m of a run against the paired run, -0.02 being 2 % better.
    One number per seed is what a paired interval and a sign-flip test need; relative changes have no unit, so metres and
    accuracies may be averaged; one metric per task, so that a task with many metrics has no more votes; and the paired run as
    reference cancels what the seed does to both (initial weights, batch order, noise of the data). Metrics, not losses, because
    they are what a model is used for; so an accuracy that grows from .98 to .99 counts as 1 %.

    Where the reference's main metric is 0 in some seed (F1 of a starved task), the task is judged by its loss instead; where that is
    0 as well, an equal loss is no change and a seed with another one is left out.

    Returns ``{replicate: fraction}`` for the replicates that both have.
    """
    common = [replicate for replicate in strategy.values if replicate in reference.values]
    metrics = {task: _comparable(task, data.main(task), common, reference) for task in data.tasks}
    changes = {
        replicate: [
            _change(task, metric, strategy.values[replicate], reference.values[replicate]) for task, metric in metrics.items()
        ]
        for replicate in common
    }
    return {r: sum(each) / len(each) for r, each in changes.items() if each and all(map(math.isfinite, each))}


def metric_differences(data: DataSet) -> list[MetricDifference]:
    """Every strategy's paired differences to equal weights, per task and metric; p is Holm-adjusted over the strategies."""
    if data.equal is None:
        return []
    others = [s for s in data.of_role("strategy", "fixed", "twin", "equal") if s is not data.equal]
    rows = []
    for task in data.tasks:
        metrics = dict.fromkeys(m for s in data.strategies for values in s.values.values() for m in values.get(task, {}))
        for metric in metrics:
            found = []
            for s in others:
                pairs = [
                    (
                        values.get(task, {}).get(metric, math.nan),
                        data.equal.values[replicate].get(task, {}).get(metric, math.nan),
                    )
                    for replicate, values in s.values.items()
                    if replicate in data.equal.values
                ]
                found.append(paired([a - b for a, b in pairs]))
            for s, one, p in zip(others, found, holm([each.p for each in found]), strict=True):
                rows.append(MetricDifference(s.name, task, metric, replace(one, p_holm=p)))
    return rows


def _comparable(task: str, metric: str, common: list[str], reference: StrategyEvidence) -> str:
    return "loss" if any(reference.values[replicate][task].get(metric) == 0 for replicate in common) else metric


def _change(task: str, metric: str, values: Values, reference: Mapping[str, Mapping[str, float]]) -> float:
    value, base = values[task].get(metric, math.nan), reference[task].get(metric, math.nan)
    if base == 0:
        return 0.0 if value == 0 else math.nan
    change = (value - base) / abs(base)
    return -change if higher_is_better(metric) else change
