"""How many runs a study takes: said before it begins, and what is left of them while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.errors.words import counted, duration
from mtl_runner.study.protocol import LAST_TRIALS, Candidate, Plan

# For the estimate: seconds of a small model's step, and of a run beside its steps.
EAGER_STEP, EAGER_START = 0.4e-3, 0.3

# The power that is spoken of: so often a study sees a difference that is there.
POWER = 0.8


@dataclass(frozen=True)
class Extent:
    """The least and the most runs of a study.

    How many they are in the end depends on results: a best learning rate on the edge makes one
    more trial for all, the tasks of the single-task baseline may share a learning rate, and
    a strategy whose weights do not move has no twin.

    Attributes:
        plan: The numbers of the study.
        candidates: How many strategies, baselines and fixed weightings take part.
        strategies: How many of them are strategies, which may have a frozen twin.
        tasks: The number of tasks.

    Example:
        >>> extent = Extent(Plan(lr=1e-3, seeds=2, per_decade=1, extensions=1), 7, 2, 2)
        >>> extent.least, extent.most_without_extension, extent.most
        (49, 65, 74)
    """

    plan: Plan
    candidates: int
    strategies: int
    tasks: int

    @property
    def least(self) -> int:
        """The number of runs if nothing is added to the plan."""
        return self.candidates * self._runs_each

    @property
    def most_without_extension(self) -> int:
        """The number with every frozen twin, and a learning rate of its own for every task."""
        return self.least + self.single_task_runs + self.twin_runs

    @property
    def most(self) -> int:
        """The number if, beyond that, a best learning rate lies on the edge to the last."""
        tuned = self.candidates + self.strategies
        return self.most_without_extension + tuned * self._extension_runs

    @property
    def single_task_runs(self) -> int:
        """The most final runs of the single-task baseline at further learning rates."""
        return (self.tasks - 1) * self.plan.seeds

    @property
    def twin_runs(self) -> int:
        """The most runs of frozen twins, which are tuned too, if none needs an extension."""
        return self.strategies * self._runs_each

    @property
    def _runs_each(self) -> int:
        """The number of runs of a candidate without any extension."""
        return self.plan.least_trials * self.plan.tuning_seeds + self.plan.seeds

    @property
    def _extension_runs(self) -> int:
        """The most runs by which extensions lengthen the tuning of a candidate."""
        return self.plan.extensions * self.plan.tuning_seeds

    def after(self, phase: int, extensions: int = 0) -> tuple[int, int]:
        """Return the least and the most runs that follow a round, if none has failed for good.

        Args:
            phase: The phase of the round, as in :class:`~mtl_runner.study.PlannedRun`.
            extensions: How many rounds of phase 2 there were, with this one.

        Example:
            >>> extent = Extent(Plan(lr=1e-3, seeds=2, per_decade=1, extensions=1), 7, 2, 2)
            >>> extent.after(1), extent.after(2, 1), extent.after(3), extent.after(4)
            ((28, 53), (28, 46), (14, 32), (0, 16))
        """
        plan = self.plan
        last_runs = LAST_TRIALS * plan.tuning_seeds
        if phase >= 4:
            of_twin = {
                4: self._runs_each + self._extension_runs,
                7: self._extension_runs + last_runs + plan.seeds,
                8: plan.seeds,
            }
            return 0, self.strategies * of_twin.get(phase, 0)
        least = self.candidates * (plan.seeds + last_runs * (phase < 3))
        twins = self.twin_runs + self.strategies * self._extension_runs
        left = (plan.extensions - extensions) * plan.tuning_seeds * (phase < 3)
        return least, least + self.single_task_runs + twins + self.candidates * left


def detectable(seeds: int) -> float:
    r"""Return the difference that a study sees four times in five, in standard deviations.

    These are of a strategy's relative change over seeds. The difference is found where its
    95 % t-interval lies beyond the margin, so it is counted from there:
    :math:`(t_{.975} + t_{.8}) / \sqrt{n}` with :math:`n - 1` degrees of freedom, an approximation
    of the noncentral t-distribution.

    Args:
        seeds: The number of final runs of each candidate.

    Example:
        >>> round(detectable(5), 1), round(detectable(10), 1)
        (1.7, 1.0)
    """
    from scipy.stats import t

    quantiles = float(t.ppf(0.975, seeds - 1)) + float(t.ppf(POWER, seeds - 1))
    return quantiles / math.sqrt(seeds)


def announcement(candidates: Sequence[Candidate], extent: Extent, steps: int, judged: str) -> str:
    """Return what a study will take and can show, in the words that it begins with.

    Args:
        candidates: All that take part.
        extent: The number of their runs.
        steps: The steps of a run.
        judged: At which evaluation the runs are judged, in words.
    """
    plan = extent.plan
    roles = [candidate.role for candidate in candidates]
    strategies = counted(roles.count("strategy"), "strategy")
    fixed = counted(roles.count("fixed"), "fixed weighting")
    least, most = extent.least, extent.most_without_extension
    more = extent.most - most
    of_seeds = f" of {plan.tuning_seeds} seeds" if plan.tuning_seeds > 1 else ""
    edge = f", and up to {more} more if a best learning rate lies on the edge" if more else ""
    time = duration(max(1, round(most * (steps * EAGER_STEP + EAGER_START))))
    return (
        f"study: {strategies}, equal weights, the single-task baseline and {fixed}; "
        f"for each at least {counted(plan.least_trials, 'trial')}{of_seeds}, then {plan.seeds} fresh seeds.\n"
        f"study: {least} to {most} runs{edge}, of {counted(steps, 'step')} each, judged at their {judged}.\n"
        f"study: {time} or more with a small model, one run after another; a fraction of that in stacks, more with a large model: the second round says how much is left.\n"
        f"study: with {plan.seeds} seeds a difference beyond the margin of {detectable(plan.seeds):.1f} standard deviations over seeds is seen four times in five; "
        "smaller ones probably stay undecided."
    )
