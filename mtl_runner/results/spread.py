"""How much the choice of the learning-rate grid moves a strategy's result, beside how much the seed does."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass

from mtl_runner.results.evidence import StrategyEvidence


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the monitor at its best epoch: over sparse sub-grids of the learning rate, and over seeds."""

    grids: float
    seeds: float


def spread(strategy: StrategyEvidence) -> Spread:
    """Both spreads of a strategy, NaN where there is too little to tell.

    A study tries several learning rates per decade; published comparisons often try one. The sub-grids are those that someone
    with one point per decade could have tried, each with its own first point, and each gives its best run (Elich et al. 2024
    found that this moved results more than seeds do).
    """
    seeds = [value for value in strategy.best_monitor.values() if math.isfinite(value)]
    return Spread(_deviation([min(grid) for grid in sub_grids(strategy.tuning)]), _deviation(seeds))


def sub_grids(tuning: dict[float, float]) -> list[list[float]]:
    """The monitors of a learning-rate grid as sub-grids of one point per decade; none if it is too sparse or too short."""
    rates = sorted(rate for rate in tuning if rate > 0)
    if len(rates) < 2:
        return []
    step = statistics.median(math.log10(b / a) for a, b in itertools.pairwise(rates))
    per_decade = round(1 / step)
    if per_decade < 2 or len(rates) < 2 * per_decade:
        return []
    return [[tuning[rate] for rate in rates[first::per_decade]] for first in range(per_decade)]


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
