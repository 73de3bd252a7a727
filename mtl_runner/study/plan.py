"""The candidates of a study, their planned runs, and the numbers of a plan."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

# Trials of every candidate after those of the learning rates.
LAST_TRIALS = 2
TUNING_SEED_STEP = 1000  # between the seeds of trials, so that those of the final runs fit between
Weights = Mapping[str, float]
Levels = tuple[tuple[str, str], ...]  # factors of a study and their levels
Setting = tuple[float, tuple[str, ...]]  # a learning rate, and options beside the candidate's


@dataclass(frozen=True)
class Candidate:
    """A strategy or baseline that is tuned and compared.

    Attributes:
        name: Its label.
        role: ``"single_task"``, ``"equal"``, ``"fixed"``, ``"strategy"`` or ``"twin"``.
        overrides: The options of the command line that choose it.
        knob: The key of its main option and the values to try beside its default, if any.
        twin_of: The strategy whose frozen twin it is; empty for others.
        group: The levels of the study's factors at which it takes part, such as the optimizer.

    Example:
        >>> knob = ("weighting.temperature", ("1", "5"))
        >>> Candidate("dwa", "strategy", ("weighting=dwa",), knob).role
        'strategy'
    """

    name: str
    role: str
    overrides: tuple[str, ...]
    knob: tuple[str, tuple[str, ...]] | None = None
    twin_of: str = ""
    group: Levels = ()


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        candidate: What is trained.
        lr: Its learning rate.
        phase: 1 to 3 for tuning (grid, extensions, last trials), 4 for final runs, 5 for those of
            twins, 6 for the trials of a search, 7 and 8 for the tuning of twins (grid and
            extensions, last trials), 9 for the tuning of regularisation, between 3 and 4, 10 for
            the short runs of a probe, 20 to 23 for the tuning of a study of transfer (grid and
            extensions of the narrow model, then of the wide one).
        seed: Its seed.
        extra_overrides: Options beside the candidate's, such as a value of its knob.
        final: Whether it is one of the runs that decide, in contrast to tuning.
        data_seed: The seed of its split of the data; None: that of all runs.

    Example:
        >>> PlannedRun(Candidate("famo", "strategy", ("weighting=famo",)), 0.01, 1, 0).overrides
        ['weighting=famo', 'optimizer.lr=0.01', 'seed=0']
    """

    candidate: Candidate
    lr: float
    phase: int
    seed: int
    extra_overrides: tuple[str, ...] = ()
    final: bool = False
    data_seed: int | None = None

    @property
    def label(self) -> str:
        """The name of this run in a line about it: candidate, levels, options, rate, seed.

        Example:
            >>> knob = ("weighting.lr=0.1",)
            >>> PlannedRun(Candidate("famo", "strategy", ()), 0.0316, 3, 0, knob).label
            'famo weighting.lr=0.1 lr=0.0316 seed=0'
        """
        return " ".join(
            [
                self.candidate.name,
                *(f"{factor}={level}" for factor, level in self.candidate.group),
                *self.extra_overrides,
                *([] if "lr=" in self.candidate.name else [f"lr={self.lr:.3g}"]),
                f"seed={self.seed}",
            ]
        )

    @property
    def overrides(self) -> list[str]:
        """The options of this run, beside those that all runs of the study share."""
        return [
            *self.candidate.overrides,
            *self.extra_overrides,
            f"optimizer.lr={self.lr:.3g}",
            f"seed={self.seed}",
            *([] if self.data_seed is None else [f"data.seed={self.data_seed}"]),
        ]


