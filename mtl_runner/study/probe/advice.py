"""Which strategies to try first: what was best in the short runs, and in studies like this one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_runner.results.text import printable
from mtl_runner.study.probe.features import best_monitor, features, gain
from mtl_runner.study.probe.measurement import ShortRuns
from mtl_runner.study.probe.model import Study, Trained

MARGIN = 0.02  # of the studies: a smaller relative difference is of no interest
# How many studies count as like this one.
NEAREST = 10
# What a probe can name; fixed weights by how they were chosen.
SCALED, LEANING = "fixed 1/trivial", "fixed"
STRATEGIES = ("uncertainty", "famo", SCALED, LEANING, "single_task")


@dataclass(frozen=True)
class Advice:
    """A strategy to try.

    Attributes:
        strategy: Its name; of fixed weights with the weights.
        short: The log ratio of equal weights' monitor to its own, in the short runs.
        score: What strategies are ordered by.
        helped: In how many of these it was better by more than the margin.
        of: The number of these studies.
    """

    strategy: str
    short: float
    score: float
    helped: int
    of: int

    @property
    def words(self) -> str:
        """The strategy and why, in a few words."""
        near = f"; better by more than 2 % in {self.helped} of {self.of} studies like this one"
        return f"{printable(self.strategy)} ({percent(self.short)} in the short runs{near if self.of else ''})"


def advise(measurement: ShortRuns, model: Trained, count: int = 3) -> list[Advice]:
    """Return the strategies to try first, the best one first.

    Args:
        measurement: What the short runs measured.
        model: What was fitted.
        count: How many.
    """
    near = nearest(model.standardised(features(measurement)), model.studies)
    advice = []
    for strategy in STRATEGIES:
        name = name_of(measurement, strategy)
        if name is None:
            continue
        known = [study.gains[strategy] for study in near if strategy in study.gains]
        helped = sum(value > -math.log(1 - MARGIN) for value in known)
        short = gain(measurement, name)
        advice.append(Advice(name, short, score(short, known), helped, len(known)))
    return sorted(advice, key=lambda strategy: -strategy.score)[:count]


def score(short: float, studies: Sequence[float]) -> float:
    """Return what strategies are ordered by: the mean of both gains.

    Args:
        short: The gain in the short runs.
        studies: The gains in the nearest studies.

    Example:
        >>> score(0.1, [0.0, 0.1])
        0.07500000000000001
    """
    return statistics.fmean([short, statistics.fmean(studies)]) if studies else short / 2


def nearest(standardised: Mapping[str, float], studies: Sequence[Study]) -> list[Study]:
    """Return the studies whose features are nearest.

    Args:
        standardised: The standardised features of the problem.
        studies: All studies.
    """

    def distance(study: Study) -> float:
        return math.dist(list(standardised.values()), [study.standardised[n] for n in standardised])

    return sorted(studies, key=distance)[:NEAREST]


def name_of(measurement: ShortRuns, strategy: str) -> str | None:
    """Return the name under which the short runs have a strategy; None if they lack it.

    Args:
        measurement: What the short runs measured.
        strategy: One of :data:`STRATEGIES`.
    """
    if strategy not in (SCALED, LEANING):
        return strategy if strategy in measurement.monitors else None
    names = [
        name
        for name in measurement.monitors
        if name.startswith("fixed ") and name.startswith(SCALED) == (strategy == SCALED)
    ]
    return min(names, key=lambda name: best_monitor(measurement, name), default=None)


def percent(log_ratio: float) -> str:
    """Return a gain in words.

    Args:
        log_ratio: The log ratio of equal weights' loss to that of a strategy.

    Example:
        >>> percent(0.05), percent(-0.05), percent(0.0001)
        ('4.9 % better', '5.1 % worse', 'no better')
    """
    change = 100 * math.expm1(-log_ratio)
    if abs(change) < 0.05:
        return "no better"
    return f"{abs(change):.1f} % {'better' if change < 0 else 'worse'}"
