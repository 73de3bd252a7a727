"""The strategies whose curves the report draws at first."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mtl_runner.results.records.dataset import DatasetRuns, Strategy
from mtl_runner.results.statistics.intervals import interval

DRAWN = 8  # strategies that the curves show at first: as many as there are colours


def drawn_at_first(data: DatasetRuns, family_of: Mapping[str, str], at: str) -> set[str]:
    """Return the best of equal weights, and the best few of each family's best by the monitor."""
    best: dict[str, tuple[bool, float, str]] = {}
    for strategy in data.shown:
        entry = (strategy.role == "twin", mean_monitor(strategy, at), strategy.name)
        family = family_of[strategy.name]
        best[family] = min(best.get(family, entry), entry)
    equal = [(mean_monitor(s, at), s.name) for s in data.shown if s.role == "equal"]
    names = [
        *(name for _, name in sorted(equal)[:1]),
        *(name for *_, name in sorted(best.values())),
    ]
    return set(list(dict.fromkeys(names))[:DRAWN])


def mean_monitor(strategy: Strategy, at: str) -> float:
    """Return the mean monitor, infinite where there is none: what is sorted by it comes last."""
    mean = interval(run.summary.monitor.at(at) for run in strategy.finished).mean
    return mean if math.isfinite(mean) else math.inf
