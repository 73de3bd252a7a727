"""A fair comparison of loss weightings, as rounds of runs: the results of one decide the next.

1. Tuning, the same for every strategy, the single-task baseline and every fixed weighting. First
   a grid of learning rates. Then, as long as some candidate's best learning rate lies on the edge
   of what was tried, one more trial for every candidate: outwards, or else between the best and
   its better neighbour. Then two more trials for every candidate: the other values of the
   strategy's main option, its knob, or else two more learning rates. So all have the same number
   of trials, steps and batches (Kurin et al., NeurIPS 2022; Xin et al., NeurIPS 2022).
2. Final runs: the best trial of each, its learning rate chosen by monitors that are smoothed over
   neighbouring ones and off the edge of divergence, with fresh seeds. These are the same for all
   candidates, so that they share initial weights, batch order and noise.
3. The frozen twin of every strategy whose weights move: fixed weights at the strategy's average,
   with its learning rate and the same seeds.

Choices are made by ``trainer.monitor`` on validation data alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mtl_runner.study.smoothing import smoothed_choice

# Trials of every candidate after those of the learning rates.
LAST_TRIALS = 2
TUNING_SEED_STEP = 1000  # between the seeds of trials, so that those of the final runs fit between
# A setting is unstable if the monitor of one seed is so many times that of another.
UNSTABLE = 2.0
Weights = Mapping[str, float]


@dataclass(frozen=True)
class Candidate:
    """A strategy or baseline that is tuned and compared.

    Attributes:
        name: Its label.
        role: ``"single_task"``, ``"equal"``, ``"fixed"``, ``"strategy"`` or ``"twin"``.
        overrides: The options of the command line that choose it.
        knob: The key of its main option and the values to try beside its default, if any.
        twin_of: The strategy whose frozen twin it is; empty for others.

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


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        candidate: What is trained.
        lr: Its learning rate.
        phase: 1 to 3 for tuning (grid, extensions, last trials), 4 for final runs, 5 for those of
            twins, 6 for the trials of a search, 7 and 8 for the tuning of twins (grid and
            extensions, last trials), 9 for the short runs of a probe.
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
        """The name of this run in a line about it: candidate, options, learning rate, seed.

        Example:
            >>> knob = ("weighting.lr=0.1",)
            >>> PlannedRun(Candidate("famo", "strategy", ()), 0.0316, 3, 0, knob).label
            'famo weighting.lr=0.1 lr=0.0316 seed=0'
        """
        return " ".join(
            [
                self.candidate.name,
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

    @property
    def grid(self) -> list[float]:
        """The learning rates that every candidate starts with."""
        half = math.ceil(self.per_decade * self.decades / 2)
        return [self.lr * 10 ** (k / self.per_decade) for k in range(-half, half + 1)]

    @property
    def least_trials(self) -> int:
        """The number of trials of every candidate without any extension."""
        return len(self.grid) + LAST_TRIALS

    @property
    def fresh_seeds(self) -> list[int]:
        """The seeds of the final runs."""
        return [self.seed + 1 + i for i in range(self.seeds)]

    @property
    def seeds_of_trials(self) -> list[int]:
        """The seeds of the tuning, none of them that of a final run."""
        return [self.seed + TUNING_SEED_STEP * i for i in range(self.tuning_seeds)]


@dataclass
class Trial:
    """One setting of a candidate that was tried, and its result.

    Attributes:
        lr: The learning rate.
        extra_overrides: The value of the candidate's knob, if one was tried.
        by_seed: ``trainer.monitor`` on validation of each seed, where less is better; infinite or
            NaN if it failed.

    Example:
        >>> trial = Trial(0.01, (), (0.2, 0.6, math.inf))
        >>> trial.monitor, trial.diverged, trial.is_unstable
        (0.4, False, True)
    """

    lr: float
    extra_overrides: tuple[str, ...]
    by_seed: tuple[float, ...]

    @cached_property
    def finished(self) -> list[float]:
        """The monitors of the seeds that finished."""
        return [monitor for monitor in self.by_seed if math.isfinite(monitor)]

    @cached_property
    def monitor(self) -> float:
        """The mean over the seeds that finished; infinite if none did."""
        return sum(self.finished) / len(self.finished) if self.finished else math.inf

    @cached_property
    def diverged(self) -> bool:
        """Whether most of its seeds failed.

        One of three may fail by chance: to avoid that would drive some strategies to poor learning
        rates, and not others.
        """
        return 2 * len(self.finished) < len(self.by_seed)

    @property
    def is_unstable(self) -> bool:
        """Whether most seeds failed, or they differ so much that others may."""
        finished = self.finished
        return self.diverged or max(finished) > UNSTABLE * min(finished) > 0


@dataclass
class Protocol:
    """The rounds of a study, and what was learned in them.

    It starts no run itself: its caller trains the runs of :meth:`rounds` and sends their monitors.

    Attributes:
        plan: The numbers of the study.
        candidates: All that take part.
        average_weights: A function from a strategy to its average weights per task in its final
            runs; None where it has no weights, or where they are equal.
        rates_per_task: A function from the single-task baseline to the best learning rates of its
            tasks, each once; without it the rate that is best for their mean serves all.
        within_budget: A function that says whether so many more runs are within the budget.
        choose_seeds: A function from :attr:`noise` to the number of final runs of each candidate,
            at most that of the plan; None: that of the plan.
        refusal: A function from a candidate to why no run of it can begin on this problem; empty
            where one did. Such a candidate takes no further part.
        trials: The trials of every candidate so far, by its name.
        notes: Sentences about the tuning that a reader of the results should know.
        noise: The standard deviation over tuning seeds of the logarithm of a candidate's monitor
            over that of equal weights, at their best trials; NaN before it is known.

    Example:
        >>> equal = Candidate("equal", "equal", ("weighting=fixed",))
        >>> protocol = Protocol(Plan(lr=0.01, per_decade=1), [equal], lambda strategy: None)
        >>> rounds = protocol.rounds()
        >>> [run.lr for run in next(rounds)]
        [0.001, 0.01, 0.1]
        >>> [run.phase for run in rounds.send([0.5, 0.2, 0.3])]
        [3, 3]
    """

    plan: Plan
    candidates: Sequence[Candidate]
    average_weights: Callable[[Candidate], Weights | None]
    rates_per_task: Callable[[Candidate], Sequence[float]] | None = None
    within_budget: Callable[[int], bool] = lambda runs: True  # noqa: ARG005
    refusal: Callable[[Candidate], str] = lambda candidate: ""  # noqa: ARG005
    choose_seeds: Callable[[float], int] | None = None
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    noise: float = math.nan

    def rounds(self) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield the runs of each round; wants their monitors sent back.

        Yields:
            The runs of a round. Send back their monitors as they are judged, in the same order; NaN
            or infinite for a run that failed.
        """
        self.trials = {candidate.name: [] for candidate in self.candidates}
        yield from self._tune_grid(self.candidates, phase=1)
        candidates = []
        for candidate in self.candidates:
            if reason := self.refusal(candidate):
                self.notes.append(f"{candidate.name} is not applicable here: {reason}")
            else:
                candidates.append(candidate)
        for _ in range(self.plan.extensions):
            if not any(self._edge(c) for c in candidates) or not self.within_budget(
                self._runs_after_extension(candidates)
            ):
                break
            yield from self._tune([(c, self._next_rate(c), ()) for c in candidates], phase=2)
        for candidate in candidates:
            if self._edge(candidate):
                self.notes.append(
                    f"The best learning rate of {candidate.name} ({self.best(candidate).lr:.3g}) lies on the edge of what was tried."
                )
        yield from self._tune([t for c in candidates for t in self._last_trials(c)], phase=3)
        finalists = self._finalists(candidates)
        self.noise = self._measure_noise(finalists)
        if self.choose_seeds is not None:
            self.plan = replace(self.plan, seeds=self.choose_seeds(self.noise))
        finals = [
            self._final_run(c, trial, 4, seed)
            for f in finalists
            for c, trial in self._winners(f)
            for seed in self.plan.fresh_seeds
        ]
        if not finals:
            return
        yield finals
        strategies = [(c, self.average_weights(c)) for c in finalists if c.role == "strategy"]
        twins = [frozen_twin(c, weights) for c, weights in strategies if weights is not None]
        if twins:
            yield from self._twin_rounds(twins)

    def _twin_rounds(
        self, twins: Sequence[Candidate]
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield the rounds of the frozen twins, which are tuned like everything else."""
        self.trials |= {twin.name: [] for twin in twins}
        yield from self._tune_grid(twins, phase=7)
        for _ in range(self.plan.extensions):
            if not any(self._edge(twin) for twin in twins) or not self.within_budget(
                self._runs_after_extension(twins)
            ):
                break
            yield from self._tune([(t, self._next_rate(t), ()) for t in twins], phase=7)
        yield from self._tune([t for twin in twins for t in self._last_trials(twin)], phase=8)
        finals = [
            self._final_run(twin, trial, 5, seed)
            for twin, trial in [(twin, self.settled(twin)) for twin in self._finalists(twins)]
            for seed in self.plan.fresh_seeds
        ]
        if finals:
            yield finals

    def best(self, candidate: Candidate) -> Trial:
        """Return the best trial: of those that did not diverge, that with the least monitor.

        Args:
            candidate: One of the candidates, after the first round.
        """
        return min(self.trials[candidate.name], key=lambda t: (t.diverged, t.monitor))

    def settled(self, candidate: Candidate) -> Trial:
        """Return the settings of the final runs: the best trial's, off the edge of divergence.

        Its learning rate is that whose monitor is best when smoothed over neighbouring ones, so
        that one lucky trial does not choose it. Where it or the next larger learning rate is
        unstable, other seeds may diverge, so the learning rate is half a step of the grid lower.
        (The next smaller one that was tried would be a whole step for some candidates and less for
        others, which is a real difference.)

        Args:
            candidate: One of the candidates, after its last trials.
        """
        best = self._smoothed_best(candidate)
        larger = self._next_larger(candidate, best)
        if best.is_unstable or (larger is not None and larger.is_unstable):
            return replace(best, lr=best.lr / 10 ** (0.5 / self.plan.per_decade))
        return best

    def _smoothed_best(self, candidate: Candidate) -> Trial:
        """Return the best trial with the learning rate that smoothed monitors choose."""
        best = self.best(candidate)
        options = (best.extra_overrides, ())
        trials = [
            t
            for t in self.trials[candidate.name]
            if t.extra_overrides in options and not t.diverged
        ]
        if best.diverged:
            return best
        chosen = trials[smoothed_choice([t.lr for t in trials], [t.monitor for t in trials])]
        if chosen.lr == best.lr:
            return best
        return replace(best, lr=chosen.lr, by_seed=chosen.by_seed)

    def _tune(
        self, trials: Sequence[tuple[Candidate, float, tuple[str, ...]]], phase: int
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield a round of tuning runs and record their monitors.

        Args:
            trials: For each run its candidate, learning rate and extra overrides.
            phase: The phase that the runs belong to.
        """
        seeds = self.plan.seeds_of_trials
        monitors = yield [
            PlannedRun(candidate, lr, phase, seed, extra_overrides)
            for candidate, lr, extra_overrides in trials
            for seed in seeds
        ]
        for k, (candidate, lr, extra_overrides) in enumerate(trials):
            by_seed = tuple(monitors[k * len(seeds) : (k + 1) * len(seeds)])
            self.trials[candidate.name].append(Trial(lr, extra_overrides, by_seed))

    def _tune_grid(
        self, candidates: Sequence[Candidate], phase: int
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        return self._tune([(c, lr, ()) for c in candidates for lr in self.plan.grid], phase)

    def _runs_after_extension(self, candidates: Sequence[Candidate]) -> int:
        """Return the most runs that are left if every candidate gets one more learning rate."""
        trials = (1 + LAST_TRIALS) * self.plan.tuning_seeds
        twins = sum(c.role == "strategy" for c in candidates)
        of_twin = self.plan.least_trials * self.plan.tuning_seeds + self.plan.seeds
        return len(candidates) * (trials + self.plan.seeds) + twins * of_twin

    def _finalists(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates that a trial finished of, with a note on the others."""
        finalists = [c for c in candidates if math.isfinite(self.best(c).monitor)]
        self.notes += [
            f"Every trial of {candidate.name} failed."
            for candidate in candidates
            if candidate not in finalists
        ]
        return finalists

    def _measure_noise(self, candidates: Sequence[Candidate]) -> float:
        """Return :attr:`noise`, pooled over the candidates but the single-task baseline."""
        equal = next((c for c in candidates if c.role == "equal"), None)
        if equal is None:
            return math.nan
        squares, degrees = 0.0, 0
        for candidate in candidates:
            if candidate.role in ("equal", "single_task"):
                continue
            pairs = zip(self.best(candidate).by_seed, self.best(equal).by_seed, strict=True)
            logs = [
                math.log(monitor / base)
                for monitor, base in pairs
                if math.isfinite(monitor + base) and min(monitor, base) > 0
            ]
            if len(logs) > 1:
                mean = math.fsum(logs) / len(logs)
                squares += math.fsum((value - mean) ** 2 for value in logs)
                degrees += len(logs) - 1
        return math.sqrt(squares / degrees) if degrees else math.nan

    def _winners(self, candidate: Candidate) -> list[tuple[Candidate, Trial]]:
        """Return the candidate with its best trial.

        The single-task baseline is returned once for each learning rate that is best for a task.
        """
        best = self.settled(candidate)
        rates = (
            list(self.rates_per_task(candidate))
            if candidate.role == "single_task" and self.rates_per_task is not None
            else [best.lr]
        )
        if len(rates) == 1:
            return [(candidate, best)]
        return [
            (replace(candidate, name=f"{candidate.name}, lr={lr:.3g}"), Trial(lr, (), best.by_seed))
            for lr in rates
        ]

    def _final_run(self, candidate: Candidate, trial: Trial, phase: int, seed: int) -> PlannedRun:
        """Return a final run with the settings of a trial."""
        plan = self.plan
        split = (seed - plan.fresh_seeds[0]) % plan.splits
        return PlannedRun(
            candidate,
            trial.lr,
            phase,
            seed,
            trial.extra_overrides,
            final=True,
            data_seed=plan.data_seed + split if plan.splits > 1 else None,
        )

    def _next_larger(self, candidate: Candidate, trial: Trial) -> Trial | None:
        """Return the trial at the next larger learning rate; None at the end.

        The values of a knob are tried at one rate only, so the trials without one count, too.
        """
        options = (trial.extra_overrides, ())
        larger = [
            t
            for t in self.trials[candidate.name]
            if t.extra_overrides in options and t.lr > trial.lr
        ]
        return min(larger, key=lambda t: t.lr, default=None)

    def _rates(self, candidate: Candidate) -> list[float]:
        """Return the learning rates that were tried, each once, in ascending order."""
        return sorted({trial.lr for trial in self.trials[candidate.name]})

    def _edge(self, candidate: Candidate) -> int:
        """Return -1 or 1 if the best learning rate is the least or largest one tried, else 0."""
        rates, best = self._rates(candidate), self.best(candidate)
        if not math.isfinite(best.monitor):
            return 0
        return -1 if best.lr == rates[0] else 1 if best.lr == rates[-1] else 0

    def _next_rate(self, candidate: Candidate) -> float:
        """Return the next learning rate to try: outwards from an edge, or else a middle."""
        edge, step = self._edge(candidate), 10 ** (1 / self.plan.per_decade)
        if edge:
            return self.best(candidate).lr * step**edge
        return self._middle_rate(candidate, set())

    def _middle_rate(self, candidate: Candidate, taken: set[float]) -> float:
        """Return the geometric mean of the best learning rate and its better neighbour.

        If that is taken, it is the mean with the other neighbour; at an edge, where there is no
        other one, the next learning rate outwards.
        """
        monitors: dict[float, float] = {}
        for trial in self.trials[candidate.name]:
            monitors[trial.lr] = min(trial.monitor, monitors.get(trial.lr, math.inf))
        rates, best = sorted(monitors), self.best(candidate).lr
        index = rates.index(best)
        neighbours = sorted(
            [rates[i] for i in (index - 1, index + 1) if 0 <= i < len(rates)],
            key=lambda rate: monitors[rate],
        )
        for neighbour in neighbours:
            middle = math.sqrt(best * neighbour)
            if middle not in taken:
                return middle
        step = 10 ** (1 / self.plan.per_decade)
        return best * step if index else best / step

    def _last_trials(self, candidate: Candidate) -> list[tuple[Candidate, float, tuple[str, ...]]]:
        """Return the last trials: the other values of the knob, or else more learning rates."""
        if candidate.knob is not None:
            key, values = candidate.knob
            return [
                (candidate, self.best(candidate).lr, (f"{key}={value}",))
                for value in values[:LAST_TRIALS]
            ]
        first = self._middle_rate(candidate, set())
        return [(candidate, first, ()), (candidate, self._middle_rate(candidate, {first}), ())]


def frozen_twin(candidate: Candidate, weights: Weights) -> Candidate:
    """Return the twin of a strategy: the same, but for weights that stand still.

    Args:
        candidate: The strategy.
        weights: Its average weight per task.

    Example:
        >>> strategy = Candidate("x", "strategy", ("weighting=dwa", "update=per_task"))
        >>> frozen_twin(strategy, {"a": 0.5, "b": 2.0}).overrides[1:]
        ('weighting.weights.a=0.5', 'weighting.weights.b=2', 'update=per_task')
    """
    kept = tuple(
        option for option in candidate.overrides if not option.lstrip("+~").startswith("weighting")
    )
    return Candidate(
        f"{candidate.name} frozen",
        "twin",
        (*fixed_overrides(weights), *kept),
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
