"""Means with t-intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; with one value the ends are NaN."""

    mean: float
    low: float
    high: float
    count: int


def interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Return Student's t interval of the mean of independent values (seeds, folds).

    Args:
        values: The values; those that are not finite are left out.
        level: The share of such intervals that hold the true mean.

    Example:
        >>> result = interval([1.0, 2.0, 3.0])
        >>> round(result.mean, 3), round(result.low, 3), round(result.high, 3)
        (2.0, -0.484, 4.484)
    """
    known = [value for value in values if math.isfinite(value)]
    n = len(known)
    # An exact sum, so that every Python says the same; equal values have no spread at all.
    mean = math.fsum(known) / n if n else math.nan
    if n and min(known) == max(known):
        mean = known[0]
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    half = _t_quantile(n - 1, (1 + level) / 2) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def exceedance(values: Iterable[float], border: float) -> float:
    """Return the one-sided p-value of Student's t test that a mean lies above a border.

    It is at most .025 where the 95 % interval of :func:`interval` lies above the border.

    Args:
        values: Independent values; those that are not finite are left out.
        border: The border.

    Returns:
        The p-value; 1 with fewer than two values.

    Example:
        >>> round(exceedance([1.0, 2.0, 3.0], 0.0), 3)
        0.037
    """
    known = [value for value in values if math.isfinite(value)]
    n = len(known)
    if n < 2:
        return 1.0
    mean = sum(known) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / (n - 1))
    if deviation == 0:
        return 0.0 if mean > border else 1.0
    from scipy.special import stdtr  # a third of scipy.stats' import

    return float(stdtr(n - 1, -(mean - border) / deviation * math.sqrt(n)))


@cache
def _t_quantile(degrees_of_freedom: int, probability: float) -> float:
    """Return a quantile of Student's t; kept, as a report asks thousands of times for the same."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability))
