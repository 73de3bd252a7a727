"""Strategies over several data sets: ranks, Friedman's test and interquartile means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence
from mtl_runner.results.statistics.differences import relative_changes
from mtl_runner.results.statistics.friedman import FEWEST_STRATEGIES, Friedman, friedman
from mtl_runner.results.statistics.interquartile import interquartile

FEWEST_DATASETS = 3
EQUAL = "equal weights"


@dataclass(frozen=True)
class Standing:
    """One strategy over all data sets.

    Attributes:
        name: The strategy.
        rank: Its mean rank over the data sets; 1 is best.
        change: The interquartile mean of its relative changes against equal weights, over data sets
            and seeds; below 0 is better. Infinite where over a quarter of the runs failed.
        low: The lower end of its 95 % interval by a stratified bootstrap.
        high: The upper end.
    """

    name: str
    rank: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Across:
    """The strategies that all data sets have.

    Attributes:
        standings: One per strategy, by their mean ranks.
        test: Friedman's test and Nemenyi's critical difference.
    """

    standings: tuple[Standing, ...]
    test: Friedman


def across_datasets(datasets: Sequence[DatasetEvidence]) -> Across | None:
    """Compare the strategies that all data sets have, by their mean relative losses.

    A strategy of which too many runs failed on a data set comes last there; one that cannot run on
    some data set is left out, and so are fixed weights, which mean something else on each.

    Args:
        datasets: The data sets, whose equal weights were trained at one setting.

    Returns:
        The comparison; None with fewer than three data sets or strategies, or where a data set has
        no mean relative loss or no single equal weights.
    """
    if len(datasets) < FEWEST_DATASETS:
        return None
    tables = [_strategies(data) for data in datasets]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    if EQUAL not in names or len(names) < FEWEST_STRATEGIES:
        return None
    test = friedman([[_loss(table[name]) for name in names] for table in tables])
    standings = []
    for name, rank in zip(names, test.ranks, strict=True):
        changes = [
            _changes(data, table[name], table[EQUAL])
            for data, table in zip(datasets, tables, strict=True)
        ]
        standings.append(Standing(name, rank, *interquartile(changes)))
    return Across(tuple(sorted(standings, key=lambda s: s.rank)), test)


def _strategies(data: DatasetEvidence) -> dict[str, StrategyEvidence]:
    """Return the methods of a data set, and its equal weights by one name."""
    equal = data.of_role("equal")
    if not data.has_relative_loss or len(equal) != 1 or not equal[0].is_reference:
        return {}
    methods = [s for s in data.of_role("strategy") if s.is_applicable and (s.values or s.failures)]
    return {EQUAL: equal[0], **{s.name: s for s in methods}}


def _loss(strategy: StrategyEvidence) -> float:
    """Return the mean relative loss over tasks and seeds; infinite where too many runs failed."""
    if not strategy.is_reference:
        return math.inf
    return math.fsum(strategy.relative_loss.values()) / len(strategy.relative_loss)


def _changes(
    data: DatasetEvidence, strategy: StrategyEvidence, equal: StrategyEvidence
) -> list[float]:
    """Return the relative change with every seed of equal weights; infinite where it failed."""
    logs = relative_changes(data, strategy, equal)
    failed = [math.inf for replicate in strategy.failures if replicate in equal.values]
    # A strategy that a study gave up failed with all seeds.
    given_up = [math.inf] * len(equal.values) if strategy.trials else []
    return [*map(math.expm1, logs.values()), *(given_up or failed)]
