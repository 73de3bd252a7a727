"""Studies whose truth is known: run tables are drawn, nothing is trained, the real judge judges.

Per run there is a mean relative loss on test, the monitor on validation beside it, and whether the
run diverged. In a study the learning rates are chosen by the real protocol, whose runs are answered
with numbers of the same kind. ``calibration.py`` counts how often a verdict is false.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mtl_runner.results.records.evidence import DatasetEvidence, Evidence, StrategyEvidence
from mtl_runner.results.records.task_metrics import TaskMetrics
from mtl_runner.results.verdict.judge import MARGIN
from mtl_runner.study import Candidate, Plan, PlannedRun, Protocol

Array = NDArray[np.float64]

TASKS = {name: TaskMetrics.of({"kind": "regression"}) for name in ("a", "b")}
FIXED = 11  # fixed weights of a fair study with two tasks
VALIDATION = 0.9  # correlation of a run's loss on test with its monitor on validation
BASE = 0.5  # relative loss of equal weights at their best learning rate
TUNING_SEEDS = 3  # as conf/study/fair.yaml has it
CHUNK = 100  # studies whose numbers are drawn at once
SPREAD = 0.5  # decades that best learning rates lie at most from the middle of the grid
CLIFF_WIDTH = 0.03  # decades over which the share of diverging runs rises
WEIGHTS = {"a": 0.5, "b": 1.5}  # of a twin; any that are not equal


@dataclass(frozen=True)
class Curve:
    """The loss over the learning rate, whose best value all candidates have in common.

    Attributes:
        step: By how much the logarithm of the loss grows at one step of the grid from the best
            learning rate, and with the square of the distance.
        cliff: Whether the loss falls by ``step`` per step up to the best learning rate instead, and
            runs with larger ones diverge.
    """

    step: float
    cliff: bool = False

    def excess(self, steps: Array) -> Array:
        """Return the logarithm of the loss over the best one.

        Args:
            steps: The distances to the best learning rate, in steps of the grid.
        """
        return self.step * (np.maximum(-steps, 0.0) if self.cliff else steps**2)

    def divergence(self, decades: Array) -> Array:
        """Return the probability that a run diverges because its learning rate is too large.

        Args:
            decades: The distances to the best learning rate, in decades.
        """
        if not self.cliff:
            return np.zeros_like(decades)
        # Three widths beyond the best rate it is an even chance, at the best rate under 5 %.
        return 1 / (1 + np.exp(3.0 - decades / CLIFF_WIDTH))


@dataclass(frozen=True)
class Cell:
    """The truth behind simulated studies.

    Changes are relative differences of a loss to that of equal weights, -0.05 being 5 % better.

    Attributes:
        name: Its name.
        seeds: The number of seeds of the final runs.
        correlation: Of the losses of two strategies with the same seed.
        variation: The standard deviation of a loss over seeds, relative to the loss.
        shape: The distribution of its logarithm: ``normal``, ``t3`` or ``lognormal`` (skewed).
        divergence: The probability that a run diverges, at any learning rate.
        methods: The change of each method.
        fixed: The change of each of the fixed weights.
        twins: Whether each method has a frozen twin, with the change of ``twin``.
        twin: The change of a twin; None for that of its method.
        tuning: The loss over the learning rate in a study; None for a sweep, which has no tuning,
            so that the best fixed weights are chosen by the runs that are judged.
        rates: The number of learning rates at which a sweep has all of them, one as good as another.
        noisy: The number of methods that scatter more than all else.
        noise: How many times as much they do.
    """

    name: str
    seeds: int = 10
    correlation: float = 0.5
    variation: float = 0.02
    shape: str = "normal"
    divergence: float = 0.0
    methods: tuple[float, ...] = (0.0,) * 5
    fixed: tuple[float, ...] = (0.0,) * FIXED
    twins: bool = False
    twin: float | None = 0.0
    tuning: Curve | None = None
    rates: int = 1
    noisy: int = 0
    noise: float = 1.0

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Equal weights, the methods and the fixed weights, as a study has them."""
        knob = ("weighting.knob", ("low", "high"))
        equal = Candidate("equal", "equal", ("weighting=fixed",))
        methods = [
            Candidate(f"m{i:02}", "strategy", (f"weighting=m{i:02}",), knob if i % 2 else None)
            for i in range(len(self.methods))
        ]
        fixed = [
            Candidate(f"f{i:02}", "fixed", ("weighting=fixed",)) for i in range(len(self.fixed))
        ]
        if self.rates == 1:
            return [equal, *methods, *fixed]
        return [
            replace(candidate, name=f"{candidate.name}, lr={rate}")
            for rate in range(self.rates)
            for candidate in (equal, *methods, *fixed)
        ]

    @cached_property
    def changes(self) -> dict[str, float]:
        """The change of every candidate by its name."""
        changes = (0.0, *self.methods, *self.fixed) * self.rates
        return {c.name: change for c, change in zip(self.candidates, changes, strict=True)}

    def settings(self, candidate: Candidate) -> tuple[tuple[str, str], ...]:
        """Return the settings of a candidate beside its strategy."""
        if self.tuning is not None:
            return (("study", "simulated"),)
        _, _, rate = candidate.name.partition(", lr=")
        return (("optimizer.lr", rate),) if rate else ()

    def twin_change(self, method: str) -> float:
        """Return the change of the twin of a method."""
        return self.changes[method] if self.twin is None else self.twin


