"""The rows of comparison.csv: one per strategy, with means and 95 % intervals over its runs."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from typing import Any

from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.records.evidence import (
    DatasetEvidence,
    evidence_of,
)
from mtl_runner.results.records.summary import SPLITS
from mtl_runner.results.selection import SINGLE_TASK, Selection
from mtl_runner.results.statistics.preferences import preference_ranks
from mtl_runner.results.statistics.ranks import (
    delta_to_single_task,
    deltas_of_replicates,
    mean_ranks,
)
from mtl_runner.results.table import Cell, StrategyTable

Row = dict[str, Any]


def strategy_rows(
    data: DatasetRuns, at: str, names: Container[str] | None = None, error: str = "half"
) -> list[Row]:
    """Return a row of ``comparison.csv`` for every strategy of a data set that has runs.

    Args:
        data: The data set.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor).
        names: The strategies, among which the ranks are; None: all.
        error: What stands beside a mean: both ends of the 95 % interval (``half`` or ``ends``), the
            standard deviation (``sd``) or nothing (``none``).
    """
    evidence = {split: evidence_of(data, at, split) for split in SPLITS}
    rows = []
    for strategy in data.shown:
        if names is not None and strategy.name not in names:
            continue
        row: Row = {
            "data": data.name,
            "strategy": strategy.name,
            "runs": len(strategy.finished),
            "failed": strategy.unfinished,
            "at": at,
        }
        monitor = [run.summary.monitor.at(at) for run in strategy.finished]
        row |= _mean_columns("monitor", monitor, error)
        for split in SPLITS:
            row |= _split_columns(evidence[split], strategy.name, split, error)
        rows.append(row)
    for split in SPLITS:
        columns = [
            (
                metrics.higher_is_better(metrics.main),
                [row.get(f"{split}.{task}.{metrics.main}.mean", float("nan")) for row in rows],
            )
            for task, metrics in data.tasks.items()
        ]
        for row, rank in zip(rows, mean_ranks(columns), strict=False):
            row[f"{split}.mean_rank"] = rank
        _add_preference_ranks(rows, list(data.tasks), split)
    return rows


def _add_preference_ranks(rows: Sequence[Row], tasks: Sequence[str], split: str) -> None:
    """Add the ranks under a random preference, where several tasks have relative losses."""
    losses = [
        [row.get(f"{split}.{task}.relative_loss.mean", math.nan) for task in tasks] for row in rows
    ]
    if len(tasks) > 1 and any(all(map(math.isfinite, of_row)) for of_row in losses):
        for row, rank in zip(rows, preference_ranks(losses), strict=True):
            row[f"{split}.preference_rank"] = rank


def selected_rows(
    records: Records, tables: Sequence[StrategyTable], selection: Selection, error: str = "half"
) -> list[Row]:
    """Return the rows with the strategies, the split and the metrics that a selection names.

    Ranks are among the strategies that are left.

    Args:
        records: The runs by data set and strategy.
        tables: The table of every data set.
        selection: The selection; where it names none, all are there.
        error: As for :func:`strategy_rows`.
    """
    rows = []
    for data, table in zip(records.datasets, tables, strict=True):
        names = {s.name for s in table.strategies} if selection.strategies else None
        if names and SINGLE_TASK in names:  # a baseline of several settings
            names |= {s.name for s in data.shown if s.role == SINGLE_TASK}
        pairs = selection.metric_columns(table.evidence) if selection.metrics else None
        rows += [
            selected_columns(row, selection.split, pairs, data.tasks)
            for row in strategy_rows(data, table.at, names, error)
        ]
    return rows


def selected_columns(
    row: Row,
    split: str | None,
    metrics: Container[tuple[str, str]] | None,
    tasks: Iterable[str],
) -> Row:
    """Return a row with the columns of one split and of some metrics; the others are left out.

    Args:
        row: The row.
        split: The split; None: both.
        metrics: Pairs of task and metric; None: all.
        tasks: The names of the tasks.

    Example:
        >>> row = {"runs": 2, "val.y.mae.mean": 1.0, "test.y.mae.mean": 2.0, "test.y.r2.mean": 0.5}
        >>> selected_columns(row, "test", [("y", "mae")], ["y"])
        {'runs': 2, 'test.y.mae.mean': 2.0}
    """
    tasks = list(tasks)

    def is_kept(column: str) -> bool:
        of_split, _, name = column.partition(".")
        if of_split not in SPLITS:
            return True
        if split is not None and of_split != split:
            return False
        pairs = [
            (t, name[len(t) + 1 :].rpartition(".")[0]) for t in tasks if name.startswith(f"{t}.")
        ]
        return metrics is None or not pairs or any(pair in metrics for pair in pairs)

    return {column: value for column, value in row.items() if is_kept(column)}


def _split_columns(data: DatasetEvidence, name: str, split: str, error: str) -> Row:
    strategy = data.by_name[name]
    row: Row = {}
    for task in data.tasks:
        for metric in data.recorded_metrics[task]:
            values = strategy.metric(task, metric)
            row |= _mean_columns(f"{split}.{task}.{metric}", values, error)
    changes, of_replicates = (
        delta_to_single_task(data, strategy),
        deltas_of_replicates(data, strategy),
    )
    for name, change, deltas in zip(
        ("delta_m", "delta_m_task"), changes, of_replicates, strict=True
    ):
        spread = _mean_columns(f"{split}.{name}", deltas, error)
        spread.pop(f"{split}.{name}.mean")
        row |= {f"{split}.{name}": change, **spread}
    return row


def _mean_columns(name: str, values: Sequence[float], error: str) -> dict[str, float]:
    cell = Cell.of(values)
    if error == "none":
        return {f"{name}.mean": cell.mean}
    if error == "sd":
        return {f"{name}.mean": cell.mean, f"{name}.sd": cell.deviation}
    return {f"{name}.mean": cell.mean, f"{name}.low": cell.low, f"{name}.high": cell.high}
