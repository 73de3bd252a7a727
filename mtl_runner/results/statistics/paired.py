"""Paired differences of few seeds: mean and interval, a sign-flip test, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mtl_runner.results.statistics.intervals import interval

LEVEL = 0.05
EXACT = 16  # up to this number of pairs all 2^n sign patterns are enumerated
SAMPLED = 9999  # with more pairs, this number of random patterns is drawn (scipy's default)
TIE = 1e-12  # of the largest difference: patterns that tie with the observed one round differently


@dataclass(frozen=True)
class Paired:
    """Paired differences of two strategies.

    Attributes:
        mean: The mean difference.
        low: The lower end of its 95 % t-interval; NaN for one pair.
        high: The upper end.
        count: The number of pairs.
        p: The two-sided p-value of the sign-flip test.
        p_holm: The same after Holm's correction; NaN before it is known.
        low90: The lower end of its 90 % t-interval, whose ends are those of two one-sided tests at
            5 %; NaN for one pair.
        high90: The upper end.
    """

    mean: float
    low: float
    high: float
    count: int
    p: float
    p_holm: float = math.nan
    low90: float = math.nan
    high90: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval: two pairs at least."""
        return math.isfinite(self.low)


def paired(differences: Iterable[float], tested: bool = True) -> Paired:
    """Return the statistics of differences between runs with the same seeds.

    Args:
        differences: The differences; those that are not finite are left out.
        tested: Whether to make the sign-flip test, too; its p-value is NaN else.
    """
    known = [value for value in differences if math.isfinite(value)]
    mean, narrow = interval(known), interval(known, 0.9)
    return Paired(
        mean.mean,
        mean.low,
        mean.high,
        mean.count,
        sign_flip(known) if tested else math.nan,
        low90=narrow.low,
        high90=narrow.high,
    )


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p-value of a mean of paired differences under random signs.

    Fisher's randomisation test, by :func:`scipy.stats.permutation_test`: if two strategies do not
    differ, each difference is as likely as its negative. Up to ``EXACT`` pairs all sign patterns
    are enumerated; beyond, ``SAMPLED`` random ones are drawn. The patterns of a number of pairs are
    kept, so that a test costs one product of a matrix with the differences.

    Args:
        differences: The differences, one per seed.
        seed: The seed of the random patterns.

    Returns:
        The p-value; NaN without a pair.

    Example:
        >>> sign_flip([0.1, 0.2, 0.3, 0.4, 0.5])
        0.0625
    """
    return _sign_flip(tuple(differences), seed)


@lru_cache(maxsize=4096)
def _sign_flip(differences: tuple[float, ...], seed: int) -> float:
    given = np.asarray(differences, dtype=float)
    scale = np.abs(given).max() if len(given) else math.nan
    if not len(given) or scale == 0:
        return math.nan if not len(given) else 1.0
    values: NDArray[np.float64] = given / scale
    observed = values.sum()
    tie = len(values) * TIE
    if len(values) <= EXACT:
        extreme = np.abs(_all_patterns(len(values)) @ values) >= abs(observed) - tie
        return float(extreme.mean())
    sums = _random_patterns(len(values), seed) @ values
    tails = (sums >= observed - tie).sum(), (sums <= observed + tie).sum()
    # The observed pattern is one more of them, so that no sample of patterns gives 0.
    return min(1.0, 2 * (int(min(tails)) + 1) / (len(sums) + 1))


@lru_cache(maxsize=EXACT)
def _all_patterns(count: int) -> NDArray[np.float64]:
    """Return all patterns of signs whose first is positive, ``[2^(count - 1), count]``.

    The others are their negatives, whose sums are as far from 0.
    """
    numbers = np.arange(2 ** (count - 1))[:, None]
    bits = (numbers >> np.arange(count)[None] & 1)[:, ::-1]
    return np.where(bits, -1.0, 1.0)


@lru_cache(maxsize=8)
def _random_patterns(count: int, seed: int) -> NDArray[np.float64]:
    """Return the random patterns of signs that scipy's test draws, ``[SAMPLED, count]``."""
    from scipy.stats import permutation_test

    drawn: list[NDArray[np.float64]] = []

    def record(signs: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        if signs.ndim == 2:  # the first call is about the observed signs alone
            drawn.append(signs)
        sums: NDArray[np.float64] = signs.sum(axis=axis)
        return sums

    permutation_test(
        (np.ones(count),),
        record,
        permutation_type="samples",
        vectorized=True,
        n_resamples=SAMPLED,
        batch=2**12,
        random_state=np.random.default_rng(seed),
    )
    return np.concatenate(drawn)


def least_p(count: int) -> float:
    """Return the smallest two-sided p-value that a number of pairs can reach: 2 of 2^n patterns."""
    return 2.0 ** (1 - count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values in the given order; NaN is no hypothesis.

    Holm, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted(
        (i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i]
    )
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
