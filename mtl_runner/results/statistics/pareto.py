"""Pareto fronts of strategies, how sure they are over seeds, and the volume they dominate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence, Values

RESAMPLES = 2000
CLOUD = 200  # resampled means per strategy that a picture shows
FIXED_ROLES = ("fixed", "equal")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Volume:
    """A hypervolume of means over seeds.

    Attributes:
        value: The hypervolume.
        low: Its 2.5 % quantile over resampled seeds; NaN for one seed.
        high: Its 97.5 % quantile.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Front:
    """The plane of two tasks, where lower is better on both axes.

    Attributes:
        tasks: The two tasks.
        metric: ``relative_loss`` whenever all runs have it, else ``loss``.
        reference: The corner of the hypervolumes. For relative losses (1, 1), the trivial
            predictor, so that volumes of different studies compare; for losses a tenth of the
            spread beyond the worst mean of each task.
        means: ``{strategy: mean over seeds}``.
        clouds: ``{strategy: means of resampled seeds}``; empty for one seed.
        front: The strategies that no other one dominates, in order of the first task.
        fixed_front: The same among the fixed weights, equal ones included.
        volume: The hypervolume of all strategies.
        fixed_volume: The hypervolume of the fixed weights.
    """

    tasks: tuple[str, str]
    metric: str
    reference: tuple[float, float]
    means: dict[str, tuple[float, float]]
    clouds: dict[str, list[tuple[float, float]]]
    front: list[str]
    fixed_front: list[str]
    volume: Volume
    fixed_volume: Volume


def nondominated(points: Array) -> NDArray[np.bool_]:
    """Return which points no other point dominates; lower is better.

    A point dominates another one if it is as good in every task and better in one.

    Args:
        points: The points, ``[N, T]``.

    Example:
        >>> nondominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])).tolist()
        [True, True, False]
    """
    points = np.asarray(points, dtype=float)
    as_good = (points[:, None] <= points[None]).all(-1)
    better = (points[:, None] < points[None]).any(-1)
    dominated = (as_good & better).any(0)
    return np.asarray(np.isfinite(points).all(-1) & ~dominated)


def hypervolume(points: Array, reference: Sequence[float]) -> float:
    """Return the area that at least one point dominates, up to a reference; lower is better.

    Zitzler & Thiele, PPSN 1998.

    Args:
        points: The points, ``[N, 2]``.
        reference: The corner that bounds the area.

    Example:
        >>> hypervolume(np.array([[0.5, 0.5]]), (1.0, 1.0))
        0.25
    """
    points = np.asarray(points, dtype=float).reshape(-1, 2)
    points = points[np.isfinite(points).all(1) & (points < np.asarray(reference)).all(1)]
    if not len(points):
        return 0.0
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(points[:, 1])
    widths = np.append(points[1:, 0], reference[0]) - points[:, 0]
    return float((widths * (reference[1] - lowest)).sum())


def front(data: DatasetEvidence, resamples: int = RESAMPLES, seed: int = 0) -> Front | None:
    """Return the front of a data set with two tasks.

    Args:
        data: The data set.
        resamples: How often seeds are drawn with replacement.
        seed: The seed of these draws.

    Returns:
        The front; None for another number of tasks, or without a strategy to show.
    """
    strategies = [s for s in data.of_role("strategy", "fixed", "equal", "twin") if s.values]
    if len(data.tasks) != 2 or not strategies:
        return None
    metric, values = (
        "relative_loss",
        _values(data, strategies, [(task, "relative_loss") for task in data.tasks]),
    )
    if np.isnan(values).all(1).any():
        metric, values = "loss", _values(data, strategies, [(task, "loss") for task in data.tasks])
    means = _means(values, np.ones((1, values.shape[1])))[:, 0]
    if metric == "relative_loss":
        reference = (1.0, 1.0)
    else:
        worst, best = np.nanmax(means, axis=0), np.nanmin(means, axis=0)
        reference = tuple(
            (worst + 0.1 * np.where(worst > best, worst - best, np.abs(worst) + 1)).tolist()
        )
    drawn = (
        _means(values, _draws(values.shape[1], resamples, seed))
        if values.shape[1] > 1
        else np.empty((len(means), 0, 2))
    )
    fixed = np.array([s.role in FIXED_ROLES for s in strategies])
    names = [s.name for s in strategies]
    return Front(
        tasks=tuple(data.tasks),  # type: ignore[arg-type]  # two, as asked above
        metric=metric,
        reference=reference,
        means=dict(zip(names, map(_pair, means), strict=True)),
        clouds={
            name: [_pair(p) for p in cloud[:CLOUD] if np.isfinite(p).all()]
            for name, cloud in zip(names, drawn, strict=True)
        },
        front=_names(names, means),
        fixed_front=_names(
            [name for name, is_fixed in zip(names, fixed, strict=True) if is_fixed], means[fixed]
        ),
        volume=_volume(means, drawn, reference),
        fixed_volume=_volume(means[fixed], drawn[fixed], reference),
    )


def _values(
    data: DatasetEvidence,
    strategies: Sequence[StrategyEvidence],
    metrics: Sequence[tuple[str, str]],
    seeds: Sequence[str] = (),
) -> Array:
    """Return ``[strategies, seeds, tasks]``, lower is better, NaN without a run of the seed."""
    seeds = seeds or list(dict.fromkeys(replicate for s in strategies for replicate in s.values))
    no_run: Values = {}
    signed = [
        (task, metric, -1 if data.tasks[task].higher_is_better(metric) else 1)
        for task, metric in metrics
    ]
    return np.array(
        [
            [
                [
                    sign * s.values.get(r, no_run).get(t, {}).get(m, math.nan)
                    for t, m, sign in signed
                ]
                for r in seeds
            ]
            for s in strategies
        ]
    )


@lru_cache(maxsize=8)
def _draws(seeds: int, resamples: int, seed: int) -> Array:
    """Return how often each seed is drawn in each resample, ``[resamples, seeds]``."""
    return (
        np.random.default_rng(seed)
        .multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
        .astype(float)
    )


def _means(values: Array, counts: Array) -> Array:
    """Return means over the drawn seeds that a strategy has, ``[strategies, resamples, tasks]``."""
    known = np.asarray(np.isfinite(values).all(-1))
    sums = counts @ np.where(known[..., None], values, 0.0)
    weight = (counts @ known.T.astype(float)).T[..., None]
    means: Array = np.divide(sums, weight, out=np.full_like(sums, np.nan), where=weight > 0)
    return means


def _names(names: Sequence[str], means: Array) -> list[str]:
    on = [
        (point[0], name)
        for name, point, keep in zip(names, means.tolist(), nondominated(means), strict=True)
        if keep
    ]
    return [name for _, name in sorted(on)]


def _volume(means: Array, drawn: Array, reference: tuple[float, float]) -> Volume:
    value = hypervolume(means, reference)
    if not drawn.size:
        return Volume(value, math.nan, math.nan)
    low, high = np.quantile(
        [hypervolume(drawn[:, i], reference) for i in range(drawn.shape[1])], [0.025, 0.975]
    )
    return Volume(value, float(low), float(high))


def _pair(point: Any) -> tuple[float, float]:
    return float(point[0]), float(point[1])
