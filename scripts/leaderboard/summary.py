"""A method over all problems: its changes, ranks, verdicts and cost."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from entries import REFERENCE
from judging import FAILED, Row
from numpy.typing import NDArray

from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.verdict.verdict import FEWEST, NOT_APPLICABLE

UNKNOWN = (math.nan, math.nan)
RESAMPLES = 2000
TRIMMED = 0.25  # of the values at either end


@dataclass(frozen=True)
class Standing:
    """A method's row over all problems.

    Attributes:
        method: The method.
        problems: The number of problems that it was judged on.
        change: Interquartile mean of the changes over problems and seeds, with a 95 % interval over
            seeds; infinite where over a quarter of the runs failed.
        rank: Its mean rank over the problems, with a 95 % t-interval over the problems, which is
            NaN for fewer than three.
        verdicts: How often each verdict was given.
        cost: Median over problems of its processor time to equal weights'.
    """

    method: str
    problems: int
    change: tuple[float, float, float]
    rank: tuple[float, float, float]
    verdicts: Mapping[str, int] = field(default_factory=Counter)
    cost: float = math.nan


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Return a row per method, the best first by the interquartile mean of its changes.

    Methods of which cells are still to train come last: they had other problems than the others.

    Args:
        rows: A row per cell, equal weights' included.
    """
    ranks = ranks_of(rows)
    equal_cost = {row.problem: row.cpu_seconds for row in rows if row.method == REFERENCE}
    table = []
    for method in dict.fromkeys(row.method for row in rows):
        ours = [row for row in rows if row.method == method]
        judged = [row for row in ours if row.verdict != NOT_APPLICABLE]
        costs = [row.cpu_seconds / equal_cost.get(row.problem, math.nan) for row in judged]
        costs = [cost for cost in costs if math.isfinite(cost)]
        rank = interval(ranks[row.problem, method] for row in judged)
        table.append(
            Standing(
                method,
                len(judged),
                interquartile([row.by_seed for row in judged]),
                (
                    rank.mean,
                    *((max(rank.low, 1.0), rank.high) if rank.count >= FEWEST else UNKNOWN),
                ),
                Counter(row.verdict for row in ours),
                statistics.median(costs) if costs else math.nan,
            )
        )
    problems = len({row.problem for row in rows})
    return sorted(table, key=lambda s: (sum(s.verdicts.values()) < problems, *_goodness(s)))


def ranks_of(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Return ``{(problem, method): rank by the change}``; 1 is best, ties share, failed are last.

    Methods that are not applicable have no rank.
    """
    from scipy.stats import rankdata

    of_problem: dict[str, list[Row]] = {}
    for row in rows:
        if row.verdict != NOT_APPLICABLE:
            of_problem.setdefault(row.problem, []).append(row)
    return {
        (problem, row.method): float(rank)
        for problem, members in of_problem.items()
        for row, rank in zip(
            members,
            rankdata([math.inf if row.verdict == FAILED else row.change for row in members]),
            strict=True,
        )
    }


def interquartile(changes: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float, float]:
    """Return the interquartile mean of changes, with a 95 % interval by a stratified bootstrap.

    As Agarwal et al., NeurIPS 2021, https://arxiv.org/abs/2108.13264, do over runs and tasks: the
    mean of the middle half of all values; the seeds of each problem are drawn with replacement, so
    the interval is about other seeds, not about other problems. The mean is that of the logarithms,
    as in a verdict, turned back into a change.

    Args:
        changes: A sequence per problem, with a relative change per seed; infinite for a failed run.
        seed: The seed of the bootstrap.

    Returns:
        The mean and the ends of the interval; NaN without any change.
    """
    strata = [np.log1p(np.asarray(values, dtype=float)) for values in changes if len(values)]
    if not strata:
        return math.nan, math.nan, math.nan
    generator = np.random.default_rng(seed)
    drawn = [s[generator.integers(len(s), size=(RESAMPLES, len(s)))] for s in strata]
    means = trimmed_means(np.concatenate(drawn, axis=1))
    low, high = np.quantile(means, (0.025, 0.975), method="closest_observation")
    mean = trimmed_means(np.concatenate(strata)[None])[0]
    return float(np.expm1(mean)), float(np.expm1(low)), float(np.expm1(high))


def trimmed_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the middle half of each row, as :func:`scipy.stats.trim_mean` does."""
    cut = int(TRIMMED * values.shape[1])
    middle = np.sort(values, axis=1)[:, cut : values.shape[1] - cut]
    means: NDArray[np.float64] = middle.mean(axis=1)
    return means


def _goodness(standing: Standing) -> tuple[bool, float, float]:
    mean, rank = standing.change[0], standing.rank[0]
    return math.isnan(mean), mean, rank
