"""The verdict on a cell: the method at its best learning rate against equal weights at theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from entries import REFERENCE, Cell
from training import is_stacked, record_of

from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.records.evidence import (
    DatasetEvidence,
    Evidence,
    StrategyEvidence,
    evidence_of,
    finite_mean,
)
from mtl_runner.results.statistics.differences import relative_changes
from mtl_runner.results.verdict.judge import verdicts
from mtl_runner.results.verdict.verdict import NOT_APPLICABLE

FAILED = "failed"
SPLIT = "test"


@dataclass(frozen=True)
class Row:
    """The row of a cell. Changes are fractions, below 0 is better.

    Attributes:
        problem: The problem.
        method: The method.
        verdict: The verdict's kind, ``reference`` for equal weights, or ``failed`` where no run of
            the best learning rate came to its end.
        change: Mean relative change of the relative loss on test against equal weights.
        low: The lower end of its 95 % t-interval.
        high: The upper end.
        by_seed: The change with each seed that equal weights finished; infinite where it failed.
        loss: Mean relative loss on test.
        lr: The learning rate that is best on validation.
        seeds: The number of usable runs at that rate.
        failed: The number of runs at that rate that failed.
        trained: ``stacked``, or ``alone`` for runs one by one.
        cpu_seconds: Processor time of the cell's 15 runs; NaN for one that was interrupted.
        backward_passes: Backward passes per step.
        definition: The definition of the cell.
        reason: Why it is not applicable, or failed.
    """

    problem: str
    method: str
    verdict: str
    change: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    loss: float
    lr: str
    seeds: int
    failed: int
    trained: str
    cpu_seconds: float
    backward_passes: float
    definition: str
    reason: str = ""


def judge(cell: Cell, output: Path) -> Row:
    """Return the row of a cell that is trained, as is equal weights' on the same problem.

    Args:
        cell: The cell.
        output: The folder of all cells.

    Raises:
        RunDirectoryError: If it holds no run.
    """
    reference = cell.reference.folder(output)
    folder = cell.folder(output)
    records = Records.read([reference] if folder == reference else [reference, folder])
    (data,) = records.datasets
    evidence = evidence_of(data, records.at, SPLIT)
    equal = best_of(settings_in(reference, data, evidence))
    chosen = best_of(settings_in(folder, data, evidence))
    row = Row(
        problem=cell.problem.name,
        method=cell.method.name,
        verdict="reference",
        change=0.0,
        low=0.0,
        high=0.0,
        by_seed=(0.0,) * len(equal.values),
        loss=finite_mean(chosen.relative_loss.values()),
        lr=dict(chosen.settings).get("optimizer.lr", ""),
        seeds=len(chosen.values),
        failed=len(chosen.failures),
        trained="stacked" if is_stacked(cell, output) else "alone",
        cpu_seconds=_as_float(record_of(cell, output).get("cpu_seconds")),
        backward_passes=chosen.backward_passes,
        definition=cell.definition,
    )
    if cell.method.name == REFERENCE:
        return row
    # Both are at rates of their own, as in a study: the judge may compare them.
    equal = replace(equal, role="equal", settings=())
    chosen = replace(chosen, role="strategy", settings=())
    judged = DatasetEvidence(cell.problem.name, data.tasks, (equal, chosen))
    (verdict,) = verdicts(Evidence(records.at, SPLIT, (judged,)))
    versus = verdict.versus_equal
    kind = verdict.kind
    if kind == NOT_APPLICABLE:
        row = replace(row, lr="", trained="", cpu_seconds=math.nan)
    elif not chosen.values:
        kind = FAILED
    changes = relative_changes(judged, chosen, equal) | {
        replicate: math.inf for replicate in chosen.failures if replicate in equal.values
    }
    return replace(
        row,
        verdict=kind,
        change=versus.mean if versus else math.nan,
        low=versus.low if versus else math.nan,
        high=versus.high if versus else math.nan,
        by_seed=tuple(math.expm1(changes[r]) for r in equal.values if r in changes),
        reason=verdict.reason,
    )


def settings_in(
    folder: Path, data: DatasetRuns, evidence: DatasetEvidence
) -> list[StrategyEvidence]:
    """Return the numbers of a cell at each of its learning rates."""
    names = {
        strategy.name
        for strategy in data.strategies
        for run in strategy.runs.values()
        if run.directory.parent == folder
    }
    return [strategy for strategy in evidence.strategies if strategy.name in names]


def best_of(settings: Sequence[StrategyEvidence]) -> StrategyEvidence:
    """Return the setting that is best on validation; survivors of many failures come last."""
    return min(settings, key=lambda s: (not s.is_reference, s.mean_monitor))


def _as_float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
