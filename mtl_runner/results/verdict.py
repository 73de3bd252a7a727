"""What a verdict on a strategy is: its kind, its sentence and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_runner.results.differences import TaskEffect
from mtl_runner.results.paired import Paired
from mtl_runner.results.spread import Spread

NO_DIFFERENCE, HELPS, STATIC, HURTS, UNDECIDED = (
    "no difference",
    "helps",
    "static weights suffice",
    "hurts",
    "undecided",
)


@dataclass(frozen=True)
class Verdict:
    """One strategy's verdict and the numbers behind it. Relative differences are fractions, below 0 is better."""

    data: str
    strategy: str
    role: str  # strategy | fixed
    kind: str  # no difference | helps | static weights suffice | hurts | undecided
    sentence: str
    margin: float
    equal: str  # the baseline's name, empty without one
    fixed: str  # the best fixed weights' name, empty without a fixed-weight sweep
    versus_equal: Paired | None
    versus_fixed: Paired | None  # None also for the best fixed weights themselves
    versus_twin: Paired | None
    dominated: float  # share of resamples in which some fixed weights dominate it; NaN without any
    seeds: int  # usable runs
    failed: int
    lost: int  # failed runs whose seed equal weights finished; of a strategy that a study gave up, all that failed
    unfinished: int
    delta_m: float  # against the tuned single-task runs in percent, over metrics; NaN without them
    delta_m_task: float  # the same, first within each task
    spread: Spread
    seconds: float  # mean training time of a run
    backward_passes: float | None  # per step
    quantity: str = (
        ""  # what the relative differences are of: "mean relative loss" or "main metrics"
    )
    effects: tuple[
        TaskEffect, ...
    ] = ()  # per task: the main metric under equal weights and under the strategy
    trials: int = 0  # of a strategy that a study gave up, as no tuning run ended with a number: how many; else 0
    reason: str = ""  # why the first of its failed runs failed
