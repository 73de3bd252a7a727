"""How many runs a study takes: said before it begins, and what is left of them while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.errors.words import counted, duration
from mtl_runner.study.plan import LAST_TRIALS, Candidate, Plan

# For the estimate: seconds of a small model's step, and of a run beside its steps.
EAGER_STEP, EAGER_START = 0.4e-3, 0.3

# The power that is spoken of: so often a study sees a difference that is there.
POWER = 0.8

# study.seeds=auto takes from 5 to 20, and 10 where the tuning does not tell how seeds differ.
LEAST_SEEDS, MOST_SEEDS, UNKNOWN_SEEDS = 5, 20, 10


@dataclass(frozen=True)
class Extent:
    """The least and the most runs of a study: of all its groups, and of one of them.

    How many they are in the end depends on results: a best learning rate on the edge makes one
    more trial for all, the tasks of the single-task baseline may share a learning rate, and
    a strategy whose weights do not move has no twin.

    Attributes:
        plan: The numbers of the study.
        candidates: How many strategies, baselines and fixed weightings take part.
        strategies: How many of them are strategies, which may have a frozen twin.
        tasks: The number of tasks.
        groups: How many combinations there are of the levels of the study's factors; each is tuned
            and run by itself.

    Example:
        >>> extent = Extent(Plan(lr=1e-3, seeds=2, per_decade=1, extensions=1), 7, 2, 2)
        >>> extent.least, extent.most_without_extension, extent.most
        (49, 65, 74)
    """

    plan: Plan
    candidates: int
    strategies: int
    tasks: int
    groups: int = 1

    @property
    def least(self) -> int:
        """The number of runs if nothing is added to the plan."""
        plan = self.plan
        seeds = plan.seeds if plan.least_seeds is None else plan.least_seeds
        return self.groups * self.candidates * (plan.least_trials * plan.tuning_seeds + seeds)

    @property
    def most_without_extension(self) -> int:
        """The number with every frozen twin, and a learning rate of its own for every task."""
        of_group = self.candidates * self._runs_each + self.single_task_runs + self.twin_runs
        return self.groups * of_group

    @property
    def most(self) -> int:
        """The number if, beyond that, a best learning rate lies on the edge to the last."""
        tuned = self.candidates + self.strategies
        return self.most_without_extension + self.groups * tuned * self._extension_runs

    @property
    def single_task_runs(self) -> int:
        """The most final runs of a group's single-task baseline at further learning rates."""
        return (self.tasks - 1) * self.plan.seeds

    @property
    def twin_runs(self) -> int:
        """The most runs of a group's frozen twins, which are tuned too, without an extension."""
        return self.strategies * self._runs_of_twin

    @property
    def _runs_each(self) -> int:
        """The number of runs of a candidate without any extension."""
        return self.plan.least_trials * self.plan.tuning_seeds + self.plan.seeds

    @property
    def _runs_of_twin(self) -> int:
        """The number of runs of a frozen twin without any extension."""
        return self.plan.trials_of_twin * self.plan.tuning_seeds + self.plan.seeds

    @property
    def _extension_runs(self) -> int:
        """The most runs by which extensions lengthen the tuning of a candidate."""
        return self.plan.extensions * self.plan.tuning_seeds

    def after(self, phase: int, rounds: int = 0, groups: int = 0) -> tuple[int, int]:
        """Return the least and the most runs that follow a round, if none has failed for good.

        Args:
            phase: The phase of the round, as in :class:`~mtl_runner.study.PlannedRun`.
            rounds: How many rounds of this phase there were in its group, with this one.
            groups: How many groups follow its own.

        Example:
            >>> extent = Extent(Plan(lr=1e-3, seeds=2, per_decade=1, extensions=1), 7, 2, 2)
            >>> extent.after(1), extent.after(2, 1), extent.after(3), extent.after(4)
            ((28, 53), (28, 46), (14, 32), (0, 16))
        """
        least, most = self._after(phase, rounds)
        share = groups / self.groups
        return least + round(share * self.least), most + round(share * self.most)

    def _after(self, phase: int, rounds: int) -> tuple[int, int]:
        """Return the least and the most runs of a group that follow one of its rounds."""
        plan = self.plan
        last_runs = LAST_TRIALS * plan.tuning_seeds
        if 4 <= phase < 9:
            of_twin = {
                4: self._runs_of_twin + self._extension_runs,
                7: self._extension_runs + last_runs + plan.seeds,
                8: plan.seeds,
            }
            return 0, self.strategies * of_twin.get(phase, 0)
        seeds = plan.seeds if plan.least_seeds is None else plan.least_seeds
        last_trials = last_runs * (phase < 3)
        last_trials += plan.trials_of_regularisation(rounds * (phase == 9)) * plan.tuning_seeds
        twins = self.twin_runs + self.strategies * self._extension_runs
        left = (plan.extensions - rounds * (phase == 2)) * plan.tuning_seeds * (phase < 3)
        most = self.candidates * (plan.seeds + last_trials + left) + self.single_task_runs + twins
        return self.candidates * (seeds + last_trials), most


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


