"""Differences between runs of two strategies with the same seed: one number per seed, or one per task and metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mtl_runner.results.evidence import DatasetEvidence, StrategyEvidence, Values
from mtl_runner.results.paired import Paired, holm, paired


@dataclass(frozen=True)
class MetricDifference:
    """One task's metric: the strategy's value minus that of equal weights with the same seed, in the metric's unit."""

    strategy: str
    task: str
    metric: str
    difference: Paired


@dataclass(frozen=True)
class TaskEffect:
    """One task's main metric under equal weights and under a strategy: means over the seeds that both have, in the metric's unit."""

    task: str
    metric: str
    equal: float
    strategy: float


def quantity(data: DatasetEvidence) -> str:
    """What ``relative_changes`` compares, in words."""
    return "mean relative loss" if data.has_relative_loss else "main metrics"


def relative_changes(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence
) -> dict[str, float]:
    """Per seed: the logarithm of the strategy's mean relative loss over that of the paired run; below 0 is better.

    .. math:: d_s = \\log \\frac{\\sum_t L_{t,s} / b_t}{\\sum_t L'_{t,s} / b_t}

    with L the strategy's and L' the reference's loss of task t on the same seed, and b_t the loss of the trivial predictor. The mean
    relative loss is what the learning rates and weights were tuned for, on another split. Its logarithm, because
    half and twice are then equally far from the same, and swapping strategy and reference changes the sign alone. ``percentage``
    turns means and intervals of it into relative changes.

    Where a run of the data set has no positive mean relative loss (a task whose trivial loss is 0 or not known), the number is the mean over
    tasks of the log ratio of the main metric, signed so that lower is better. A task whose main metric is not positive in some seed (F1
    of a starved task) is judged by its loss then; where that is not positive either, an equal loss is no change and a seed with another
    one is left out.

    Returns ``{replicate: log ratio}`` for the replicates that both have.
    """
    common = _common(strategy, reference)
    if data.has_relative_loss:
        return {r: math.log(strategy.relative_loss[r] / reference.relative_loss[r]) for r in common}
    metrics = {
        task: _comparable(task, data.main(task), common, (strategy, reference))
        for task in data.tasks
    }
    changes = {
        r: [
            _change(data, t, m, strategy.values[r], reference.values[r]) for t, m in metrics.items()
        ]
        for r in common
    }
    return {
        r: sum(each) / len(each)
        for r, each in changes.items()
        if each and all(map(math.isfinite, each))
    }


def percentage(logarithms: Paired) -> Paired:
    """Paired log ratios as relative changes, -0.02 being 2 % less; the p-values stay those of the logarithms."""
    mean, low, high = (
        _expm1(value) for value in (logarithms.mean, logarithms.low, logarithms.high)
    )
    return replace(logarithms, mean=mean, low=low, high=high)


def task_effects(data: DatasetEvidence, strategy: StrategyEvidence) -> list[TaskEffect]:
    """What a strategy does to every task's main metric; empty without equal weights on the same seeds."""
    equal = data.equal
    common = _common(strategy, equal) if equal is not None else []
    if equal is None or not common:
        return []
    return [
        TaskEffect(t, m := data.main(t), _mean(equal, t, m, common), _mean(strategy, t, m, common))
        for t in data.tasks
    ]


def metric_differences(data: DatasetEvidence) -> list[MetricDifference]:
    """Every strategy's paired differences to equal weights, per task and metric; p is Holm-adjusted over the strategies."""
    if data.equal is None:
        return []
    others = [s for s in data.of_role("strategy", "fixed", "twin", "equal") if s is not data.equal]
    rows = []
    for task in data.tasks:
        metrics = dict.fromkeys(
            m for s in data.strategies for values in s.values.values() for m in values.get(task, {})
        )
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


def _common(strategy: StrategyEvidence, reference: StrategyEvidence) -> list[str]:
    return [replicate for replicate in strategy.values if replicate in reference.values]


def _mean(strategy: StrategyEvidence, task: str, metric: str, replicates: Sequence[str]) -> float:
    return sum(strategy.values[r].get(task, {}).get(metric, math.nan) for r in replicates) / len(
        replicates
    )


def _comparable(
    task: str, metric: str, common: Sequence[str], pair: Sequence[StrategyEvidence]
) -> str:
    return (
        "loss"
        if any(s.values[r].get(task, {}).get(metric, math.nan) <= 0 for s in pair for r in common)
        else metric
    )


def _change(
    data: DatasetEvidence, task: str, metric: str, values: Values, reference: Values
) -> float:
    value, base = (
        values.get(task, {}).get(metric, math.nan),
        reference.get(task, {}).get(metric, math.nan),
    )
    if value == base:
        return 0.0
    if not (value > 0 and base > 0):
        return math.nan
    change = math.log(value / base)
    return -change if data.tasks[task].higher_is_better(metric) else change


def _expm1(value: float) -> float:
    return math.inf if value > 700 else math.expm1(value)
