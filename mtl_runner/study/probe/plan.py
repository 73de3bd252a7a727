"""The short runs of a probe: which strategies, weights, learning rates and seeds. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_runner.study.plan import Candidate, PlannedRun
from mtl_runner.study.weights import candidates_at

# The phase of a short run in study.json.
PHASE = 10
EQUAL = Candidate("equal", "equal", ("weighting=fixed",))
# The most fixed weightings that lean to one task: of many tasks, those of the first ones.
LEANING = 3
# The share of the task that such a weighting leans to, in units of the trivial predictor's losses.
LEAN = 0.8


def candidates(trivial: Mapping[str, float | None]) -> list[Candidate]:
    """Return what a probe trains beside equal weights.

    Args:
        trivial: The loss of the trivial predictor per task, None where there is none.

    Example:
        >>> [candidate.name for candidate in candidates({"depth": 4.0, "label": 1.0})]
        ['single_task', 'uncertainty', 'famo', 'fixed depth=1 label=1', ...]
    """
    strategies = [
        Candidate(name, "strategy", (f"weighting={name}",)) for name in ("uncertainty", "famo")
    ]
    alone = Candidate("single_task", "single_task", ("weighting=single_task",))
    tasks = list(trivial)
    leaning = [
        [LEAN if task == first else (1 - LEAN) / (len(tasks) - 1) for task in tasks]
        for first in tasks[:LEANING]
    ]
    return [alone, *strategies, *candidates_at(tasks, trivial, leaning)]


def first_runs(lr: float, seeds: Sequence[int]) -> list[PlannedRun]:
    """Return the runs of equal weights whose gradients are measured, which cannot be stacked.

    Args:
        lr: The learning rate.
        seeds: The seeds of the short runs.
    """
    return [PlannedRun(EQUAL, lr, PHASE, seed, ("record.gradients=true",)) for seed in seeds]


def other_runs(
    trivial: Mapping[str, float | None], rates: Sequence[float], seeds: Sequence[int]
) -> list[PlannedRun]:
    """Return all other short runs.

    Args:
        trivial: The loss of the trivial predictor per task, None where there is none.
        rates: The learning rates; equal weights were trained with the first one before.
        seeds: The seeds of the short runs.

    Example:
        >>> len(other_runs({"depth": 4.0, "label": 1.0}, (0.01, 0.03), (0, 1)))
        26
    """
    return [
        PlannedRun(candidate, lr, PHASE, seed)
        for candidate in [EQUAL, *candidates(trivial)]
        for lr in rates
        for seed in seeds
        if candidate is not EQUAL or lr != rates[0]
    ]
