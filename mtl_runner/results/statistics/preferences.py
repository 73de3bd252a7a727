"""The rank of a strategy for a user whose preference over the tasks is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DRAWS = 4096  # preferences that are drawn where there are more than two tasks


def preference_ranks(losses: Sequence[Sequence[float]], seed: int = 0) -> list[float]:
    r"""Return each strategy's expected rank under a random preference over the tasks.

    A preference is a point w of the simplex, drawn uniformly; it ranks strategies by
    :math:`\sum_t w_t L_t`. With two tasks the expectation is exact, with more it is a mean over
    ``DRAWS`` points that are the same for all.

    Args:
        losses: A row per strategy with its loss on every task, in units that compare, lower is
            better. A row with a number that is not finite is not ranked.
        seed: The seed of the preferences.

    Returns:
        A rank per strategy; 1 is best, ties share, NaN is not ranked.

    Example:
        >>> [float(round(rank, 3)) for rank in preference_ranks([[0.0, 3.0], [1.0, 0.0]])]
        [1.75, 1.25]
    """
    ranks = [math.nan] * len(losses)
    known = [i for i, row in enumerate(losses) if row and all(map(math.isfinite, row))]
    if not known:
        return ranks
    table = np.array([losses[i] for i in known], dtype=float)
    expected = _exact(table) if table.shape[1] == 2 else _drawn(table, seed)
    for i, rank in zip(known, expected, strict=True):
        ranks[i] = float(rank)
    return ranks


def _exact(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected ranks for two tasks: the lengths on which each pair is in an order.

    Strategy r is better than s where ``w a + (1 - w) b < 0``, with a and b the differences of their
    losses on both tasks: for all w, for none, or on one side of ``b / (b - a)``.
    """
    a, b = (losses[None, :, task] - losses[:, None, task] for task in (0, 1))  # [s, r]
    crosses = a * b < 0
    border = b / np.where(crosses, b - a, 1.0)
    # Where they cross, r is better above the border if it is better on the first task.
    share = np.where(a < 0, 1 - border, border)
    always = np.where(a + b < 0, 1.0, 0.0)
    better = np.where(crosses, share, always)
    np.copyto(better, 0.5, where=(a == 0) & (b == 0))
    np.fill_diagonal(better, 0.0)
    ranks: NDArray[np.float64] = 1 + better.sum(axis=1)
    return ranks


def _drawn(losses: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return mean ranks over preferences that are drawn uniformly from the simplex."""
    preferences = np.random.default_rng(seed).dirichlet(np.ones(losses.shape[1]), DRAWS)
    # As scipy's rankdata, whose import costs more than all else in a small comparison.
    ranks: NDArray[np.float64] = pd.DataFrame(preferences @ losses.T).rank(axis=1).to_numpy()
    means: NDArray[np.float64] = ranks.mean(axis=0)
    return means
