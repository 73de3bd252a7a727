"""How much the choice of the learning-rate grid moves a strategy's result, beside how much the seed does."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.results.evidence import StrategyEvidence

TOLERANCE = (
    0.02  # in steps of the grid: how far a learning rate may lie from it and still count as on it
)


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
    return Spread(
        _deviation([min(grid) for grid in sub_grids(strategy.tuning, strategy.grid)]),
        _deviation(seeds),
    )


def sub_grids(tuning: dict[float, float], grid: Sequence[float] = ()) -> list[list[float]]:
    """The monitors of a learning-rate grid as sub-grids of one point per decade; none if it is too sparse or too short.

    Args:
        tuning: ``{learning rate: monitor}``. Rates between those of the regular grid, which a study tries near the best one, are
            left out: only the best region has them.
        grid: the rates that the study began with; without them the regular grid is taken to begin at the smallest rate.
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
    grids = [
        [value for k, value in places.items() if (k - min(places)) % per_decade == first]
        for first in range(per_decade)
    ]
    return [found for found in grids if found]


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
