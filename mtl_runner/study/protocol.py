"""A fair comparison of loss weightings, as rounds of runs: the results of one decide the next.

1. Tuning, the same for every strategy, the single-task baseline and every fixed weighting. First
   a grid of learning rates. Then, as long as some candidate's best learning rate lies on the edge
   of what was tried, one more trial for every candidate: outwards, or else between the best and
   its better neighbour. Then two more trials for every candidate: the other values of the
   strategy's main option, its knob, or else two more learning rates. Then, where the study has an
   axis of regularisation, the same values of it for every candidate, at its best settings. So all
   have the same number of trials, steps and batches (Kurin et al., NeurIPS 2022, who found that
   equal weights need as much regularisation as others get; Xin et al., NeurIPS 2022).
2. Final runs: the best trial of each, its learning rate chosen by monitors that are smoothed over
   neighbouring ones and off the edge of divergence, with fresh seeds. These are the same for all
   candidates, so that they share initial weights, batch order and noise.
3. The frozen twin of every strategy whose weights move: fixed weights at the strategy's average,
   tuned alike, with the strategy's regularisation and the same seeds.

Choices are made by ``trainer.monitor`` on validation data alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace

from mtl_runner.study.plan import (
    LAST_TRIALS,
    Candidate,
    Plan,
    PlannedRun,
    Setting,
    Weights,
    frozen_twin,
)
from mtl_runner.study.regularisation import regularisation_note
from mtl_runner.study.tuning import Trial, Tuning


@dataclass
class Protocol:
    """The rounds of a study, and what was learned in them.

    It starts no run itself: its caller trains the runs of :meth:`rounds` and sends their monitors.

    Attributes:
        plan: The numbers of the study.
        candidates: All that take part.
        average_weights: A function from a strategy to its average weights per task in its final
            runs; None where it has no weights, or where they are equal.
        settings_per_task: A function from the single-task baseline to the best settings of its
            tasks, each once; without it those that are best for their mean serve all.
        within_budget: A function that says whether so many more runs are within the budget.
        choose_seeds: A function from :attr:`noise` to the number of final runs of each candidate,
            at most that of the plan; None: that of the plan.
        refusal: A function from a candidate to why no run of it can begin on this problem; empty
            where one did. Such a candidate takes no further part.
        tuning: The trials of every candidate so far, by its name.
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
    settings_per_task: Callable[[Candidate], Sequence[Setting]] | None = None
    within_budget: Callable[[int], bool] = lambda runs: True  # noqa: ARG005
    refusal: Callable[[Candidate], str] = lambda candidate: ""  # noqa: ARG005
    choose_seeds: Callable[[float], int] | None = None
    tuning: dict[str, Tuning] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    noise: float = math.nan

    def rounds(self) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield the runs of each round; wants their monitors sent back.

        Yields:
            The runs of a round. Send back their monitors as they are judged, in the same order; NaN
            or infinite for a run that failed.
        """
        self.tuning = {c.name: Tuning(self.plan.per_decade) for c in self.candidates}
        yield from self._tune_grid(self.candidates, phase=1)
        candidates = []
        for candidate in self.candidates:
            if reason := self.refusal(candidate):
                self.notes.append(f"{candidate.name} is not applicable here: {reason}")
            else:
                candidates.append(candidate)
        yield from self._extend(candidates, phase=2)
        for candidate in candidates:
            if self.tuning[candidate.name].edge:
                self.notes.append(
                    f"The best learning rate of {candidate.name} ({self.best(candidate).lr:.3g}) lies on the edge of what was tried."
                )
        yield from self._tune([t for c in candidates for t in self._last_trials(c)], phase=3)
        yield from self._regularise(candidates)
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
        twins = [
            frozen_twin(
                c, weights, self.plan.regularising(self.tuning[c.name].settled.extra_overrides)
            )
            for c, weights in strategies
            if weights is not None
        ]
        if twins:
            yield from self._twin_rounds(twins)

    def _twin_rounds(
        self, twins: Sequence[Candidate]
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield the rounds of the frozen twins, which are tuned like everything else."""
        self.tuning |= {twin.name: Tuning(self.plan.per_decade) for twin in twins}
        yield from self._tune_grid(twins, phase=7)
        yield from self._extend(twins, phase=7)
        yield from self._tune([t for twin in twins for t in self._last_trials(twin)], phase=8)
        finals = [
            self._final_run(twin, trial, 5, seed)
            for twin, trial in [
                (twin, self.tuning[twin.name].settled) for twin in self._finalists(twins)
            ]
            for seed in self.plan.fresh_seeds
        ]
        if finals:
            yield finals

    def best(self, candidate: Candidate) -> Trial:
        """Return the best trial of a candidate so far.

        Args:
            candidate: One of the candidates, after the first round.
        """
        return self.tuning[candidate.name].best

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
            self.tuning[candidate.name].trials.append(Trial(lr, extra_overrides, by_seed))

    def _tune_grid(
        self, candidates: Sequence[Candidate], phase: int
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        return self._tune([(c, lr, ()) for c in candidates for lr in self.plan.grid], phase)

    def _extend(
        self, candidates: Sequence[Candidate], phase: int
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield a round with one more rate for all, as long as a best one lies on the edge."""
        for _ in range(self.plan.extensions):
            if not any(self.tuning[c.name].edge for c in candidates) or not self.within_budget(
                self._runs_after_extension(candidates)
            ):
                return
            trials = [(c, self.tuning[c.name].next_rate(), ()) for c in candidates]
            yield from self._tune(trials, phase)

    def _regularise(
        self, candidates: Sequence[Candidate]
    ) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield a round for each option that regularises, with its values at the best settings."""
        before = {c.name: self.best(c).monitor for c in candidates}
        for key, values in self.plan.regularisation:
            bests = [(c, self.best(c)) for c in candidates]
            trials = [
                (c, best.lr, (*best.extra_overrides, f"{key}={value}"))
                for c, best in bests
                for value in values
            ]
            yield from self._tune(trials, phase=9)
        if self.plan.regularisation:
            self.notes += [regularisation_note(self.plan, candidates, self.tuning, before)]

    def _runs_after_extension(self, candidates: Sequence[Candidate]) -> int:
        """Return the most runs that are left if every candidate gets one more learning rate."""
        plan = self.plan
        trials = (1 + LAST_TRIALS + plan.trials_of_regularisation()) * plan.tuning_seeds
        twins = sum(c.role == "strategy" for c in candidates)
        of_twin = plan.trials_of_twin * plan.tuning_seeds + plan.seeds
        return len(candidates) * (trials + plan.seeds) + twins * of_twin

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

        The single-task baseline is returned once for all settings that are best for a task.
        """
        best = self.tuning[candidate.name].settled
        settings: Sequence[Setting] = (
            self.settings_per_task(candidate)
            if candidate.role == "single_task" and self.settings_per_task is not None
            else ()
        )
        if len(settings) < 2:
            return [(candidate, best)]
        return [
            (
                replace(candidate, name=f"{candidate.name}, {_named(setting)}"),
                Trial(*setting, best.by_seed),
            )
            for setting in settings
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

    def _last_trials(self, candidate: Candidate) -> list[tuple[Candidate, float, tuple[str, ...]]]:
        """Return the last trials: the other values of the knob, or else more learning rates."""
        if candidate.knob is not None:
            key, values = candidate.knob
            return [
                (candidate, self.best(candidate).lr, (f"{key}={value}",))
                for value in values[:LAST_TRIALS]
            ]
        return [(candidate, rate, ()) for rate in self.tuning[candidate.name].last_rates()]


def _named(setting: Setting) -> str:
    """Return the name of a setting: its learning rate and its options without their groups."""
    lr, options = setting
    pairs = [option.split("=", 1) for option in options]
    return ", ".join([f"lr={lr:.3g}", *(f"{key.rpartition('.')[2]}={v}" for key, v in pairs)])
