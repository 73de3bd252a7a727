"""The table of strategies, apart from how it is written: columns, numbers, and what is best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import (
    DatasetEvidence,
    StrategyEvidence,
    evidence_of,
)
from mtl_runner.results.selection import OVERALL, SINGLE_TASK, Selection, select
from mtl_runner.results.statistics.differences import metric_differences, relative_changes
from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.statistics.paired import LEVEL, holm, least_p, paired
from mtl_runner.results.statistics.ranks import (
    delta_to_single_task,
    deltas_of_replicates,
    mean_ranks,
)

MOST_DECIMALS = 8


@dataclass(frozen=True)
class Cell:
    """The mean of one strategy over its runs.

    Attributes:
        mean: The mean; NaN without one.
        low: The lower end of the 95 % interval; NaN for one run, and for what is no mean over runs.
        high: The upper end.
        deviation: The standard deviation over runs; NaN likewise.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    deviation: float = math.nan

    @classmethod
    def of(cls, values: Sequence[float]) -> Cell:
        """Return the cell of a value per run; those that are not finite are left out."""
        mean = interval(values)
        known = [value for value in values if math.isfinite(value)]
        deviation = statistics.stdev(known) if len(known) > 1 else math.nan
        return cls(mean.mean, mean.low, mean.high, deviation)

    @property
    def half(self) -> float:
        """Half of the 95 % interval; NaN without one."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Column:
    """One number of all strategies.

    Attributes:
        title: What stands above it.
        cells: One per strategy.
        task: Its task; empty for a number over all tasks.
        metric: Its metric, or the name of the number.
        higher_is_better: None where that is unknown.
    """

    title: str
    cells: tuple[Cell, ...]
    task: str = ""
    metric: str = ""
    higher_is_better: bool | None = False

    @property
    def decimals(self) -> int:
        """How many decimals tell the strategies apart: two digits of the median half interval.

        Without intervals there are four digits of the median number, and two of a rank.

        Example:
            >>> Column("loss", (Cell(0.91, 0.9074, 0.9126), Cell(1.0, 0.9, 1.1))).decimals
            3
        """
        halves = [c.half for c in self.cells if math.isfinite(c.half) and c.half > 0]
        means = [abs(c.mean) for c in self.cells if math.isfinite(c.mean) and c.mean]
        if self.metric in ("rank", "delta_m", "delta_m_task"):
            return 2 if self.metric == "rank" else 1
        if not (halves or means):
            return 0
        size = statistics.median(halves or means)
        return min(MOST_DECIMALS, max(0, (1 if halves else 3) - math.floor(math.log10(size))))

    @property
    def places(self) -> list[int]:
        """Per strategy 1 for the best number as it is printed, 2 for the second best, else 0.

        Where all are the same, or nobody knows whether more is better, none is the best.
        """
        sign = -1 if self.higher_is_better else 1
        printed = [sign * round(cell.mean, self.decimals) for cell in self.cells]
        order = sorted({value for value in printed if math.isfinite(value)})
        if len(order) < 2 or self.higher_is_better is None:
            return [0] * len(printed)
        return [1 + order.index(v) if v in order[:2] else 0 for v in printed]


@dataclass(frozen=True)
class StrategyTable:
    """The strategies of one data set and their numbers.

    Attributes:
        data: The data set.
        split: ``val`` or ``test``.
        at: The epoch, ``final`` or ``best``.
        strategies: The strategies, one per row.
        runs: Per strategy the number of finished runs, and of those that failed.
        columns: The numbers.
        notes: What was chosen or left out, a sentence each.
        evidence: The numbers of the data set on the split.
        sources: As :attr:`Shown.sources`.
    """

    data: str
    split: str
    at: str
    strategies: tuple[StrategyEvidence, ...]
    runs: tuple[tuple[int, int], ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    evidence: DatasetEvidence
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """The largest number of runs that any paired comparison of the table rests on."""
        return max((len(s.values) for s in self.strategies if s.role != SINGLE_TASK), default=0)

    def count(self, place: int) -> str:
        """Return the number of a strategy's finished runs in words: ``2 (1 failed)``.

        Of one that cannot run on this problem it says so; that is no failure.

        Args:
            place: The place of the strategy in the table.
        """
        finished, failed = self.runs[place]
        if not self.strategies[place].is_applicable:
            return f"{finished} (not applicable)"
        return f"{finished} ({failed} failed)" if failed else str(finished)

    @property
    def can_differ(self) -> bool:
        """Whether so many seeds can show a difference to equal weights at all (p < .05)."""
        return least_p(self.seeds) < LEVEL

    @property
    def reference(self) -> StrategyEvidence | None:
        """The equal weights that the strategies are compared with; None without one of them."""
        return _equal_of(self.evidence, self.strategies)

    def differing(self) -> dict[tuple[str, str], set[str]]:
        """Return ``{(task, metric): strategies that differ from equal weights}``.

        By the paired sign-flip test, with Holm's correction over the strategies of the table. The
        mean relative loss is ``("", "relative_loss")``.
        """
        reference = self.reference
        if reference is None:
            return {}
        judged = [s for s in self.strategies if s.role not in (SINGLE_TASK, "equal")]
        data = replace(self.evidence, strategies=(reference, *judged))
        columns = {(column.task, column.metric) for column in self.columns}
        differing: dict[tuple[str, str], set[str]] = {}
        for row in metric_differences(data, columns):
            if row.difference.p_holm < LEVEL:
                differing.setdefault((row.task, row.metric), set()).add(row.strategy)
        if ("", "relative_loss") in columns and data.has_relative_loss:
            changes = [paired(relative_changes(data, s, reference).values()) for s in judged]
            p_values = holm([change.p for change in changes])
            names = {s.name for s, p in zip(judged, p_values, strict=True) if p < LEVEL}
            differing["", "relative_loss"] = names
        return differing


def table_of(data: DatasetRuns, at: str, split: str, selection: Selection) -> StrategyTable:
    """Return the table of a data set.

    Args:
        data: The data set.
        at: ``final`` or ``best``.
        split: The split where the selection names none. A study that still tunes is shown on
            validation: test must choose nothing.
        selection: What is shown.
    """
    validation = evidence_of(data, at, "val")
    split = (selection.split or split) if data.has_final_runs else "val"
    evidence = validation if split == "val" else evidence_of(data, at, split)
    shown = select(data, validation, evidence, selection)
    names = {s.name: s for s in data.shown}
    runs = tuple(
        (len(names[s.name].finished), names[s.name].unfinished)
        if s.name in names
        else (len(s.values), 0)
        for s in shown.strategies
    )
    columns = _columns(data, evidence, shown.strategies, selection, at, split)
    return StrategyTable(
        data.name,
        split,
        at,
        shown.strategies,
        runs,
        tuple(columns),
        shown.notes,
        evidence,
        shown.sources,
    )


def _columns(
    data: DatasetRuns,
    evidence: DatasetEvidence,
    strategies: Sequence[StrategyEvidence],
    selection: Selection,
    at: str,
    split: str,
) -> list[Column]:
    columns = []
    for task, metric in selection.metric_columns(evidence):
        cells = tuple(Cell.of(s.metric(task, metric)) for s in strategies)
        columns.append(
            Column(f"{task} {metric}", cells, task, metric, _direction(evidence, task, metric))
        )
    if selection.shows("relative_loss"):
        columns += _monitor(data, evidence, strategies, columns, at if split == "val" else "")
    if selection.shows("rank"):
        columns.append(_ranks(evidence, strategies))
    if any(s.role == SINGLE_TASK and s.finished for s in data.shown):
        changes = [
            (delta_to_single_task(evidence, s), deltas_of_replicates(evidence, s))
            for s in strategies
        ]
        for place, name in enumerate(("delta_m", "delta_m_task")):
            if selection.shows(name):
                cells = tuple(
                    replace(Cell.of(of_replicates[place]), mean=change[place])
                    for change, of_replicates in changes
                )
                columns.append(Column(OVERALL[name], cells, metric=name))
    return columns


def _ranks(evidence: DatasetEvidence, strategies: Sequence[StrategyEvidence]) -> Column:
    """Return the column of the ranks over the main metrics of all tasks, shown or not."""
    ranked = [
        (bool(direction), [Cell.of(s.metric(task, metric)).mean for s in strategies])
        for task in evidence.tasks
        for metric in [evidence.main_metric(task)]
        if (direction := _direction(evidence, task, metric)) is not None
    ]
    ranks = mean_ranks(ranked) or [math.nan] * len(strategies)
    return Column(OVERALL["rank"], tuple(map(Cell, ranks)), metric="rank")


def _monitor(
    data: DatasetRuns,
    evidence: DatasetEvidence,
    strategies: Sequence[StrategyEvidence],
    columns: Sequence[Column],
    recorded_at: str,
) -> list[Column]:
    """Return the column of what judges the runs; none if it is there already.

    On validation it is the monitor as the runs recorded it. On test (then ``recorded_at`` is empty)
    it is the same metric of a task, else the mean relative loss; so it is on validation where runs
    have several monitors, which are not comparable.
    """
    names = {run.summary.monitor.name for s in data.shown for run in s.finished} or {""}
    monitor = next(iter(names)) if len(names) == 1 else ""
    pair = next(
        ((t, m) for t, of_task in evidence.recorded_metrics.items() for m in of_task
         if monitor == f"{t}.{m}"),
        None,
    )  # fmt: skip
    if pair in [(column.task, column.metric) for column in columns]:
        return []
    if pair is not None:
        cells = tuple(Cell.of(s.metric(*pair)) for s in strategies)
        direction = _direction(evidence, *pair)
        return [Column(" ".join(pair), cells, *pair, higher_is_better=direction)]
    runs = {s.name: s.finished for s in data.shown}
    recorded_at = recorded_at if monitor else ""
    cells = tuple(
        Cell.of(
            [run.summary.monitor.at(recorded_at) for run in runs[s.name]]
            if recorded_at and s.name in runs
            else list(s.relative_loss.values())
        )
        for s in strategies
    )
    title = monitor if recorded_at else OVERALL["relative_loss"]
    return [Column(title, cells, metric="relative_loss")]


def _direction(evidence: DatasetEvidence, task: str, metric: str) -> bool | None:
    """Return whether a higher value is better; None where nobody knows."""
    if metric in ("loss", "relative_loss"):
        return False
    return evidence.tasks[task].directions.get(metric)


def _equal_of(
    evidence: DatasetEvidence, strategies: Sequence[StrategyEvidence]
) -> StrategyEvidence | None:
    """Return the equal weights of a table; those of the data set if there is one, and none here."""
    shown = [s for s in strategies if s.role == "equal"] or evidence.of_role("equal")
    return shown[0] if len(shown) == 1 and shown[0].values else None
