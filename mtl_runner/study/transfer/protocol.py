"""Weights and learning rates of a narrow model for a wide one, as rounds of runs.

1. On the narrow model: equal weights and every fixed weighting at a grid of learning rates, which
   grows outwards as long as some candidate's best one lies on its edge.
2. On the wide model: the fixed weights that were best, and equal weights, each at a few rates
   around the one that was best for it on the narrow model; outwards, too.
3. Final runs with fresh seeds, the same for all: both at their best rates, and the fixed weights
   also at the narrow model's rate, if another one was better.

Choices are made by ``trainer.monitor`` on validation data alone.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from mtl_runner.study.plan import Candidate, Plan, PlannedRun
from mtl_runner.study.tuning import Trial, Tuning

# Phases of the runs, in study.json; final runs are those of every study.
NARROW, NARROW_EDGE, WIDE, WIDE_EDGE, FINAL = 20, 21, 22, 23, 4
Rounds = Generator[list[PlannedRun], Sequence[float], None]


@dataclass(frozen=True)
class TransferExtent:
    """The least and the most runs of a study of transfer.

    Attributes:
        plan: The numbers of the study.
        candidates: How many weightings are tried on the narrow model, equal ones included.
        rates: How many learning rates the wide model is tried at.

    Example:
        >>> extent = TransferExtent(Plan(lr=1e-3, seeds=5, per_decade=1, extensions=1), 8, 3)
        >>> extent.least, extent.most
        (40, 55)
    """

    plan: Plan
    candidates: int
    rates: int

    @property
    def least(self) -> int:
        """The number of runs if no best learning rate lies on an edge, or moves."""
        return self._narrow + self._wide + 2 * self.plan.seeds

    @property
    def most_without_extension(self) -> int:
        """The number where the best learning rate of the fixed weights moves with the width."""
        return self.least + self.plan.seeds

    @property
    def most(self) -> int:
        """The number if a best learning rate lies on the edge to the last, at both widths."""
        return self.most_without_extension + self._extensions(self.candidates + 2)

    def after(self, phase: int, *_: int) -> tuple[int, int]:
        """Return the least and the most runs that follow a round.

        Args:
            phase: The phase of the round.
            *_: The numbers of rounds and groups, which are not needed: the most runs are a bound.

        Example:
            >>> extent = TransferExtent(Plan(lr=1e-3, seeds=5, per_decade=1, extensions=1), 8, 3)
            >>> extent.after(NARROW), extent.after(WIDE), extent.after(FINAL)
            ((16, 31), (10, 17), (0, 0))
        """
        if phase == FINAL:
            return 0, 0
        least, most = 2 * self.plan.seeds, 3 * self.plan.seeds + self._extensions(2)
        if phase in (WIDE, WIDE_EDGE):
            return least, most
        return least + self._wide, most + self._wide + self._extensions(self.candidates)

    @property
    def _narrow(self) -> int:
        return self.candidates * len(self.plan.grid) * self.plan.tuning_seeds

    @property
    def _wide(self) -> int:
        return 2 * self.rates * self.plan.tuning_seeds

    def _extensions(self, candidates: int) -> int:
        return candidates * self.plan.extensions * self.plan.tuning_seeds


@dataclass
class TransferProtocol:
    """The rounds of a study of transfer, and what was chosen in them.

    It starts no run itself: its caller trains the runs of :meth:`rounds` and sends their monitors.

    Attributes:
        plan: The numbers of the study.
        candidates: Equal weights and the fixed weightings.
        proxy: The options that make the model narrow.
        rates: How many learning rates the wide model is tried at, an odd number.
        narrow: The tuning of every candidate on the narrow model so far, by its name.
        wide: That of equal weights and the chosen ones on the wide model.
        chosen: The fixed weights that were best on the narrow model; None before they are.
        kept: The chosen weights at the narrow model's rate, as a candidate of the final runs; None
            where that is the best rate of the wide model, too.
        notes: Sentences that a reader of the results should know.
        noise: As of a fair study; nothing is said about it, so it stays unknown.

    Example:
        >>> equal = Candidate("equal", "equal", ("weighting=fixed",))
        >>> fixed = Candidate("fixed a=2", "fixed", ("weighting=fixed", "weighting.weights.a=2"))
        >>> plan = Plan(lr=0.01, decades=0.1)
        >>> protocol = TransferProtocol(plan, [equal, fixed], ("model.width=4",))
        >>> [run.overrides[1:3] for run in next(protocol.rounds())][0]
        ['model.width=4', 'optimizer.lr=0.00464']
    """

    plan: Plan
    candidates: Sequence[Candidate]
    proxy: tuple[str, ...]
    rates: int = 3
    narrow: dict[str, Tuning] = field(default_factory=dict)
    wide: dict[str, Tuning] = field(default_factory=dict)
    chosen: Candidate | None = None
    kept: Candidate | None = None
    notes: list[str] = field(default_factory=list)
    noise: float = math.nan

    def rounds(self) -> Rounds:
        """Yield the runs of each round; wants their monitors sent back.

        Yields:
            The runs of a round. Send back their monitors as they are judged, in the same order; NaN
            or infinite for a run that failed.
        """
        self.narrow = {c.name: Tuning(self.plan.per_decade) for c in self.candidates}
        grids = {candidate.name: self.plan.grid for candidate in self.candidates}
        yield from self._tune(self.candidates, self.narrow, grids, (NARROW, NARROW_EDGE))
        best = [c for c in self.candidates if math.isfinite(self.narrow[c.name].best.monitor)]
        fixed = [candidate for candidate in best if candidate.role == "fixed"]
        if not fixed:
            self.notes.append("Every trial of fixed weights on the narrow model failed.")
            return
        self.chosen = min(fixed, key=lambda candidate: self._monitor(candidate, self.narrow))
        pair = [c for c in best if c.role == "equal" or c is self.chosen]
        self._note_equal(pair)
        self._note_edges(pair, self.narrow, "narrow")
        self.wide = {c.name: Tuning(self.plan.per_decade) for c in pair}
        grids = {c.name: self.rates_around(self.rate_of(c)) for c in pair}
        yield from self._tune(pair, self.wide, grids, (WIDE, WIDE_EDGE))
        self._note_edges(pair if self.rates > 1 else [], self.wide, "wide")
        finals = [
            (candidate, self.wide[candidate.name].settled.lr)
            for candidate in pair
            if math.isfinite(self.wide[candidate.name].best.monitor)
        ]
        finals += self._at_narrow_rate(dict(finals).get(self.chosen))
        self.notes += [
            f"Every trial of {c.name} on the wide model failed."
            for c in pair
            if c not in dict(finals)
        ]
        if finals:
            yield [self._final_run(c, lr, s) for c, lr in finals for s in self.plan.fresh_seeds]

    def rate_of(self, candidate: Candidate) -> float:
        """Return the learning rate that the narrow model's tuning settles on.

        Args:
            candidate: Equal weights or a fixed weighting.
        """
        return self.narrow[candidate.name].settled.lr

    def rates_around(self, rate: float) -> list[float]:
        """Return the learning rates of the wide model around that of the narrow one.

        Args:
            rate: The narrow model's.
        """
        half = self.rates // 2
        return [rate * 10 ** (k / self.plan.per_decade) for k in range(-half, half + 1)]

    def narrowed(self, candidate: Candidate) -> Candidate:
        """Return a candidate on the narrow model.

        Args:
            candidate: Equal weights or a fixed weighting.
        """
        overrides = (*candidate.overrides, *self.proxy)
        return replace(candidate, name=f"{candidate.name} (narrow)", overrides=overrides)

    def _tune(
        self,
        candidates: Sequence[Candidate],
        tunings: dict[str, Tuning],
        grids: dict[str, list[float]],
        phases: tuple[int, int],
    ) -> Rounds:
        """Yield the rounds of a tuning: a grid each, then one more rate each while one is an edge.

        Where the wide model is tried at one rate only, there is nothing to go on from.
        """
        first, later = phases
        yield from self._try([(c, lr) for c in candidates for lr in grids[c.name]], tunings, first)
        for _ in range(self.plan.extensions if len(grids[candidates[0].name]) > 1 else 0):
            if not any(tunings[c.name].edge for c in candidates):
                return
            rates = [(c, tunings[c.name].next_rate()) for c in candidates]
            yield from self._try(rates, tunings, later)

    def _try(
        self, trials: Sequence[tuple[Candidate, float]], tunings: dict[str, Tuning], phase: int
    ) -> Rounds:
        """Yield a round of tuning runs and record their monitors."""
        seeds = self.plan.seeds_of_trials
        is_narrow = tunings is self.narrow
        monitors = yield [
            PlannedRun(self.narrowed(candidate) if is_narrow else candidate, lr, phase, seed)
            for candidate, lr in trials
            for seed in seeds
        ]
        for k, (candidate, lr) in enumerate(trials):
            by_seed = tuple(monitors[k * len(seeds) : (k + 1) * len(seeds)])
            tunings[candidate.name].trials.append(Trial(lr, (), by_seed))

    def _at_narrow_rate(self, wide_rate: float | None) -> list[tuple[Candidate, float]]:
        """Return the chosen weights at the narrow model's rate, where the wide one's is another.

        Args:
            wide_rate: The wide model's rate; None where every trial of it failed.
        """
        assert self.chosen is not None, "the narrow model's tuning has chosen them"
        rate = self.rate_of(self.chosen)
        if wide_rate is None or math.isclose(wide_rate, rate, rel_tol=1e-6):
            return []
        name = f"narrow lr={rate:.3g}, {self.chosen.name}"
        # A strategy, since it is judged beside the weights at their own rate, which are the choice.
        self.kept = replace(self.chosen, name=name, role="strategy")
        return [(self.kept, rate)]

    def _final_run(self, candidate: Candidate, lr: float, seed: int) -> PlannedRun:
        plan = self.plan
        split = plan.data_seed + (seed - plan.fresh_seeds[0]) % plan.splits
        data_seed = split if plan.splits > 1 else None
        return PlannedRun(candidate, lr, FINAL, seed, final=True, data_seed=data_seed)

    def _monitor(self, candidate: Candidate, tunings: dict[str, Tuning]) -> float:
        return tunings[candidate.name].settled.monitor

    def _note_edges(
        self, pair: Sequence[Candidate], tunings: dict[str, Tuning], which: str
    ) -> None:
        """Note whose best learning rate lies on the edge of what was tried."""
        self.notes += [
            f"The best learning rate of {c.name} ({tunings[c.name].best.lr:.3g}) lies on the edge of what was tried on the {which} model."
            for c in pair
            if tunings[c.name].edge
        ]

    def _note_equal(self, pair: Sequence[Candidate]) -> None:
        """Note whether equal weights were better on the narrow model than all fixed ones."""
        monitors = {c.role: self._monitor(c, self.narrow) for c in pair}
        if monitors.get("equal", math.inf) < monitors["fixed"]:
            self.notes.append(
                "On the narrow model equal weights were better than every fixed weighting; the best of these was tried all the same."
            )
