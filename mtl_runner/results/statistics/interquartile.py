"""Interquartile means over data sets and seeds, with stratified bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
TRIMMED = 0.25  # of the values at either end


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

    Example:
        >>> round(interquartile([[0.1, 0.1], [0.1, 5.0]])[0], 6)
        0.1
    """
    with np.errstate(divide="ignore"):  # a loss of 0 is a change of -1, infinitely better
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
    """Return the mean of the middle half of each row, as :func:`scipy.stats.trim_mean` does.

    Args:
        values: The values ``[rows, columns]``.

    Example:
        >>> trimmed_means(np.array([[0.0, 1.0, 3.0, 90.0]]))
        array([2.])
    """
    cut = int(TRIMMED * values.shape[1])
    middle = np.sort(values, axis=1)[:, cut : values.shape[1] - cut]
    means: NDArray[np.float64] = middle.mean(axis=1)
    return means
