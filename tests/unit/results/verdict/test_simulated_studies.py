"""How often chance alone gets a verdict, in simulated studies whose truth is known.

A study is fabricated, nothing is trained: per seed and strategy a mean relative loss, the monitor
of the same run beside it, and whether the run diverged.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.verdict.judge import verdicts
from tests.unit.results.evidence_builders import evidence_of, strategy

STUDIES = 2000
QUICK_STUDIES = 40
Z = 3.1  # standard deviations of chance that a share of studies may lie above its bound


@dataclass(frozen=True)
class Truth:
    """The truth behind the simulated studies of one cell.

    Attributes:
        methods: The true difference of each method to equal weights, in percent.
        fixed: The number of fixed weights, all as good as equal ones.
        noise: The standard deviation of a run, in percent.
        seeds: The number of seeds.
        divergence: The probability that a run diverges, the same for all.
        correlation: Between the loss that is judged and the monitor, of the same run.
        rates: The number of learning rates, all as good as each other.
    """

    methods: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    fixed: int = 11
    noise: float = 3.0
    seeds: int = 10
    divergence: float = 0.0
    correlation: float = 0.9
    rates: int = 1


def simulated(truth: Truth, random: np.random.Generator) -> list[StrategyEvidence]:
    """Return the evidence of one study."""
    names = [("equal", "equal", 0.0)]
    names += [(f"fixed {i}", "fixed", 0.0) for i in range(truth.fixed)]
    names += [(f"method {i}", "strategy", change) for i, change in enumerate(truth.methods)]
    shared = random.normal(0, 10, truth.seeds)  # every strategy has the same seeds
    return [
        simulated_strategy(truth, f"{name} {rate}", role, change, shared, rate, random)
        for rate in range(truth.rates)
        for name, role, change in names
    ]


def simulated_strategy(
    truth: Truth,
    name: str,
    role: str,
    change: float,
    shared: np.ndarray,
    rate: int,
    random: np.random.Generator,
) -> StrategyEvidence:
    """Return one strategy: a loss, a monitor and an end for every seed."""
    noise, independent = random.normal(size=(2, truth.seeds))
    monitor = truth.correlation * noise + math.sqrt(1 - truth.correlation**2) * independent
    logs = (shared + change + truth.noise * noise) / 100
    seen = (shared + change + truth.noise * monitor) / 100
    failed = np.flatnonzero(random.random(truth.seeds) < truth.divergence)
    values = {
        f"seed={seed}": {
            task: {"rmse": math.exp(log), "loss": math.exp(log), "relative_loss": math.exp(log)}
            for task in "ab"
        }
        for seed, log in enumerate(logs)
        if seed not in failed
    }
    return strategy(
        name,
        role,
        values=values,
        seeds=truth.seeds,
        failed=failed.tolist(),
        monitor={f"seed={s}": math.exp(m) for s, m in enumerate(seen) if s not in failed},
        settings=(("optimizer.lr", str(rate)),),
    )


def kinds(truth: Truth, studies: int) -> Counter[str]:
    """Return in how many studies each kind of verdict is given to any strategy."""
    random = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for _ in range(studies):
        counts.update({v.kind for v in verdicts(evidence_of(*simulated(truth, random)))})
    return counts


def assert_at_most(share: float, kind: str, truth: Truth, studies: int) -> None:
    """Assert that a kind of verdict is not given in a larger share of studies, chance aside."""
    measured = kinds(truth, studies)[kind] / studies
    chance = Z * math.sqrt(share * (1 - share) / studies) if studies < STUDIES else 0.0
    assert measured <= share + chance, f"{kind} in {100 * measured:.2g} % of {studies} studies"


HURT_BY_CHANCE = [
    Truth(noise=10, fixed=3),
    Truth(noise=10, fixed=3, divergence=0.2),
    Truth(noise=1, fixed=3, divergence=0.2),
    Truth(noise=10, fixed=3, divergence=0.5),
    Truth(noise=1, fixed=3, divergence=0.5, seeds=20),
    Truth(methods=(0.0, 0.0), noise=10, fixed=0, rates=3),
    Truth(methods=(0.0, 0.0), noise=10, fixed=0, rates=3, divergence=0.2),
]
# Methods that are better than equal weights, while the fixed weights are not.
BETTER_METHODS = [
    Truth(methods=(change,) * 3, noise=noise, fixed=fixed)
    for change, noise, fixed in ((-3.0, 3.0, 11), (-5.0, 3.0, 11), (-8.0, 8.0, 11), (0.0, 8.0, 11))
]


@pytest.mark.parametrize("truth", [HURT_BY_CHANCE[2], HURT_BY_CHANCE[5]])
def test_chance_seldom_hurts(truth: Truth) -> None:
    """Breaks if what happens to all strategies alike is held against some."""
    assert_at_most(0.05, "hurts", truth, QUICK_STUDIES)


def test_static_weights_seldom_suffice_where_they_are_no_better() -> None:
    """Breaks if constants that are as bad as equal weights are said to do what a method does."""
    assert_at_most(0.01, "static weights suffice", BETTER_METHODS[1], QUICK_STUDIES)


@pytest.mark.long
@pytest.mark.parametrize("truth", HURT_BY_CHANCE, ids=str)
def test_chance_hurts_in_at_most_five_percent_of_studies(truth: Truth) -> None:
    """Breaks if divergence, noise or a choice of learning rate alike for all condemns one."""
    assert_at_most(0.05, "hurts", truth, STUDIES)


@pytest.mark.long
@pytest.mark.parametrize("truth", BETTER_METHODS, ids=str)
def test_static_weights_suffice_by_chance_in_at_most_one_percent(truth: Truth) -> None:
    """Breaks if what was not shown to be better is said to be no better."""
    assert_at_most(0.01, "static weights suffice", truth, STUDIES)