@dataclass(frozen=True)
class Plan:
    """The numbers of a study, as ``conf/study/fair.yaml`` explains them.

    Attributes:
        lr: The middle of the grid of learning rates.
        seed: The seed of the tuning.
        seeds: The number of fresh seeds of the final runs.
        per_decade: Learning rates per factor of 10.
        decades: The width of the grid, in factors of 10.
        extensions: The most rounds of one more learning rate for every candidate.
        tuning_seeds: The number of seeds of every trial, which is judged by their mean.
        splits: The number of splits of the data that the final runs take in turn, 1: that of the
            tuning.
        data_seed: The seed of the tuning's split.
        least_seeds: The least number of final runs where the tuning chooses it; else None.
        regularisation: Options that regularise, and the values of each that every candidate tries.

    Example:
        >>> plan = Plan(lr=1e-3, seeds=3, tuning_seeds=2)
        >>> len(plan.grid), plan.least_trials, plan.fresh_seeds, plan.seeds_of_trials
        (7, 9, [1, 2, 3], [0, 1000])
    """

    lr: float
    seed: int = 0
    seeds: int = 10
    per_decade: int = 3
    decades: float = 2.0
    extensions: int = 3
    tuning_seeds: int = 1
    splits: int = 1
    data_seed: int = 0
    least_seeds: int | None = None
    regularisation: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def grid(self) -> list[float]:
        """The learning rates that every candidate starts with."""
        half = math.ceil(self.per_decade * self.decades / 2)
        return [self.lr * 10 ** (k / self.per_decade) for k in range(-half, half + 1)]

    @property
    def least_trials(self) -> int:
        """The number of trials of every candidate without any extension."""
        return self.trials_of_twin + self.trials_of_regularisation()

    @property
    def trials_of_twin(self) -> int:
        """The same of a frozen twin, which keeps the regularisation of its strategy."""
        return len(self.grid) + LAST_TRIALS

    def trials_of_regularisation(self, rounds: int = 0) -> int:
        """Return the number of trials of regularisation of every candidate after so many rounds.

        Args:
            rounds: The rounds that are over; each tries the values of one option.
        """
        return sum(len(values) for _, values in self.regularisation[rounds:])

    def regularising(self, options: Sequence[str]) -> tuple[str, ...]:
        """Return those of some options that regularise.

        Example:
            >>> plan = Plan(lr=1e-3, regularisation=(("optimizer.weight_decay", ("0.01",)),))
            >>> plan.regularising(["weighting.alpha=3", "optimizer.weight_decay=0.01"])
            ('optimizer.weight_decay=0.01',)
        """
        keys = [key for key, _ in self.regularisation]
        return tuple(option for option in options if option.partition("=")[0] in keys)

    @property
    def fresh_seeds(self) -> list[int]:
        """The seeds of the final runs."""
        return [self.seed + 1 + i for i in range(self.seeds)]

    @property
    def seeds_of_trials(self) -> list[int]:
        """The seeds of the tuning, none of them that of a final run."""
        return [self.seed + TUNING_SEED_STEP * i for i in range(self.tuning_seeds)]


def frozen_twin(
    candidate: Candidate, weights: Weights, regularisation: Sequence[str] = ()
) -> Candidate:
    """Return the twin of a strategy: the same, but for weights that stand still.

    Args:
        candidate: The strategy.
        weights: Its average weight per task.
        regularisation: The options that regularise its final runs.

    Example:
        >>> strategy = Candidate("x", "strategy", ("weighting=dwa", "update=per_task"))
        >>> frozen_twin(strategy, {"a": 0.5, "b": 2.0}).overrides[1:]
        ('weighting.weights.a=0.5', 'weighting.weights.b=2', 'update=per_task')
    """
    kept = tuple(
        option for option in candidate.overrides if not option.lstrip("+~").startswith("weighting")
    )
    return replace(
        candidate,
        name=f"{candidate.name} frozen",
        role="twin",
        overrides=(*fixed_overrides(weights), *kept, *regularisation),
        knob=None,
        twin_of=candidate.name,
    )


def fixed_overrides(weights: Weights) -> tuple[str, ...]:
    """Return the options of a run with these fixed weights.

    Args:
        weights: The weight per task.

    Example:
        >>> fixed_overrides({"depth": 0.5, "my label": 1.5})
        ('weighting=fixed', 'weighting.weights={depth: 0.5, my label: 1.5}')
    """
    if all(re.fullmatch(r"\w+", task) for task in weights):
        return (
            "weighting=fixed",
            *(f"weighting.weights.{task}={weight:.4g}" for task, weight in weights.items()),
        )
    pairs = ", ".join(f"{_escaped(task)}: {weight:.4g}" for task, weight in weights.items())
    return ("weighting=fixed", f"weighting.weights={{{pairs}}}")


def _escaped(name: str) -> str:
    """Return a name so that Hydra's grammar takes it for the key of a mapping."""
    return re.sub(r"([\\()\[\]{}:=,])", r"\\\1", name)
