"""Differences between runs of two strategies with the same seed."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence, Values
from mtl_runner.results.statistics.paired import Paired, holm, paired


@dataclass(frozen=True)
class MetricDifference:
    """One metric of one task: the strategy's value minus that of equal weights, in its unit.

    Attributes:
        strategy: The strategy.
        against: The equal weights that it is compared with.
        task: The task.
        metric: The metric.
        difference: The differences, in pairs of one seed (and fold).
    """

    strategy: str
    against: str
    task: str
    metric: str
    difference: Paired


@dataclass(frozen=True)
class TaskEffect:
    """One task's main metric under equal weights and under a strategy, in its unit.

    Attributes:
        task: The task.
        metric: Its main metric.
        equal: The mean under equal weights over the seeds that both have.
        strategy: The mean under the strategy over the same seeds.
    """

    task: str
    metric: str
    equal: float
    strategy: float


def quantity(data: DatasetEvidence) -> str:
    """Return in words what :func:`relative_changes` compares."""
    return "mean relative loss" if data.has_relative_loss else "main metrics"


def relative_changes(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence
) -> dict[str, float]:
    r"""Return per seed the logarithm of a ratio of mean relative losses; below 0 is better.

    .. math:: d_s = \log \frac{\sum_t L_{t,s} / b_t}{\sum_t L'_{t,s} / b_t}

    with :math:`L` the strategy's and :math:`L'` the reference's loss of task t with seed s, and
    :math:`b_t` the loss of the trivial predictor. The mean relative loss is what learning rates and
    weights were tuned for, on another split. Its logarithm, because half and twice are then equally
    far from the same, and swapping strategy and reference changes the sign alone.
    :func:`percentage` turns means and intervals of it into relative changes.

    Where a run of the data set has no positive mean relative loss (a task whose trivial loss is 0
    or unknown), the number is the mean over tasks of the log ratio of the main metric, signed so
    that lower is better. A task whose main metric is not positive with some seed (F1 of a starved
    task) is then judged by its loss; where that is not positive either, an equal loss is no change
    and a seed with another one is left out.

    Args:
        data: The data set.
        strategy: The strategy.
        reference: The strategy to compare it with.

    Returns:
        ``{replicate: log ratio}`` for the replicates that both have.
    """
    common = _common_replicates(strategy, reference)
    if data.has_relative_loss:
        return {r: math.log(strategy.relative_loss[r] / reference.relative_loss[r]) for r in common}
    metrics = {
        task: _comparable_metric(task, data.main_metric(task), common, (strategy, reference))
        for task in data.tasks
    }
    log_ratios = {
        r: [
            _log_ratio(data, task, metric, strategy.values[r], reference.values[r])
            for task, metric in metrics.items()
        ]
        for r in common
    }
    return {
        r: sum(ratios) / len(ratios)
        for r, ratios in log_ratios.items()
        if ratios and all(map(math.isfinite, ratios))
    }


def geometric_changes(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence
) -> dict[str, dict[str, float]]:
    r"""Return per seed and task the logarithm of the ratio of the losses; below 0 is better.

    The mean over tasks is the logarithm of the ratio of geometric means, in which every task
    counts alike. In the mean relative loss of :func:`relative_changes` a task that is hardly
    learned outweighs one that is learned well.

    Args:
        data: The data set.
        strategy: The strategy.
        reference: The strategy to compare it with.

    Returns:
        ``{replicate: {task: log ratio}}`` for the replicates that both have; empty unless all
        losses are positive.
    """
    ratios = {}
    for r in _common_replicates(strategy, reference):
        losses = {
            task: [
                s.values[r].get(task, {}).get("relative_loss", math.nan)
                for s in (strategy, reference)
            ]
            for task in data.tasks
        }
        if not all(loss > 0 and math.isfinite(loss) for pair in losses.values() for loss in pair):
            return {}
        ratios[r] = {task: math.log(loss / base) for task, (loss, base) in losses.items()}
    return ratios


def percentage(logarithms: Paired) -> Paired:
    """Return paired log ratios as relative changes, -0.02 being 2 % less.

    The p-values stay those of the logarithms.
    """
    return replace(
        logarithms,
        mean=_expm1(logarithms.mean),
        low=_expm1(logarithms.low),
        high=_expm1(logarithms.high),
        low90=_expm1(logarithms.low90),
        high90=_expm1(logarithms.high90),
    )


def task_effects(data: DatasetEvidence, strategy: StrategyEvidence) -> list[TaskEffect]:
    """Return the effect of a strategy on every task's main metric.

    Empty without equal weights on the same seeds.
    """
    equal = data.equal_for(strategy)
    common = _common_replicates(strategy, equal) if equal is not None else []
    if equal is None or not common:
        return []
    effects = []
    for task in data.tasks:
        metric = data.main_metric(task)
        before, after = (_mean(s, task, metric, common) for s in (equal, strategy))
        effects.append(TaskEffect(task, metric, before, after))
    return effects


def metric_differences(
    data: DatasetEvidence, only: Container[tuple[str, str]] | None = None
) -> list[MetricDifference]:
    """Return every strategy's paired differences to equal weights, per task and metric.

    The p-values are Holm-adjusted over the strategies.

    Args:
        data: The data set.
        only: The pairs of task and metric; None: all that any run recorded.
    """
    pairs = [
        (s, equal)
        for s in data.of_role("strategy", "fixed", "twin", "equal")
        if (equal := data.equal_for(s)) is not None and s is not equal
    ]
    rows = []
    for task in data.tasks:
        for metric in data.recorded_metrics[task]:
            if only is not None and (task, metric) not in only:
                continue
            differences = [_differences(s, equal, task, metric) for s, equal in pairs]
            adjusted = holm([difference.p for difference in differences])
            rows += [
                MetricDifference(s.name, equal.name, task, metric, replace(difference, p_holm=p))
                for (s, equal), difference, p in zip(pairs, differences, adjusted, strict=True)
            ]
    return rows


def _differences(
    strategy: StrategyEvidence, equal: StrategyEvidence, task: str, metric: str
) -> Paired:
    return paired(
        strategy.values[r].get(task, {}).get(metric, math.nan)
        - equal.values[r].get(task, {}).get(metric, math.nan)
        for r in _common_replicates(strategy, equal)
    )


def _common_replicates(strategy: StrategyEvidence, reference: StrategyEvidence) -> list[str]:
    return [replicate for replicate in strategy.values if replicate in reference.values]


def _mean(strategy: StrategyEvidence, task: str, metric: str, replicates: Sequence[str]) -> float:
    values = [strategy.values[r].get(task, {}).get(metric, math.nan) for r in replicates]
    return sum(values) / len(replicates)


def _comparable_metric(
    task: str, metric: str, replicates: Sequence[str], pair: Sequence[StrategyEvidence]
) -> str:
    values = [s.values[r].get(task, {}).get(metric, math.nan) for s in pair for r in replicates]
    return "loss" if any(value <= 0 for value in values) else metric


def _log_ratio(
    data: DatasetEvidence, task: str, metric: str, values: Values, reference: Values
) -> float:
    value = values.get(task, {}).get(metric, math.nan)
    base = reference.get(task, {}).get(metric, math.nan)
    if value == base:
        return 0.0
    if not (value > 0 and base > 0):
        return math.nan
    ratio = math.log(value / base)
    return -ratio if data.tasks[task].higher_is_better(metric) else ratio


def _expm1(value: float) -> float:
    return math.inf if value > 700 else math.expm1(value)
