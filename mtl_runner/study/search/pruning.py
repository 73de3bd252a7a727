"""How good a trial of a search has to be by some epoch: the median of the trials before it.

Free of torch and Optuna.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtl_runner.results.records.curves import TOTAL, read_curves
from mtl_runner.results.records.summary import Summary

# As Optuna's MedianPruner: so many trials come to their end before one is given up.
LEAST_TRIALS = 5
# The shares of a run after which a trial can be given up.
RUNGS = (0.25, 0.5)
# Significant digits of a limit: that a stack rounds otherwise than a single run does not matter.
DIGITS = 6

Limits = Mapping[int, float]


def median_limits(trials: Sequence[tuple[Path, Summary]]) -> dict[int, float]:
    """Return the limits of the next trials, as ``trainer.give_up`` takes them.

    They are the medians of the best monitors by a quarter and by half of the run: the median
    stopping rule (Golovin et al., KDD 2017), with the best value so far in place of the average.

    Args:
        trials: The directory and the results of every trial that was trained to its end.

    Returns:
        ``{epoch: monitor}``, each monitor with the sign of its metric; empty while there are too
        few trials.

    Example:
        >>> median_limits([])
        {}
    """
    if len(trials) < LEAST_TRIALS:
        return {}
    curves = [monitor_curve(directory, summary) for directory, summary in trials]
    length = max(summary.epochs or 0 for _, summary in trials)
    evaluated = sorted({epoch for curve in curves for epoch in curve})
    limits: dict[int, float] = {}
    for share in RUNGS:
        after = [math.ceil(epoch) for epoch in evaluated if epoch >= share * length]
        if not after or after[0] >= length:
            continue
        best = [
            min((value for epoch, value in curve.items() if epoch <= after[0]), default=math.inf)
            for curve in curves
        ]
        limit = statistics.median(best)
        if math.isfinite(limit):
            sign = -1 if trials[0][1].monitor.higher_is_better else 1
            limits[after[0]] = sign * float(f"{limit:.{DIGITS}g}")
    return limits


def monitor_curve(directory: Path, summary: Summary) -> dict[float, float]:
    """Return ``{epoch: monitor on validation}`` of a run, where less is better.

    Args:
        directory: The run directory.
        summary: The results of the run, which name the monitor.
    """
    monitor, task, column = summary.monitor, TOTAL, summary.monitor.name
    for name in summary.tasks:
        if column.startswith(f"{name}."):
            task, column = name, column.removeprefix(f"{name}.")
            break
    sign = -1 if monitor.higher_is_better else 1
    curve = read_curves(directory).curve("val", task, column)
    return {epoch: sign * value for epoch, value in curve.items() if not math.isnan(value)}


def give_up_option(limits: Limits) -> list[str]:
    """Return the option of a trial that has limits; none of one without.

    Args:
        limits: ``{epoch: monitor}``.

    Example:
        >>> give_up_option({25: 0.8, 50: 0.6})
        ['++trainer.give_up={25:0.8,50:0.6}']
    """
    entries = ",".join(f"{epoch}:{limit!r}" for epoch, limit in limits.items())
    return [f"++trainer.give_up={{{entries}}}"] if limits else []


def read_limits(recorded: object) -> dict[int, float] | None:
    """Return the limits of a trial from a file; None if they are none.

    Args:
        recorded: What the file holds.

    Example:
        >>> read_limits({"25": 0.8}), read_limits({}), read_limits({"soon": 1})
        ({25: 0.8}, {}, None)
    """
    if not isinstance(recorded, Mapping):
        return None
    fits = all(
        str(epoch).isdecimal() and int(epoch) > 0 and isinstance(limit, float)
        for epoch, limit in recorded.items()
    )
    return {int(epoch): limit for epoch, limit in recorded.items()} if fits else None
