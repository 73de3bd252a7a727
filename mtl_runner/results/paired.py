"""Paired differences of few seeds: their mean and interval, an exact sign-flip test, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl_runner.results.statistics import interval

LEVEL = 0.05
EXACT = 16  # up to so many pairs all 2^n sign patterns are enumerated
SAMPLED = 2**16  # beyond, so many random ones


@dataclass(frozen=True)
class Paired:
    """Mean of paired differences with its 95 % t-interval (ends NaN for one pair) and two-sided sign-flip p, raw and after Holm."""

    mean: float
    low: float
    high: float
    count: int
    p: float
    p_holm: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval: two pairs at least."""
        return math.isfinite(self.low)


def paired(differences: Sequence[float]) -> Paired:
    """What the differences of runs with the same seeds say; values that are not finite are left out."""
    known = [value for value in differences if math.isfinite(value)]
    found = interval(known)
    return Paired(found.mean, found.low, found.high, found.count, sign_flip(known))


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of the mean of paired differences under random signs (Fisher's randomisation test).

    If the two strategies do not differ, each difference is as likely as its negative. p is the share of the 2^n sign patterns whose
    sum is at least as far from 0 as the observed one; above ``EXACT`` pairs it is estimated from ``SAMPLED`` seeded patterns, the
    observed one counted among them. NaN without a pair.
    """
    values = np.asarray(differences, dtype=float)
    if not len(values):
        return math.nan
    scale = np.abs(values).max()
    if scale == 0:
        return 1.0
    values = values / scale
    observed = abs(values.sum()) - 1e-9 * len(
        values
    )  # patterns that tie with the observed one round differently
    if len(values) <= EXACT:
        sums = values[:1]  # the patterns come in pairs of opposite sums: the first sign may stay
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(SAMPLED, len(values)))
    return float((np.sum(np.abs(signs @ values) >= observed) + 1) / (SAMPLED + 1))


def least_p(count: int) -> float:
    """The smallest two-sided p that so many pairs can reach: 2 of the 2^n patterns."""
    return 2.0 ** (1 - count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the given order; NaN is no hypothesis."""
    adjusted = [math.nan] * len(p_values)
    order = sorted(
        (i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i]
    )
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
