"""The tuning of one candidate: its trials, the settings they choose, and which rates come next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

from mtl_runner.study.smoothing import smoothed_choice

# A setting is unstable if the monitor of one seed is so many times that of another.
UNSTABLE = 2.0


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
class Tuning:
    """The trials of one candidate so far.

    Attributes:
        per_decade: Learning rates per factor of 10 of the grid.
        trials: The trials, in their order.

    Example:
        >>> tuning = Tuning(1, [Trial(0.01, (), (0.5,)), Trial(0.1, (), (0.4,))])
        >>> tuning.best.lr, tuning.edge, tuning.next_rate()
        (0.1, 1, 1.0)
    """

    per_decade: int
    trials: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Trial:
        """The best trial: of those that did not diverge, that with the least monitor."""
        return min(self.trials, key=lambda trial: (trial.diverged, trial.monitor))

    @property
    def settled(self) -> Trial:
        """The settings of the final runs: the best trial's, off the edge of divergence.

        Its learning rate is that whose monitor is best when smoothed over neighbouring ones, so
        that one lucky trial does not choose it. Where it or the next larger learning rate is
        unstable, other seeds may diverge, so the learning rate is half a step of the grid lower.
        (The next smaller one that was tried would be a whole step for some candidates and less for
        others, which is a real difference.)
        """
        best = self._smoothed_best()
        larger = self._next_larger(best)
        if best.is_unstable or (larger is not None and larger.is_unstable):
            return replace(best, lr=best.lr / 10 ** (0.5 / self.per_decade))
        return best

    @property
    def edge(self) -> int:
        """-1 or 1 if the best learning rate is the least or largest one tried, else 0."""
        rates, best = sorted({trial.lr for trial in self.trials}), self.best
        if not math.isfinite(best.monitor):
            return 0
        return -1 if best.lr == rates[0] else 1 if best.lr == rates[-1] else 0

    def next_rate(self) -> float:
        """Return the next learning rate to try: outwards from an edge, or else a middle."""
        if self.edge:
            return float(self.best.lr * 10 ** (self.edge / self.per_decade))
        return self._middle_rate(set())

    def last_rates(self) -> tuple[float, float]:
        """Return the two learning rates that are tried last."""
        first = self._middle_rate(set())
        return first, self._middle_rate({first})

    def _smoothed_best(self) -> Trial:
        """Return the best trial with the learning rate that smoothed monitors choose."""
        best = self.best
        if best.diverged:
            return best
        trials = [trial for trial in self._beside(best) if not trial.diverged]
        chosen = trials[smoothed_choice([t.lr for t in trials], [t.monitor for t in trials])]
        if chosen.lr == best.lr:
            return best
        return replace(best, lr=chosen.lr, by_seed=chosen.by_seed)

    def _next_larger(self, trial: Trial) -> Trial | None:
        """Return the trial at the next larger learning rate; None at the end."""
        larger = [t for t in self._beside(trial) if t.lr > trial.lr]
        return min(larger, key=lambda t: t.lr, default=None)

    def _beside(self, trial: Trial) -> list[Trial]:
        """Return the trials with the same options as one, and those without any.

        The values of a knob are tried at one rate only, so the trials without one count, too.
        """
        return [t for t in self.trials if t.extra_overrides in (trial.extra_overrides, ())]

    def _middle_rate(self, taken: set[float]) -> float:
        """Return the geometric mean of the best learning rate and its better neighbour.

        If that is taken, it is the mean with the other neighbour; at an edge, where there is no
        other one, the next learning rate outwards.
        """
        monitors: dict[float, float] = {}
        for trial in self.trials:
            monitors[trial.lr] = min(trial.monitor, monitors.get(trial.lr, math.inf))
        rates, best = sorted(monitors), self.best.lr
        index = rates.index(best)
        neighbours = sorted(
            [rates[i] for i in (index - 1, index + 1) if 0 <= i < len(rates)],
            key=lambda rate: monitors[rate],
        )
        for neighbour in neighbours:
            middle = math.sqrt(best * neighbour)
            if middle not in taken:
                return middle
        step = 10 ** (1 / self.per_decade)
        return best * step if index else best / step
