"""The verdict on a strategy: its kind, its sentence and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtl_runner.results.statistics.differences import TaskEffect
from mtl_runner.results.statistics.failures import Failures
from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.statistics.spread import Spread

NO_DIFFERENCE, HELPS, STATIC, BETTER, HURTS, UNDECIDED, NOT_APPLICABLE = (
    "no difference",
    "helps",
    "static weights suffice",
    "better than equal weights",
    "hurts",
    "undecided",
    "not applicable",
)
METRICS = "main metrics"  # the quantity where there is no mean relative loss
FEWEST = 3  # pairs that a verdict needs: of two, chance alone gives narrow intervals
NO_FAILURES = Failures()


@dataclass(frozen=True)
class Verdict:
    """One strategy's verdict and the numbers behind it.

    Relative differences are fractions, below 0 is better.

    Attributes:
        data: The data set.
        strategy: The strategy.
        role: ``strategy``, or ``fixed`` for the best fixed weights.
        kind: ``no difference``, ``helps``, ``static weights suffice``,
            ``better than equal weights``, ``hurts``, ``undecided`` or ``not applicable``.
        sentence: The verdict in plain English.
        margin: The relative difference that is of no interest.
        equal: The name of the equal-weight baseline; empty without one.
        fixed: The name of the best fixed weights; empty without a fixed-weight sweep.
        versus_equal: Differences to equal weights.
        versus_fixed: Differences to the best fixed weights; None for these themselves.
        versus_twin: Differences to the frozen twin.
        seeds: The number of usable runs.
        failed: The number of failed runs.
        unfinished: The number of runs that were killed or still run.
        delta_m: Change against the tuned single-task runs in percent, over metrics; NaN without.
        delta_m_task: The same, averaged within each task first.
        spread: How far learning rates and replicates move the result.
        seconds: Mean training time of a run.
        backward_passes: Backward passes per step; NaN where they are not recorded.
        quantity: What the relative differences are of: "mean relative loss" or "main metrics".
        effects: Per task the main metric under equal weights and under the strategy.
        trials: The number of trials of a strategy that a study gave up; else 0.
        reason: Why the first of its failed or refused runs did not train.
        refused: The number of runs whose options do not fit the problem.
        p_hurts: The p-value of being worse than equal weights beyond the margin, or of failing more
            often, after Holm's correction over the judged strategies.
        p_better: The p-value of being better than equal weights beyond the margin, corrected alike.
        p_helps: The same of being better than the best fixed weights and its twin as well.
        p_static: The same of being better than equal weights, but not than constant weights.
        family: The number of strategies that the p-values are corrected for.
        equal_failures: The failures of equal weights beside its own.
        fixed_failures: The failures of the best fixed weights beside its own.
        twin_failures: The failures of its frozen twin beside its own.
        replicate: As :attr:`DatasetEvidence.replicate`.
        geometric: Differences to equal weights of the geometric mean of the tasks' losses; None
            where a loss is not positive, or the main metrics are judged.
        tasks: The number of tasks.
        tasks_better: The number of them whose loss is lower than under equal weights.
        is_optimizer: Whether it gives every task an optimizer of its own, and is no weighting.
    """

    data: str
    strategy: str
    role: str
    kind: str
    sentence: str
    margin: float
    equal: str
    fixed: str
    versus_equal: Paired | None
    versus_fixed: Paired | None
    versus_twin: Paired | None
    seeds: int
    failed: int
    unfinished: int
    delta_m: float
    delta_m_task: float
    spread: Spread
    seconds: float
    backward_passes: float = math.nan
    quantity: str = ""
    effects: tuple[TaskEffect, ...] = ()
    trials: int = 0
    reason: str = ""
    refused: int = 0
    p_hurts: float = 1.0
    p_better: float = math.nan
    p_helps: float = math.nan
    p_static: float = math.nan
    family: int = 1
    equal_failures: Failures = NO_FAILURES
    fixed_failures: Failures = NO_FAILURES
    twin_failures: Failures = NO_FAILURES
    replicate: str = "seed"
    geometric: Paired | None = None
    tasks: int = 0
    tasks_better: int = 0
    is_optimizer: bool = False

    @property
    def criteria_disagree(self) -> bool:
        """Whether the geometric mean over tasks says something else than the mean that judges.

        One says beyond the margin, and the other the opposite or no difference. Nothing is asked of
        a strategy that is undecided.
        """
        if self.kind == UNDECIDED or self.geometric is None or self.versus_equal is None:
            return False
        judged, geometric = (
            _direction(p, self.margin) for p in (self.versus_equal, self.geometric)
        )
        return judged is not None and geometric is not None and judged != geometric

    @property
    def lost(self) -> int:
        """The number of failed runs whose replicate equal weights finished.

        Of a strategy that a study gave up, it is the number of all that failed.
        """
        if self.trials:
            return self.failed if self.equal else 0
        return self.equal_failures.lost


def _direction(versus: Paired, margin: float) -> int | None:
    """Return -1 where it is better beyond the margin, 1 worse, 0 no difference, None undecided."""
    if versus.count < FEWEST or not versus.known:
        return None
    if versus.high < -margin:
        return -1
    if versus.low > margin:
        return 1
    return 0 if -margin <= versus.low90 and versus.high90 <= margin else None