def needed_seeds(noise: float, margin: float, most: int = MOST_SEEDS) -> int:
    """Return how many seeds see a difference of twice the margin four times in five.

    Args:
        noise: The standard deviation over seeds of a relative difference; NaN if it is unknown.
        margin: The relative difference that is of no interest.
        most: The most seeds.

    Returns:
        The number, from ``LEAST_SEEDS`` to the most; ``UNKNOWN_SEEDS`` without a noise.

    Example:
        >>> needed_seeds(0.002, 0.02), needed_seeds(0.018, 0.02), needed_seeds(1.0, 0.02)
        (5, 9, 20)
    """
    if math.isnan(noise):
        return min(UNKNOWN_SEEDS, most)
    border = math.log1p(margin)
    enough = (n for n in range(LEAST_SEEDS, most) if detectable(n) * noise <= border)
    return next(enough, most)


def precision(noise: float, margin: float, seeds: int) -> str:
    """Return in words what the final runs of a study can settle; empty if that is unknown.

    Args:
        noise: The standard deviation over seeds of a relative difference; NaN if it is unknown.
        margin: The relative difference that is of no interest.
        seeds: The number of final runs of each candidate.
    """
    if math.isnan(noise):
        return ""
    seen = math.expm1(math.log1p(margin) + detectable(seeds) * noise)
    return (
        f"study: in the tuning, differences between strategies varied by {100 * noise:.2g} % over seeds (standard deviation); "
        f"{counted(seeds, 'fresh seed')} will see one of {100 * seen:.2g} % four times in five."
    )


def announcement(
    candidates: Sequence[Candidate],
    extent: Extent,
    steps: int,
    judged: str,
    groups: Sequence[str] = (),
) -> str:
    """Return what a study will take and can show, in the words that it begins with.

    Args:
        candidates: All that take part.
        extent: The number of their runs.
        steps: The steps of a run.
        judged: At which evaluation the runs are judged, in words.
        groups: The names of the groups; none in a study without factors.
    """
    plan = extent.plan
    roles = [candidate.role for candidate in candidates]
    strategies = counted(roles.count("strategy"), "strategy")
    fixed = counted(roles.count("fixed"), "fixed weighting")
    least, most = extent.least, extent.most_without_extension
    more = extent.most - most
    of_seeds = f" of {plan.tuning_seeds} seeds" if plan.tuning_seeds > 1 else ""
    edge = f", and up to {more} more if a best learning rate lies on the edge" if more else ""
    splits = ""
    if plan.splits > 1:
        one_each = plan.splits == plan.seeds
        splits = (
            ", each with its own split of the data"
            if one_each
            else f" over {plan.splits} splits of the data"
        )
    time = duration(max(1, round(most * (steps * EAGER_STEP + EAGER_START))))
    seeds, seen = str(plan.seeds), f"{detectable(plan.seeds):.1f}"
    if plan.least_seeds is not None:
        seeds = f"{plan.least_seeds} to {seeds}"
        seen = f"{detectable(plan.least_seeds):.1f} to {seen}"
    return (
        f"study: {strategies}, equal weights, the single-task baseline and {fixed}; "
        f"for each at least {counted(plan.least_trials, 'trial')}{of_seeds}, then {seeds} fresh seeds{splits}.\n"
        f"{_groups_line(groups)}study: {least} to {most} runs{edge}, of {counted(steps, 'step')} each, judged at their {judged}.\n"
        f"study: {time} or more with a small model, one run after another; a fraction of that in stacks, more with a large model: the second round says how much is left.\n"
        f"study: with {seeds} seeds a difference beyond the margin of {seen} standard deviations over seeds is seen four times in five; "
        "smaller ones probably stay undecided."
    )


def _groups_line(groups: Sequence[str]) -> str:
    """Return a line about the groups of a study; empty without any."""
    if not groups:
        return ""
    listed = "; ".join(groups)
    return f"study: all that {len(groups)} times, each tuned and judged by itself: {listed}.\n"
