"""A method over all problems: its changes, ranks, verdicts and cost."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from entries import REFERENCE
from judging import FAILED, Row

from mtl_runner.results.statistics.interquartile import interquartile
from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.verdict.verdict import FEWEST, NOT_APPLICABLE

UNKNOWN = (math.nan, math.nan)


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


def _goodness(standing: Standing) -> tuple[bool, float, float]:
    mean, rank = standing.change[0], standing.rank[0]
    return math.isnan(mean), mean, rank
