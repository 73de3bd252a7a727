"""Failed runs of two strategies: the seeds that only one of them finished, and a sign test."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtl_runner.results.records.evidence import StrategyEvidence


@dataclass(frozen=True)
class Failures:
    """The failed runs of a reference, and the seeds that only one of the two finished.

    Attributes:
        failed: The number of failed runs of the reference.
        runs: The number of its runs that finished or failed.
        reliable: Whether enough of its runs finished, so that losses are not compared with those of
            its survivors.
        lost: The number of seeds that the reference finished and the strategy failed.
        won: The number of seeds that the strategy finished and the reference failed.
    """

    failed: int = 0
    runs: int = 0
    reliable: bool = True
    lost: int = 0
    won: int = 0

    @property
    def p(self) -> float:
        """The one-sided p-value of the sign test that the strategy fails more often."""
        return sign_test(self.lost, self.won)


def failures(strategy: StrategyEvidence, reference: StrategyEvidence | None) -> Failures:
    """Return the failures of a reference beside those of a strategy.

    A run that was killed or still runs is no failure.
    """
    if reference is None:
        return Failures()
    return Failures(
        failed=len(reference.failures),
        runs=len(reference.values) + len(reference.failures),
        reliable=reference.is_reference,
        lost=sum(replicate in reference.values for replicate in strategy.failures),
        won=sum(replicate in strategy.values for replicate in reference.failures),
    )


def sign_test(lost: int, won: int) -> float:
    """Return how probable so many losses are among fair coin throws, or more: one-sided.

    Example:
        >>> sign_test(5, 0)
        0.03125
        >>> sign_test(0, 0)
        1.0
    """
    throws = lost + won
    return sum(math.comb(throws, k) for k in range(lost, throws + 1)) / 2.0**throws
