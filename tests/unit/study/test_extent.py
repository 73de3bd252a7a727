"""How many runs a study says that it takes, against how many it takes."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from mtl_runner.study import Candidate, Plan, Protocol
from mtl_runner.study.extent import Extent, announcement, detectable, needed_seeds, precision
from tests.support.builders import QUICK

CANDIDATES = [
    Candidate("equal", "equal", ("weighting=fixed",)),
    Candidate("single_task", "single_task", ("weighting=single_task",)),
    Candidate("dwa", "strategy", ("weighting=dwa",), ("weighting.temperature", ("1", "5"))),
    Candidate("famo", "strategy", ("weighting=famo",)),
    Candidate("fixed a=2", "fixed", ("weighting=fixed", "weighting.weights.a=2")),
]


@given(
    st.integers(0, 10**6), st.integers(0, 3), st.integers(2, 4), st.booleans(), st.integers(0, 2)
)
@QUICK
def test_the_runs_of_a_study_are_within_what_it_said(
    chance: int, extensions: int, seeds: int, twins: bool, options: int
) -> None:
    """Breaks if the plan, or what is left at any round, is not what happens."""
    tuning = {"per_decade": 1, "extensions": extensions, "tuning_seeds": 1 + chance % 3}
    axis = (("optimizer.weight_decay", ("0.1", "1")), ("model.dropout", ("0.2",)))
    plan = Plan(lr=1e-3, seeds=seeds, regularisation=axis[:options], **tuning)
    extent = Extent(plan, len(CANDIDATES), strategies=2, tasks=3)
    draw = random.Random(chance)
    protocol = Protocol(
        plan,
        CANDIDATES,
        lambda strategy: {"a": 0.5, "b": 2.0} if twins and strategy.name == "dwa" else None,
        lambda _: [(1e-3, ()), (1e-2, ())][: draw.choice((1, 2))],
    )
    rounds = protocol.rounds()
    sizes, announced = [], []
    rounds_of: Counter[int] = Counter()
    runs = next(rounds)
    while True:
        phase = runs[0].phase
        rounds_of[phase] += 1
        sizes.append(len(runs))
        announced.append(extent.after(phase, rounds_of[phase]))
        try:
            runs = rounds.send([draw.random() for _ in runs])
        except StopIteration:
            break
    assert extent.least <= sum(sizes) <= extent.most
    for k, (least, most) in enumerate(announced):
        assert least <= sum(sizes[k + 1 :]) <= most
    assert announced[-1][0] == 0


@given(st.integers(1, 6), st.integers(0, 3))
@QUICK
def test_groups_multiply_the_runs(groups: int, extensions: int) -> None:
    """Breaks if a study of two optimizers announces the runs of one, or forgets those to come."""
    plan = Plan(lr=1e-3, seeds=2, per_decade=1, extensions=extensions)
    one, all_of_them = Extent(plan, 7, 2, 2), Extent(plan, 7, 2, 2, groups)
    for number in ("least", "most_without_extension", "most"):
        assert getattr(all_of_them, number) == groups * getattr(one, number)
    least, most = all_of_them.after(4, 1, groups - 1)
    assert least == (groups - 1) * one.least
    assert most == one.after(4)[1] + (groups - 1) * one.most


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


def test_seeds_are_as_many_as_the_noise_of_the_tuning_asks_for() -> None:
    """Breaks if a quiet problem gets 20 seeds, a noisy one 5, or an unknown one none."""
    counts = [needed_seeds(noise, 0.02) for noise in (1e-4, 0.01, 0.02, 0.03, 1.0)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (5, 20)
    assert needed_seeds(math.nan, 0.02) == 10
    n = needed_seeds(0.015, 0.02)
    assert detectable(n) * 0.015 <= math.log1p(0.02) < detectable(n - 1) * 0.015


def test_the_plan_names_its_groups() -> None:
    """Breaks if a user does not learn that factors multiply the runs."""
    candidates = [Candidate(role, role, ()) for role in ("equal", "strategy")]
    extent = Extent(Plan(lr=1e-3), 2, 1, 2, 2)
    names = ("optimizer=adam", "optimizer=sgd")
    lines = announcement(candidates, extent, 9, "last epoch", names).splitlines()
    assert lines[1] == (
        "study: all that 2 times, each tuned and judged by itself: optimizer=adam; optimizer=sgd."
    )
    assert lines[2].startswith(f"study: {extent.least} to {extent.most_without_extension} runs")


def test_a_study_says_what_its_seeds_can_settle() -> None:
    """Breaks if a study begins its final runs without a word on what they can show."""
    assert precision(0.02, 0.02, 10) == (
        "study: in the tuning, differences between strategies varied by 2 % over seeds (standard deviation); "
        "10 fresh seeds will see one of 4 % four times in five."
    )
    assert precision(math.nan, 0.02, 10) == ""


def test_the_plan_says_how_the_data_are_split() -> None:
    """Breaks if a user does not learn that every seed has its own split, or how many there are."""
    candidates = [Candidate(role, role, ()) for role in ("equal", "strategy")]

    def lines(**plan: int) -> list[str]:
        extent = Extent(Plan(lr=1e-3, **plan), 2, 1, 2)
        return announcement(candidates, extent, 9, "last epoch").splitlines()

    def first_line(**plan: int) -> str:
        return lines(**plan)[0]

    assert first_line(splits=10).endswith("10 fresh seeds, each with its own split of the data.")
    assert first_line(splits=4).endswith("10 fresh seeds over 4 splits of the data.")
    assert first_line(seeds=20, least_seeds=5).endswith("then 5 to 20 fresh seeds.")
    seen = (
        "study: with 5 to 20 seeds a difference beyond the margin of 1.7 to 0.7 standard deviations"
    )
    assert lines(seeds=20, least_seeds=5)[-1].startswith(seen)