class Noise:
    """The random numbers of a cell's studies.

    Args:
        cell: The cell.
        seed: The seed of the numbers.
    """

    def __init__(self, cell: Cell, seed: int) -> None:
        self.cell = cell
        self.random = np.random.default_rng(seed)

    def standard(self, size: tuple[int, ...]) -> Array:
        """Return numbers of mean 0 and variance 1 with the shape of the cell."""
        if self.cell.shape == "t3":
            return self.random.standard_t(3, size) / math.sqrt(3)
        numbers = self.random.standard_normal(size)
        if self.cell.shape == "lognormal":
            mean, variance = math.exp(0.5), (math.e - 1) * math.e
            return (np.exp(numbers) - mean) / math.sqrt(variance)
        return numbers

    def runs(self, studies: int, candidates: int, seeds: int) -> tuple[Array, Array, Array]:
        """Return the noise of the logarithms of losses, and a number that decides on divergence.

        Returns:
            Of ``[studies, candidates, seeds]`` runs the noise on test, that on validation, and
            uniform numbers.
        """
        cell, size = self.cell, (studies, candidates, seeds)
        common, single = math.sqrt(cell.correlation), math.sqrt(1 - cell.correlation)
        test = common * self.standard((studies, 1, seeds)) + single * self.standard(size)
        other = common * self.standard((studies, 1, seeds)) + single * self.standard(size)
        scatter = np.full((candidates, 1), cell.variation)
        scatter[1 : 1 + cell.noisy] *= cell.noise  # equal weights come first, then the methods
        validation = VALIDATION * test + math.sqrt(1 - VALIDATION**2) * other
        return scatter * test, scatter * validation, self.random.random(size)


@dataclass(frozen=True)
class Entry:
    """What the final runs of one candidate are drawn from.

    Attributes:
        candidate: The candidate.
        log_loss: The logarithm of its true loss.
        divergence: The probability that a run diverges.
        tuning: ``{learning rate: mean monitor}`` of its trials; empty in a sweep.
        tuned: The mean monitor of its best trial, of which all runs finished; infinite in a sweep.
        trials: The number of trials of a candidate that the study gave up, since all diverged.
    """

    candidate: Candidate
    log_loss: float
    divergence: float
    tuning: Mapping[float, float]
    tuned: float = math.inf
    trials: int = 0


