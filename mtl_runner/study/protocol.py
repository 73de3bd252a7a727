"""A fair comparison of loss weightings, as rounds of runs: the results of one decide the next.

1. Tuning, for every strategy, the single-task baseline and every fixed weighting alike: a learning-rate grid; then, as long as anybody's
   best learning rate lies on the edge of what was tried, one more trial for everybody (outwards, or else between the best and its better
   neighbour); then two more trials for everybody: the other values of the strategy's one knob, or else two more learning rates. So all
   have the same number of trials, steps and batches (Kurin et al. 2022; Xin et al. 2022).
2. The winners with fresh seeds, the same for all: equal initial weights, batch order and noise.
3. The frozen twin of every strategy whose weights move: fixed weights at its own average, its learning rate, the same seeds.

Choices are made by ``trainer.monitor`` on validation data alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

EXTRA = 2  # trials of everybody after the learning rates
Weights = Mapping[str, float]


@dataclass(frozen=True)
class Candidate:
    """Something to tune and compare.

    Attributes:
        name: its label. role: ``single_task``, ``equal``, ``fixed``, ``strategy`` or ``twin``. overrides: that make it. knob: the key
            and the other values of its one main option. of: the strategy whose twin it is.
    """

    name: str
    role: str
    overrides: tuple[str, ...]
    knob: tuple[str, tuple[str, ...]] | None = None
    of: str = ""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    candidate: Candidate
    lr: float
    phase: int
    seed: int
    extra_overrides: tuple[str, ...] = ()
    final: bool = False

    @property
    def overrides(self) -> list[str]:
        """What makes this run, beside what all have in common."""
        return [
            *self.candidate.overrides,
            *self.extra_overrides,
            f"optimizer.lr={self.lr:.3g}",
            f"seed={self.seed}",
        ]


@dataclass(frozen=True)
class Plan:
    """The numbers of a study: see ``conf/study/fair.yaml``."""

    lr: float
    seed: int = 0
    seeds: int = 10
    per_decade: int = 3
    decades: float = 2.0
    extensions: int = 3

    @property
    def grid(self) -> list[float]:
        """The learning rates that everybody starts with."""
        half = math.ceil(self.per_decade * self.decades / 2)
        return [self.lr * 10 ** (k / self.per_decade) for k in range(-half, half + 1)]

    @property
    def least_trials(self) -> int:
        """Of every candidate, before any extension."""
        return len(self.grid) + EXTRA

    @property
    def fresh_seeds(self) -> list[int]:
        """Seeds of the final runs."""
        return [self.seed + 1 + i for i in range(self.seeds)]


@dataclass
class Trial:
    """What was tried for one candidate, and what came out (less is better, infinite where a run failed)."""

    lr: float
    extra_overrides: tuple[str, ...]
    value: float


@dataclass
class Protocol:
    """The rounds of a study.

    Args:
        plan: its numbers. candidates: all that take part. twin: from a strategy and its final jobs to its average weights per task; None
            where it has none, or where they are equal. rates: from the single-task baseline to the best learning rates of its tasks, each
            once; without it, the best of all. within: whether so many extra_overrides runs are still within the budget.

    Attributes:
        trials: of every candidate so far. notes: what a reader should know of the tuning.
    """

    plan: Plan
    candidates: Sequence[Candidate]
    twin: Callable[[Candidate], Weights | None]
    rates: Callable[[Candidate], Sequence[float]] | None = None
    within: Callable[[int], bool] = lambda runs: True  # noqa: ARG005
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def rounds(self) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yields the jobs of a round and wants their monitors back, in order; NaN or infinite for a failed run."""
        self.trials = {candidate.name: [] for candidate in self.candidates}
        yield from self._tune(
            [(c, lr, ()) for c in self.candidates for lr in self.plan.grid], phase=1
        )
        for _ in range(self.plan.extensions):
            twin_runs = self.plan.seeds * sum(
                candidate.role == "strategy" for candidate in self.candidates
            )
            final_runs = len(self.candidates) * (EXTRA + self.plan.seeds) + twin_runs
            if not any(self._edge(c) for c in self.candidates) or not self.within(
                len(self.candidates) + final_runs
            ):
                break
            yield from self._tune([(c, self._next(c), ()) for c in self.candidates], phase=2)
        for candidate in self.candidates:
            if self._edge(candidate):
                self.notes.append(
                    f"The best learning rate of {candidate.name} ({self.best(candidate).lr:.3g}) lies on the edge of what was tried."
                )
        yield from self._tune([job for c in self.candidates for job in self._last(c)], phase=3)
        finalists = [c for c in self.candidates if math.isfinite(self.best(c).value)]
        for candidate in self.candidates:
            if candidate not in finalists:
                self.notes.append(f"Every trial of {candidate.name} failed.")
        finals = [
            self._final(c, trial, 4, seed)
            for f in finalists
            for c, trial in self._winners(f)
            for seed in self.plan.fresh_seeds
        ]
        if not finals:
            return
        yield finals
        twins = [(c, self.twin(c)) for c in finalists if c.role == "strategy"]
        jobs = [
            self._final(frozen(c, weights), replace(self.best(c), extra_overrides=()), 5, seed)
            for c, weights in twins
            if weights is not None
            for seed in self.plan.fresh_seeds
        ]
        if jobs:
            yield jobs

    def best(self, candidate: Candidate) -> Trial:
        """The trial with the least monitor."""
        return min(self.trials[candidate.name], key=lambda trial: trial.value)

    def _tune(
        self, wanted: Sequence[tuple[Candidate, float, tuple[str, ...]]], phase: int
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        jobs = [
            PlannedRun(candidate, lr, phase, self.plan.seed, extra_overrides)
            for candidate, lr, extra_overrides in wanted
        ]
        values = yield jobs
        for job, value in zip(jobs, values, strict=True):
            known = value if math.isfinite(value) else math.inf
            self.trials[job.candidate.name].append(Trial(job.lr, job.extra_overrides, known))

    def _winners(self, candidate: Candidate) -> list[tuple[Candidate, Trial]]:
        """The candidate with its best trial; the single-task baseline with the best learning rate of each of its tasks."""
        best = self.best(candidate)
        rates = (
            list(self.rates(candidate))
            if candidate.role == "single_task" and self.rates is not None
            else [best.lr]
        )
        if len(rates) == 1:
            return [(candidate, best)]
        return [
            (replace(candidate, name=f"{candidate.name}, lr={lr:.3g}"), Trial(lr, (), best.value))
            for lr in rates
        ]

    def _final(self, candidate: Candidate, trial: Trial, phase: int, seed: int) -> PlannedRun:
        return PlannedRun(candidate, trial.lr, phase, seed, trial.extra_overrides, final=True)

    def _rates(self, candidate: Candidate) -> list[float]:
        return sorted({trial.lr for trial in self.trials[candidate.name]})

    def _edge(self, candidate: Candidate) -> int:
        """-1 or 1 if the best learning rate is the least or the largest that was tried, else 0."""
        rates, best = self._rates(candidate), self.best(candidate)
        if not math.isfinite(best.value):
            return 0
        return -1 if best.lr == rates[0] else 1 if best.lr == rates[-1] else 0

    def _next(self, candidate: Candidate) -> float:
        """The next learning rate to try: outwards from an edge, or else towards the best's better neighbour."""
        edge, step = self._edge(candidate), 10 ** (1 / self.plan.per_decade)
        if edge:
            return self.best(candidate).lr * step**edge
        return self._between(candidate, set())

    def _between(self, candidate: Candidate, taken: set[float]) -> float:
        """The middle, on the logarithm, between the best learning rate and the better of its neighbours with one."""
        values: dict[float, float] = {}
        for trial in self.trials[candidate.name]:
            values[trial.lr] = min(trial.value, values.get(trial.lr, math.inf))
        rates, best = sorted(values), self.best(candidate).lr
        at = rates.index(best)
        around = sorted(
            [i for i in (at - 1, at + 1) if 0 <= i < len(rates)], key=lambda i: values[rates[i]]
        )
        for neighbour in around:
            middle = math.sqrt(best * rates[neighbour])
            if middle not in taken:
                return middle
        step = 10 ** (1 / self.plan.per_decade)  # at the edge of a range with one neighbour
        return best * step if at else best / step

    def _last(self, candidate: Candidate) -> list[tuple[Candidate, float, tuple[str, ...]]]:
        """The last two trials: the knob's other values, or else two more learning rates."""
        if candidate.knob is not None:
            key, values = candidate.knob
            return [
                (candidate, self.best(candidate).lr, (f"{key}={value}",))
                for value in values[:EXTRA]
            ]
        first = self._between(candidate, set())
        return [(candidate, first, ()), (candidate, self._between(candidate, {first}), ())]


def frozen(candidate: Candidate, weights: Weights) -> Candidate:
    """The twin of a strategy: fixed weights at its own average, and whatever else was chosen for it beside its weighting."""
    kept = tuple(
        option for option in candidate.overrides if not option.lstrip("+~").startswith("weighting")
    )
    return Candidate(
        f"{candidate.name} frozen", "twin", (*fixed_overrides(weights), *kept), of=candidate.name
    )


def fixed_overrides(weights: Weights) -> tuple[str, ...]:
    """What makes a run with these fixed weights."""
    if all(re.fullmatch(r"\w+", task) for task in weights):
        return (
            "weighting=fixed",
            *(f"weighting.weights.{task}={weight:.4g}" for task, weight in weights.items()),
        )
    pairs = ", ".join(f"{_escaped(task)}: {weight:.4g}" for task, weight in weights.items())
    return ("weighting=fixed", f"weighting.weights={{{pairs}}}")


def _escaped(name: str) -> str:
    """A name as Hydra's grammar takes it for the key of a mapping."""
    return re.sub(r"([\\()\[\]{}:=,])", r"\\\1", name)
