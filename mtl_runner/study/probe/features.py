"""Numbers that describe a problem, from a probe's measurement; only two of them know units."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from mtl_runner.study.probe.measurement import Matrix, ShortRuns

# What a feature that is a logarithm of a ratio is cut to, so that no run decides alone.
LARGEST_GAIN = 1.0
# The largest decimal logarithm of a condition number; gradients that are parallel have none.
LARGEST_CONDITION = 6.0
# Joint strategies of a probe, beside equal weights and the fixed ones.
ADAPTIVE = ("uncertainty", "famo")
# {feature: what it is, in words}
FEATURES = {
    "loss_scales": "largest over smallest trivial loss",
    "gradient_scales": "largest over smallest gradient norm",
    "relative_gradients": "the same, of losses over the trivial ones",
    "cosine": "mean cosine of gradients, first epoch",
    "cosine_later": "mean cosine of gradients, last epoch",
    "least_cosine": "least cosine of gradients, last epoch",
    "condition": "condition of the Gramian of unit gradients, last epoch",
    "tasks": "number of tasks",
    "rows": "training rows",
    "capacity": "parameters over training rows",
    "explained": "monitor of equal weights",
    "unevenness": "spread of the tasks' relative losses",
    "noise": "spread over seeds of equal weights",
    "gain": "best weighting against equal weights",
    "gain_scaled": "1/trivial weights against equal weights",
    "gain_adaptive": "best adaptive weighting against equal weights",
    "gain_alone": "single-task training against equal weights",
}


def features(measurement: ShortRuns) -> dict[str, float]:
    r"""Return the features of :data:`FEATURES`.

    Ratios, counts and the condition number are decimal logarithms. A gain of a strategy is
    :math:`\log(m_{\text{equal}} / m)`, with each monitor m averaged over seeds at the better
    learning rate, cut to ±1; above 0 the strategy is better. A number that is not known is that of
    no difference.

    Where one loss is multiplied by a number, its trivial loss and its gradient are, too: then
    ``loss_scales`` and ``gradient_scales`` change, and no other feature of the same runs.

    Args:
        measurement: What the short runs measured.
    """
    m = measurement
    relative_norms = [norm / scale for norm, scale in zip(m.norms[0], m.scales, strict=True)]
    equal = best_monitor(m, "equal")
    fixed = [name for name in m.monitors if name.startswith("fixed")]
    adaptive = max((gain(m, name) for name in ADAPTIVE), default=0.0)
    known = [value for value in m.relative_losses if math.isfinite(value) and value > 0]
    return {
        "loss_scales": _spread(m.scales),
        "gradient_scales": _spread(m.norms[0]),
        "relative_gradients": _spread(relative_norms),
        "cosine": _mean_cosine(m.cosines[0]),
        "cosine_later": _mean_cosine(m.cosines[1]),
        "least_cosine": min(_pairs(m.cosines[1]), default=0.0),
        "condition": _condition(m.cosines[1]),
        "tasks": math.log10(len(m.tasks)),
        "rows": math.log10(m.rows),
        "capacity": math.log10(m.parameters / m.rows),
        "explained": math.log10(min(max(equal, 1e-4), 10.0)) if equal > 0 else 0.0,
        "unevenness": statistics.pstdev(map(math.log10, known)) if known else 0.0,
        "noise": _noise(m),
        "gain": max([adaptive, *(gain(m, name) for name in fixed)]),
        "gain_scaled": max(
            (gain(m, name) for name in fixed if name.startswith("fixed 1/trivial")), default=0.0
        ),
        "gain_adaptive": adaptive,
        "gain_alone": gain(m, "single_task"),
    }


def best_monitor(measurement: ShortRuns, strategy: str) -> float:
    """Return the monitor of a strategy at its better learning rate; infinite if all failed.

    Args:
        measurement: What the short runs measured.
        strategy: The name of the strategy.
    """
    return min(map(_mean_of, measurement.monitors.get(strategy, ())), default=math.inf)


def gain(measurement: ShortRuns, strategy: str) -> float:
    """Return how much better than equal weights a strategy was; 0 where it is not known.

    Args:
        measurement: What the short runs measured.
        strategy: The name of the strategy.
    """
    equal, monitor = best_monitor(measurement, "equal"), best_monitor(measurement, strategy)
    if strategy not in measurement.monitors or not math.isfinite(equal):
        return 0.0
    if not math.isfinite(monitor):
        return -LARGEST_GAIN
    if equal > 0 and monitor > 0:
        return min(max(math.log(equal / monitor), -LARGEST_GAIN), LARGEST_GAIN)
    # A metric of which more is better, with its sign turned round.
    larger = max(abs(equal), abs(monitor))
    return min(max((equal - monitor) / larger, -LARGEST_GAIN), LARGEST_GAIN) if larger else 0.0


def _mean_of(seeds: Sequence[float]) -> float:
    """Return the mean over seeds that finished; infinite if most did not."""
    finished = [value for value in seeds if math.isfinite(value)]
    return statistics.fmean(finished) if 2 * len(finished) > len(seeds) else math.inf


def _spread(values: Sequence[float]) -> float:
    """Return the decimal logarithm of the largest over the smallest positive number."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    return math.log10(max(known) / min(known)) if known else 0.0


def _pairs(cosines: Matrix) -> list[float]:
    """Return the known cosines of each pair of tasks, once."""
    pairs = [cosines[a][b] for a in range(len(cosines)) for b in range(a)]
    return [cosine for cosine in pairs if math.isfinite(cosine)]


def _mean_cosine(cosines: Matrix) -> float:
    return statistics.fmean(_pairs(cosines) or [0.0])


def _condition(cosines: Matrix) -> float:
    """Return the decimal logarithm of the condition number of the matrix of cosines."""
    import numpy as np  # a question such as --list should not wait for it

    values = np.linalg.eigvalsh(np.nan_to_num(np.array(cosines, float), nan=0.0))
    if values[0] <= values[-1] * 10**-LARGEST_CONDITION:
        return LARGEST_CONDITION
    return float(np.log10(values[-1] / values[0]))


def _noise(m: ShortRuns) -> float:
    """Return the decimal logarithm of the relative spread over seeds of equal weights."""
    rates = m.monitors.get("equal", ())
    seeds = [value for value in min(rates, key=_mean_of, default=()) if math.isfinite(value)]
    mean = abs(statistics.fmean(seeds)) if seeds else 0.0
    spread = statistics.stdev(seeds) / mean if len(seeds) > 1 and mean > 0 else 0.0
    return math.log10(min(max(spread, 1e-3), 1.0))
