"""The fixed weights that a strategy has to beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mtl_runner.study.protocol import Candidate, fixed_overrides

ENDS = 0.01  # the smallest share of a task in a sweep over two


def shares(tasks: int, count: int) -> list[list[float]]:
    """Weights that add up to one: evenly spaced for two tasks, with .01 and .99 at the ends; else Sobol points, even over the simplex.

    Equal weights are left out: they are a candidate of their own. Raises ``ValueError`` for less than two tasks.
    """
    if tasks < 2:
        raise ValueError("there is nothing to weigh in a single task")
    if tasks == 2:
        inner = [i / (count - 1) for i in range(1, count - 1)] if count > 2 else []
        return [[w, 1 - w] for w in (ENDS, *inner, 1 - ENDS) if abs(w - 0.5) > 1e-9]
    from scipy.stats import qmc

    points = qmc.Sobol(tasks, seed=0).random_base2(math.ceil(math.log2(max(count, 2))))[:count]
    # Exponential variables over their sum are even over the simplex (Dirichlet with ones).
    exponential = [[-math.log(max(1 - float(u), 1e-12)) + 1e-6 for u in point] for point in points]
    return [[e / sum(row) for e in row] for row in exponential]


def fixed_candidates(
    tasks: Sequence[str], trivial: Mapping[str, float | None], count: int
) -> list[Candidate]:
    """The sweep over fixed weights, of mean 1, and the weights that make the trivial predictor's losses equal.

    Shares are of the losses over the trivial predictor's, where all are known: in raw units a sweep over losses that differ by a thousand
    would hardly leave one task.
    """
    if len(tasks) < 2:
        return []
    known = {task: loss for task in tasks if (loss := trivial.get(task))}
    scales = [known[task] for task in tasks] if len(known) == len(tasks) else [1.0] * len(tasks)
    rows = shares(len(tasks), count)
    if len(known) == len(tasks):
        rows = [*rows, [1 / len(tasks)] * len(tasks)]
    found = []
    for share in rows:
        raw = [part / scale for part, scale in zip(share, scales, strict=True)]
        weights = {
            task: len(tasks) * weight / sum(raw) for task, weight in zip(tasks, raw, strict=True)
        }
        text = " ".join(f"{task}={weight:.3g}" for task, weight in weights.items())
        label = "fixed 1/trivial" if len(set(share)) == 1 else "fixed"
        found.append(Candidate(f"{label} {text}", "fixed", fixed_overrides(weights)))
    return found