def studies(cell: Cell, count: int, seed: int = 0) -> Iterator[Evidence]:
    """Yield the evidence of simulated studies.

    Args:
        cell: Their truth.
        count: The number of studies.
        seed: The seed of their random numbers.
    """
    noise = Noise(cell, seed)
    twins = len(cell.methods) if cell.twins else 0
    for first in range(0, count, CHUNK):
        chunk = min(CHUNK, count - first)
        runs = noise.runs(chunk, len(cell.candidates) + twins, cell.seeds)
        for study in range(chunk):
            entries = _sweep(cell) if cell.tuning is None else _tuned(cell, cell.tuning, noise)
            yield _evidence(cell, entries, *(numbers[study] for numbers in runs))


def _sweep(cell: Cell) -> list[Entry]:
    """Return what the runs of a sweep are drawn from."""
    entries = [
        Entry(c, math.log1p(cell.changes[c.name]), cell.divergence, {}) for c in cell.candidates
    ]
    if cell.twins:
        entries += [
            Entry(
                Candidate(f"{c.name} frozen", "twin", (), twin_of=c.name),
                math.log1p(cell.twin_change(c.name)),
                cell.divergence,
                {},
            )
            for c in cell.candidates
            if c.role == "strategy"
        ]
    return entries


def _tuned(cell: Cell, curve: Curve, noise: Noise) -> list[Entry]:
    """Return what the final runs of a study are drawn from, once the protocol has tuned all."""
    best_rates = dict(
        zip(
            cell.changes,
            noise.random.uniform(-SPREAD, SPREAD, len(cell.changes)).tolist(),
            strict=True,
        )
    )
    plan = Plan(lr=1.0, seeds=cell.seeds, tuning_seeds=TUNING_SEEDS)
    answers = _Answers(cell, curve, noise, plan, best_rates)
    weights = WEIGHTS if cell.twins else None
    rounds = Protocol(plan, cell.candidates, lambda _: weights).rounds()
    entries: dict[str, Entry] = {}
    monitors: Sequence[float] | None = None
    while True:
        try:
            runs = next(rounds) if monitors is None else rounds.send(monitors)
        except StopIteration:
            return [
                entries.pop(c.name, None) or Entry(c, math.nan, 1.0, {}, trials=answers.count(c))
                for c in cell.candidates
            ] + list(entries.values())
        if runs[0].final:
            for run in runs:
                if run.candidate.name not in entries:
                    entries[run.candidate.name] = answers.entry(run)
            monitors = [0.0] * len(runs)
        else:
            monitors = answers.monitors(runs)


