"""The fixed weights of a study, which a strategy has to beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mtl_runner.study.protocol import Candidate, fixed_overrides

# The smallest share of a task in a sweep over two.
SMALLEST_SHARE = 0.01


def shares(tasks: int, count: int) -> list[list[float]]:
    """Return weights that add up to one and cover all of their combinations.

    Two tasks get evenly spaced weights, with 0.01 and 0.99 at the ends and without equal weights,
    which are a candidate by themselves. More tasks get Sobol points, evenly over the simplex.

    Args:
        tasks: The number of tasks.
        count: The number of points; for two tasks including the equal weights that are left out.

    Returns:
        A list of weights per point.

    Raises:
        ValueError: For fewer than two tasks.

    Example:
        >>> shares(2, 5)
        [[0.01, 0.99], [0.25, 0.75], [0.75, 0.25], [0.99, 0.010000000000000009]]
    """
    if tasks < 2:
        raise ValueError("there is nothing to weigh in a single task")
    if tasks == 2:
        inner = [i / (count - 1) for i in range(1, count - 1)] if count > 2 else []
        first = (SMALLEST_SHARE, *inner, 1 - SMALLEST_SHARE)
        return [[share, 1 - share] for share in first if abs(share - 0.5) > 1e-9]
    from scipy.stats import qmc

    points = qmc.Sobol(tasks, seed=0).random_base2(math.ceil(math.log2(max(count, 2))))[:count]
    # Exponential variables over their sum are even over the simplex (Dirichlet with ones).
    exponential = [[-math.log(max(1 - float(u), 1e-12)) + 1e-6 for u in point] for point in points]
    return [[value / sum(row) for value in row] for row in exponential]


def fixed_candidates(
    tasks: Sequence[str], trivial: Mapping[str, float | None], count: int
) -> list[Candidate]:
    """Return the fixed weightings of a study, all with weights of mean 1.

    They are the points of :func:`shares`, taken of the losses divided by the trivial predictor's
    losses: in raw units a sweep over losses that differ by a thousand would hardly leave the
    largest one. The last candidate makes the trivial predictor's losses equal.

    Args:
        tasks: The names of the tasks.
        trivial: The loss of the trivial predictor per task, None where there is none; unless all
            are known, the shares are of the raw losses and the last candidate is missing.
        count: The number of points.

    Example:
        >>> candidates = fixed_candidates(["depth", "label"], {"depth": 4.0, "label": 1.0}, 3)
        >>> [candidate.name for candidate in candidates][-1]
        'fixed 1/trivial depth=0.4 label=1.6'
    """
    if len(tasks) < 2:
        return []
    return candidates_at(tasks, trivial, shares(len(tasks), count))


def candidates_at(
    tasks: Sequence[str], trivial: Mapping[str, float | None], points: Sequence[Sequence[float]]
) -> list[Candidate]:
    """Return fixed weightings at some points, and the one that makes the trivial losses equal.

    Args:
        tasks: The names of the tasks.
        trivial: The loss of the trivial predictor per task, None where there is none; unless all
            are known, the points are shares of the raw losses and the last candidate is missing.
        points: A share per task at each point.

    Example:
        >>> trivial = {"depth": 4.0, "label": 1.0}
        >>> [c.name for c in candidates_at(["depth", "label"], trivial, [[0.8, 0.2]])]
        ['fixed depth=1 label=1', 'fixed 1/trivial depth=0.4 label=1.6']
    """
    known = {task: loss for task in tasks if (loss := trivial.get(task))}
    scales = [known[task] for task in tasks] if len(known) == len(tasks) else [1.0] * len(tasks)
    if len(known) == len(tasks):
        points = [*points, [1 / len(tasks)] * len(tasks)]
    candidates = []
    for point in points:
        raw = [share / scale for share, scale in zip(point, scales, strict=True)]
        weights = {
            task: len(tasks) * weight / sum(raw) for task, weight in zip(tasks, raw, strict=True)
        }
        label = "fixed 1/trivial" if len(set(point)) == 1 else "fixed"
        candidates.append(fixed_candidate(label, weights))
    return candidates


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
