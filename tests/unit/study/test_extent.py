"""How many runs a study says that it takes, against how many it takes."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from mtl_runner.study import Candidate, Plan, Protocol
from mtl_runner.study.extent import Extent, announcement, detectable
from tests.support.builders import QUICK

CANDIDATES = [
    Candidate("equal", "equal", ("weighting=fixed",)),
    Candidate("single_task", "single_task", ("weighting=single_task",)),
    Candidate("dwa", "strategy", ("weighting=dwa",), ("weighting.temperature", ("1", "5"))),
    Candidate("famo", "strategy", ("weighting=famo",)),
    Candidate("fixed a=2", "fixed", ("weighting=fixed", "weighting.weights.a=2")),
]


@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(2, 4), st.booleans())
@QUICK
def test_the_runs_of_a_study_are_within_what_it_said(
    chance: int, extensions: int, seeds: int, twins: bool
) -> None:
    """Breaks if the plan, or what is left at any round, is not what happens."""
    tuning = {"per_decade": 1, "extensions": extensions, "tuning_seeds": 1 + chance % 3}
    plan = Plan(lr=1e-3, seeds=seeds, **tuning)
    extent = Extent(plan, len(CANDIDATES), strategies=2, tasks=3)
    draw = random.Random(chance)
    protocol = Protocol(
        plan,
        CANDIDATES,
        lambda strategy: {"a": 0.5, "b": 2.0} if twins and strategy.name == "dwa" else None,
        lambda _: [1e-3, 1e-2][: draw.choice((1, 2))],
    )
    rounds = protocol.rounds()
    sizes, announced, extended = [], [], 0
    runs = next(rounds)
    while True:
        extended += runs[0].phase == 2
        sizes.append(len(runs))
        announced.append(extent.after(runs[0].phase, extended))
        try:
            runs = rounds.send([draw.random() for _ in runs])
        except StopIteration:
            break
    assert extent.least <= sum(sizes) <= extent.most
    for k, (least, most) in enumerate(announced):
        assert least <= sum(sizes[k + 1 :]) <= most
    assert announced[-1][0] == 0


def test_the_plan_says_singular_and_plural() -> None:
    """Breaks if a study begins with '1 strategies' or 'about 1 minutes'."""
    plan = Plan(lr=1e-3, seeds=2, per_decade=1, extensions=0)
    roles = ("equal", "single_task", "strategy", "fixed")
    candidates = [Candidate(role, role, ()) for role in roles]
    lines = announcement(candidates, Extent(plan, 4, 1, 2), 1, "last epoch").splitlines()
    assert lines[:3] == [
        "study: 1 strategy, equal weights, the single-task baseline and 1 fixed weighting; for each at least 5 trials, then 2 fresh seeds.",
        "study: 28 to 37 runs, of 1 step each, judged at their last epoch.",
        "study: 11 s or more with a small model, one run after another; a fraction of that in stacks, more with a large model: the second round says how much is left.",
    ]
    extended = Extent(Plan(lr=1e-3, seeds=2, per_decade=1, extensions=2), 4, 1, 2)
    text = announcement(candidates, extended, 150_000, "best evaluation")
    assert "28 to 37 runs, and up to 10 more if a best learning rate lies on the edge" in text
    seeded = Extent(Plan(lr=1e-3, tuning_seeds=3), 4, 1, 2)
    assert "at least 9 trials of 3 seeds, then 10 fresh" in announcement(candidates, seeded, 9, "")
    assert "37 min or more with a small model" in text


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_a_detectable_difference_is_found_four_times_in_five(seeds: int) -> None:
    """Breaks if a study promises to see what it does not see."""
    draws = np.random.default_rng(0).normal(detectable(seeds), 1, (20_000, seeds))
    width = t.ppf(0.975, seeds - 1) * draws.std(axis=1, ddof=1) / math.sqrt(seeds)
    assert (draws.mean(axis=1) > width).mean() == pytest.approx(0.8, abs=0.05)