class _Answers:
    """The numbers that the runs of one study's protocol give."""

    def __init__(
        self,
        cell: Cell,
        curve: Curve,
        noise: Noise,
        plan: Plan,
        best_rates: Mapping[str, float],
    ) -> None:
        self.cell, self.curve, self.noise = cell, curve, noise
        self.best_rates = best_rates
        self.per_decade = plan.per_decade
        self.common: dict[int, float] = {}
        self.trials: dict[str, dict[tuple[float, tuple[str, ...]], list[float]]] = {}

    def truth(self, runs: Sequence[PlannedRun]) -> tuple[Array, Array]:
        """Return the logarithm of the true loss and the probability of divergence of runs."""
        names = [run.candidate.twin_of or run.candidate.name for run in runs]
        rates = np.log10([run.lr for run in runs])
        decades = rates - np.array([self.best_rates[name] for name in names])
        changes = [
            self.cell.twin_change(name) if run.candidate.twin_of else self.cell.changes[name]
            for run, name in zip(runs, names, strict=True)
        ]
        log_losses = np.log1p(changes) + self.curve.excess(decades * self.per_decade)
        stable = (1 - self.cell.divergence) * (1 - self.curve.divergence(decades))
        return log_losses, 1 - stable

    def monitors(self, runs: Sequence[PlannedRun]) -> list[float]:
        """Return the monitors of tuning runs; infinite where they diverged."""
        log_losses, divergence = self.truth(runs)
        for seed in {run.seed for run in runs} - set(self.common):
            self.common[seed] = float(self.noise.standard((1,))[0])
        common = np.array([self.common[run.seed] for run in runs])
        rho = self.cell.correlation
        noise = math.sqrt(rho) * common + math.sqrt(1 - rho) * self.noise.standard((len(runs),))
        values = BASE * np.exp(log_losses + self.cell.variation * noise)
        values[self.noise.random.random(len(runs)) < divergence] = math.inf
        monitors: list[float] = values.tolist()
        for run, monitor in zip(runs, monitors, strict=True):
            trials = self.trials.setdefault(run.candidate.name, {})
            trials.setdefault((run.lr, run.extra_overrides), []).append(monitor)
        return monitors

    def count(self, candidate: Candidate) -> int:
        """Return the number of trials of a candidate."""
        return sum(map(len, self.trials[candidate.name].values()))

    def entry(self, run: PlannedRun) -> Entry:
        """Return what the final runs of a candidate are drawn from."""
        (log_loss,), (divergence,) = self.truth([run])
        tuning: dict[float, float] = {}
        tuned = math.inf
        for (rate, _), monitors in sorted(self.trials.get(run.candidate.name, {}).items()):
            finite = [monitor for monitor in monitors if math.isfinite(monitor)]
            if finite:
                mean = sum(finite) / len(finite)
                tuning[rate] = min(mean, tuning.get(rate, math.inf))
                tuned = min(tuned, mean) if len(finite) == len(monitors) else tuned
        return Entry(run.candidate, float(log_loss), float(divergence), tuning, tuned)


def _evidence(
    cell: Cell, entries: Sequence[Entry], test: Array, validation: Array, uniform: Array
) -> Evidence:
    """Return the evidence of one study."""
    count = len(entries)
    base = np.array([entry.log_loss for entry in entries])[:, None] + math.log(BASE)
    failed = uniform[:count] < np.array([entry.divergence for entry in entries])[:, None]
    losses = np.exp(base + test[:count]).tolist()
    monitors = np.exp(base + validation[:count]).tolist()
    strategies = tuple(
        _strategy(entry, *numbers, cell.settings(entry.candidate))
        for entry, *numbers in zip(entries, losses, monitors, failed.tolist(), strict=True)
    )
    margin = None if cell.tuning is None else MARGIN
    return Evidence("final", "test", (DatasetEvidence("d", TASKS, strategies, margin),))


def _strategy(
    entry: Entry,
    losses: Sequence[float],
    monitors: Sequence[float],
    failed: Sequence[bool],
    settings: tuple[tuple[str, str], ...],
) -> StrategyEvidence:
    """Return the evidence of one strategy."""
    candidate = entry.candidate
    if entry.trials:
        failures = {f"trial {i}": "diverged" for i in range(entry.trials)}
        return StrategyEvidence(
            candidate.name,
            candidate.role,
            failures=failures,
            trials=entry.trials,
            settings=settings,
        )
    values = {}
    relative_loss, monitor = {}, {}
    for seed, (loss, seen, diverged) in enumerate(zip(losses, monitors, failed, strict=True)):
        if not diverged:
            replicate = f"seed={seed}"
            metrics = {"rmse": loss, "relative_loss": loss}
            values[replicate] = {"a": metrics, "b": metrics}
            relative_loss[replicate], monitor[replicate] = loss, seen
    return StrategyEvidence(
        name=candidate.name,
        role=candidate.role,
        twin_of=candidate.twin_of,
        values=values,
        recorded=values,
        relative_loss=relative_loss,
        monitor=monitor,
        failures={f"seed={seed}": "diverged" for seed, bad in enumerate(failed) if bad},
        tuning=entry.tuning,
        tuned=entry.tuned,
        settings=settings,
    )
