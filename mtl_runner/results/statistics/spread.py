"""How far the choice of a learning-rate grid moves a result, beside how far the seed moves it."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_runner.results.records.evidence import StrategyEvidence

# In steps of the grid: how far a learning rate may lie from it and still count as on it.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the monitor at its best epoch.

    Attributes:
        grids: Over the sparse sub-grids of the learning rate that one could have tried.
        seeds: Over seeds.
        level: The mean of the monitor over seeds, by which both are divided to be relative.
    """

    grids: float
    seeds: float
    level: float = math.nan


def spread(strategy: StrategyEvidence) -> Spread:
    """Return both spreads of a strategy, NaN where there is too little to tell.

    A study tries several learning rates per decade; published comparisons often try one. The
    sub-grids are those that someone with one rate per decade could have tried, each with its own
    first rate, and each gives its best run (Elich et al., 2024, report that this moved results more
    than seeds do).
    """
    seeds = [value for value in strategy.best_monitor.values() if math.isfinite(value)]
    grids = [min(grid) for grid in sub_grids(strategy.tuning, strategy.grid)]
    level = statistics.fmean(seeds) if seeds else math.nan
    return Spread(_deviation(grids), _deviation(seeds), level)


def median_spread(strategies: Sequence[StrategyEvidence]) -> tuple[Spread, int]:
    """Return the median of relative spreads over those strategies of which both are known.

    Args:
        strategies: The strategies.

    Returns:
        The spreads as fractions of the monitor, and the number of strategies; NaN and 0 without.
    """
    spreads = [
        s for s in map(spread, strategies) if math.isfinite(s.grids + s.seeds) and s.level > 0
    ]
    if not spreads:
        return Spread(math.nan, math.nan), 0
    grids = statistics.median(s.grids / s.level for s in spreads)
    return Spread(grids, statistics.median(s.seeds / s.level for s in spreads), 1.0), len(spreads)


def sub_grids(tuning: Mapping[float, float], grid: Sequence[float] = ()) -> list[list[float]]:
    """Split a learning-rate grid into sub-grids of one rate per decade.

    Args:
        tuning: ``{learning rate: monitor}``. Rates between those of the regular grid, which a study
            tries near the best one, are left out: only the best region has them.
        grid: The rates that the study began with; without them the regular grid is taken to begin
            at the smallest rate.

    Returns:
        The monitors of each sub-grid; nothing if the grid is too sparse or too short.

    Example:
        >>> sub_grids({1e-4: 4.0, 3.16e-4: 3.0, 1e-3: 2.0, 3.16e-3: 1.0})
        [[4.0, 2.0], [3.0, 1.0]]
    """
    rates = sorted(rate for rate in tuning if rate > 0)
    regular = sorted(rate for rate in grid if rate in tuning and rate > 0)
    regular = regular if len(regular) > 1 else rates
    if len(regular) < 2:
        return []
    step = statistics.median(math.log10(b / a) for a, b in itertools.pairwise(regular))
    steps = {rate: math.log10(rate / regular[0]) / step for rate in rates}
    places = {round(k): tuning[rate] for rate, k in steps.items() if abs(k - round(k)) < TOLERANCE}
    per_decade = round(1 / step)
    if per_decade < 2 or len(places) < 2 * per_decade:
        return []
    first_place = min(places)
    grids = [
        [value for place, value in places.items() if (place - first_place) % per_decade == offset]
        for offset in range(per_decade)
    ]
    return [values for values in grids if values]


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
