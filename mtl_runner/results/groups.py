"""Runs sorted by data set and strategy, and the row of comparison.csv of each strategy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mtl_runner.results.read import Run
from mtl_runner.results.statistics import Interval, delta_m, interval, mean_ranks
from mtl_runner.results.strategies import Label
from mtl_runner.results.task_metrics import TaskMetrics

if TYPE_CHECKING:
    pass

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Strategy:
    """All finished runs of one strategy on one data set."""

    name: str
    runs: list[Run]
    failed: int

    def values(self, split: str, task: str, metric: str, at: str) -> list[float]:
        """One number per run; NaN where a run has none."""
        found = [
            run.summary["tasks"].get(task, {}).get(at, {}).get(split, {}).get(metric)
            for run in self.runs
        ]
        return [math.nan if value is None else float(value) for value in found]

    @cached_property
    def is_single_task(self) -> bool:
        return bool(self.runs) and all(
            run.choices.get("weighting") == "single_task" for run in self.runs
        )

    def monitor(self, at: str) -> Interval:
        """The monitor at the last or at the best epoch."""
        values = [run.summary["monitor"][at] for run in self.runs]
        return interval([math.nan if value is None else float(value) for value in values])


@dataclass(frozen=True)
class Group:
    """All strategies on one data set, with its tasks and what they are measured by."""

    data: str
    tasks: dict[str, TaskMetrics]
    strategies: list[Strategy]

    def baseline(self, at: str) -> Strategy | None:
        """The single-task strategy (the best one by the monitor, if several were run)."""
        candidates = [s for s in self.strategies if s.is_single_task]
        return min(candidates, key=lambda s: s.monitor(at).mean, default=None)


def group_runs(runs: Sequence[Run], labels: Sequence[Label]) -> list[Group]:
    """The runs sorted by data set and strategy, as their labels say."""
    groups = []
    for data in dict.fromkeys(where.data for where in labels):
        members = [
            (run, where) for run, where in zip(runs, labels, strict=True) if where.data == data
        ]
        strategies = []
        for name in dict.fromkeys(where.strategy for _, where in members):
            # The same strategy with the same seed and fold is the same run again, not one more sample: the last one counts.
            mine = list(
                {where.replicate: run for run, where in members if where.strategy == name}.values()
            )
            done = [run for run in mine if run.finished]
            strategies.append(Strategy(name, done, len(mine) - len(done)))
        rows = [
            (task, row)
            for s in strategies
            for run in s.runs
            for task, row in run.summary["tasks"].items()
        ]
        tasks = {task: TaskMetrics.of(row) for task, row in rows}
        groups.append(Group(data, tasks, strategies))
    return groups


def strategy_rows(group: Group, at: str) -> list[dict[str, Any]]:
    """Per strategy of a group the row of ``comparison.csv``."""
    rows = []
    metrics = {
        (split, task): _metrics(group, split, task, at) for split in SPLITS for task in group.tasks
    }
    for strategy in group.strategies:
        row: dict[str, Any] = {
            "data": group.data,
            "strategy": strategy.name,
            "runs": len(strategy.runs),
            "failed": strategy.failed,
            "at": at,
            **_interval_columns("monitor", strategy.monitor(at)),
        }
        for split in SPLITS:
            for task in group.tasks:
                for metric in metrics[split, task]:
                    row |= _interval_columns(
                        f"{split}.{task}.{metric}",
                        interval(strategy.values(split, task, metric, at)),
                    )
            row[f"{split}.delta_m"], row[f"{split}.delta_m_task"] = _delta(
                group, strategy, split, at
            )
        rows.append(row)
    for split in SPLITS:
        columns = [
            (
                metrics.higher_is_better(metrics.main),
                [row[f"{split}.{task}.{metrics.main}.mean"] for row in rows],
            )
            for task, metrics in group.tasks.items()
        ]
        ranks = mean_ranks(columns)
        for row, rank in zip(rows, ranks, strict=False):
            row[f"{split}.mean_rank"] = rank
    return rows


def _metrics(group: Group, split: str, task: str, at: str) -> list[str]:
    rows = [
        run.summary["tasks"][task][at][split]
        for s in group.strategies
        for run in s.runs
        if task in run.summary["tasks"]
    ]
    return list(dict.fromkeys(name for row in rows for name in row))


def _delta(group: Group, strategy: Strategy, split: str, at: str) -> tuple[float, float]:
    singles = [s for s in group.strategies if s.is_single_task]
    if not singles or not strategy.runs:
        return math.nan, math.nan
    mine: dict[str, dict[str, float]] = {}
    baseline: dict[str, dict[str, float]] = {}
    for task, metrics in group.tasks.items():
        if metrics.in_delta_m:
            # Tasks that share nothing may be tuned one by one: each is held against its own best runs.
            single = min(
                singles,
                key=lambda s: _least_first(interval(s.values("val", task, "loss", at)).mean),
            )
            for s, row in ((strategy, mine), (single, baseline)):
                row[task] = {
                    m: interval(s.values(split, task, m, at)).mean for m in metrics.in_delta_m
                }
    return delta_m(mine, baseline, group.tasks)


def _least_first(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _interval_columns(name: str, found: Interval) -> dict[str, float]:
    return {f"{name}.mean": found.mean, f"{name}.low": found.low, f"{name}.high": found.high}
