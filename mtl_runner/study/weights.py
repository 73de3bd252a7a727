"""The fixed weights of a study, which a strategy has to beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mtl_runner.study.plan import Candidate, fixed_overrides

# The smallest share of a task in a sweep over two.
SMALLEST_SHARE = 0.01
# The largest factor by which a point of more tasks moves a weight from its middle, up and down.
WIDEST = 10.0
# Points for every task beyond the first, where there are more than two.
POINTS_PER_TASK = 4


def shares(tasks: int, count: int) -> list[list[float]]:
    """Return weights that add up to one and cover their combinations.

    Two tasks get evenly spaced weights, with 0.01 and 0.99 at the ends and without equal weights,
    which are a candidate by themselves. More tasks get points of a Sobol sequence on the logarithms
    of the weights, each from a tenth to ten times its middle: four per task beyond the first, and
    at most ``count``. Even points on the simplex would nearly all give some task next to nothing.
    More points than that do not cover many tasks either; a search does better.

    Args:
        tasks: The number of tasks.
        count: The largest number of points; for two tasks including the equal weights that are left
            out. The points of a smaller number are the first ones of a larger number.

    Returns:
        A list of weights per point.

    Raises:
        ValueError: For fewer than two tasks.

    Example:
        >>> shares(2, 5)
        [[0.01, 0.99], [0.25, 0.75], [0.75, 0.25], [0.99, 0.010000000000000009]]
        >>> len(shares(3, 11)), len(shares(4, 11))
        (8, 11)
    """
    if tasks < 2:
        raise ValueError("there is nothing to weigh in a single task")
    if tasks == 2:
        inner = [i / (count - 1) for i in range(1, count - 1)] if count > 2 else []
        first = (SMALLEST_SHARE, *inner, 1 - SMALLEST_SHARE)
        return [[share, 1 - share] for share in first if abs(share - 0.5) > 1e-9]
    from scipy.stats import qmc

    count = min(count, POINTS_PER_TASK * (tasks - 1))
    # A whole power of two, without which the sequence warns; scrambled, so that none is the middle.
    points = qmc.Sobol(tasks, seed=0).random_base2(math.ceil(math.log2(max(count, 2))))[:count]
    factors = [[WIDEST ** (2 * float(u) - 1) for u in point] for point in points]
    return [[factor / sum(row) for factor in row] for row in factors]


def fixed_candidates(
    tasks: Sequence[str],
    trivial: Mapping[str, float | None],
    count: int,
    norms: Mapping[str, float] | None = None,
) -> list[Candidate]:
    """Return the fixed weightings of a study, all with weights of mean 1.

    They are the points of :func:`shares`, taken of the losses divided by the trivial predictor's
    losses: in raw units a sweep over losses that differ by a thousand would hardly leave the
    largest one. Then come the weights that make the trivial predictor's losses equal, and those
    that make the norms of the tasks' gradients equal.

    Args:
        tasks: The names of the tasks.
        trivial: The loss of the trivial predictor per task, None where there is none; unless all
            are known, the shares are of the raw losses and its weights are missing.
        count: The largest number of points.
        norms: The norm of every task's gradient; without them their weights are missing.

    Example:
        >>> trivial, norms = {"depth": 4.0, "label": 1.0}, {"depth": 3.0, "label": 1.0}
        >>> candidates = fixed_candidates(["depth", "label"], trivial, 3, norms)
        >>> [candidate.name for candidate in candidates][-2:]
        ['fixed 1/trivial depth=0.4 label=1.6', 'fixed 1/norm depth=0.5 label=1.5']
    """
    if len(tasks) < 2:
        return []
    return candidates_at(tasks, trivial, shares(len(tasks), count), norms)


def candidates_at(
    tasks: Sequence[str],
    trivial: Mapping[str, float | None],
    points: Sequence[Sequence[float]],
    norms: Mapping[str, float] | None = None,
) -> list[Candidate]:
    """Return fixed weightings at some points, and those that make losses or gradients equal.

    Args:
        tasks: The names of the tasks.
        trivial: The loss of the trivial predictor per task, None where there is none; unless all
            are known, the points are shares of the raw losses and their weights are missing.
        points: A share per task at each point.
        norms: The norm of every task's gradient; without them their weights are missing.

    Example:
        >>> trivial = {"depth": 4.0, "label": 1.0}
        >>> [c.name for c in candidates_at(["depth", "label"], trivial, [[0.8, 0.2]])]
        ['fixed depth=1 label=1', 'fixed 1/trivial depth=0.4 label=1.6']
    """
    known = {task: loss for task in tasks if (loss := trivial.get(task))}
    scales = [known[task] for task in tasks] if len(known) == len(tasks) else [1.0] * len(tasks)
    raw = [
        ("fixed", [share / scale for share, scale in zip(point, scales, strict=True)])
        for point in points
    ]
    if len(known) == len(tasks):
        raw.append(("fixed 1/trivial", [1 / scale for scale in scales]))
    if norms:
        raw.append(("fixed 1/norm", [1 / norms[task] for task in tasks]))
    return [
        fixed_candidate(
            label,
            {task: len(tasks) * w / sum(weights) for task, w in zip(tasks, weights, strict=True)},
        )
        for label, weights in raw
    ]


def fixed_candidate(label: str, weights: Mapping[str, float]) -> Candidate:
    """Return fixed weights as a candidate, whose name says them.

    Args:
        label: What the name begins with.
        weights: The weight per task.

    Example:
        >>> fixed_candidate("fixed", {"depth": 0.4, "label": 1.6}).name
        'fixed depth=0.4 label=1.6'
    """
    text = " ".join(f"{task}={weight:.3g}" for task, weight in weights.items())
    return Candidate(f"{label} {text}", "fixed", fixed_overrides(weights))
