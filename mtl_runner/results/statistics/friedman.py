"""Ranks of strategies over data sets: Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.results.statistics.paired import LEVEL
from mtl_runner.results.statistics.ranks import mean_ranks

FEWEST_STRATEGIES = 3  # two are compared by a test of pairs


@dataclass(frozen=True)
class Friedman:
    """Whether the ranks of strategies over data sets differ by more than chance.

    Attributes:
        ranks: The mean rank of each strategy; 1 is best, ties share.
        p: The p-value of Friedman's test that all strategies are alike.
        critical_difference: How far the mean ranks of two strategies have to lie apart to differ at
            the level of 5 %, whichever of all pairs is looked at (Nemenyi's test).
        datasets: The number of data sets.
    """

    ranks: tuple[float, ...]
    p: float
    critical_difference: float
    datasets: int


def friedman(losses: Sequence[Sequence[float]]) -> Friedman:
    """Rank strategies on every data set and test whether the ranks differ.

    Friedman's chi-squared test (:func:`scipy.stats.friedmanchisquare`), then the critical
    difference of Nemenyi, as Demšar, JMLR 7, 2006, https://www.jmlr.org/papers/v7/demsar06a.html,
    recommends for several methods on several data sets.

    Args:
        losses: A row per data set with a number per strategy, lower is better; infinite for a
            strategy that failed there, which comes last. At least three strategies.

    Example:
        >>> result = friedman([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [10.0, 30.0, 20.0]])
        >>> [round(rank, 3) for rank in result.ranks], round(result.p, 3)
        ([1.0, 2.333, 2.667], 0.097)
    """
    from scipy.stats import friedmanchisquare

    # Ranks leave infinite numbers out; a number beyond all others comes last just as well.
    rows = [_finite(row) for row in losses]
    ranks = mean_ranks([(False, row) for row in rows])
    p = math.nan
    if len(ranks) >= FEWEST_STRATEGIES:
        same = all(min(row) == max(row) for row in rows)
        p = 1.0 if same else float(friedmanchisquare(*zip(*rows, strict=True)).pvalue)
    return Friedman(tuple(ranks), p, critical_difference(len(ranks), len(rows)), len(rows))


def critical_difference(strategies: int, datasets: int, level: float = LEVEL) -> float:
    r"""Return how far mean ranks have to lie apart to differ, by Nemenyi's test.

    .. math:: CD = q_\alpha \sqrt{\frac{k (k + 1)}{6 N}}

    with k strategies, N data sets, and :math:`q_\alpha` the quantile of the studentized range of k
    means divided by :math:`\sqrt 2` (Demšar 2006, table 5).

    Args:
        strategies: The number of strategies.
        datasets: The number of data sets.
        level: The level of the test, for all pairs together.

    Example:
        >>> round(critical_difference(4, 14), 2)
        1.25
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - level, strategies, math.inf)) / math.sqrt(2)
    return q * math.sqrt(strategies * (strategies + 1) / (6 * datasets))


def _finite(row: Sequence[float]) -> list[float]:
    """Return a row in which what is not finite lies above all else."""
    worst = max((value for value in row if math.isfinite(value)), default=0.0)
    return [value if math.isfinite(value) else math.nextafter(worst, math.inf) for value in row]
