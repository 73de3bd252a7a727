"""The protocol of a fair study: everybody is tuned alike, and nothing is chosen on what it is judged by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study import Candidate, Plan, PlannedRun, Protocol
from mtl_runner.study.weights import fixed_candidates, shares
from tests.support.builders import QUICK

EQUAL = Candidate("equal", "equal", ("weighting=fixed",))
DWA = Candidate("dwa", "strategy", ("weighting=dwa",), knob=("weighting.temperature", ("1", "5")))
FAMO = Candidate("famo", "strategy", ("weighting=famo",))
PLAN = Plan(lr=1e-3, seeds=4)
Monitor = Callable[[PlannedRun], float]


def played(protocol: Protocol, monitor: Monitor) -> list[list[PlannedRun]]:
    """All rounds, with what each run would have said."""
    rounds = protocol.rounds()
    found: list[list[PlannedRun]] = []
    values: Sequence[float] | None = None
    while True:
        try:
            jobs = next(rounds) if values is None else rounds.send(values)
        except StopIteration:
            return found
        found.append(jobs)
        values = [monitor(job) for job in jobs]


def valley(best: float) -> Monitor:
    """A monitor whose only concern is how far the learning rate is from the best one."""
    return lambda job: abs(math.log10(job.lr / best))


def study(
    *candidates: Candidate,
    plan: Plan = PLAN,
    weights: dict[str, float] | None = None,
    **given: object,
) -> Protocol:
    return Protocol(plan, candidates, lambda _: weights, **given)  # type: ignore[arg-type]


def test_the_grid_has_three_points_per_decade_over_two_decades() -> None:
    """Breaks if learning rates are too sparse: a sparse grid alone makes one strategy look better (Gama & Grassi 2025)."""
    assert PLAN.grid == pytest.approx(
        [1e-4, 2.154e-4, 4.642e-4, 1e-3, 2.154e-3, 4.642e-3, 1e-2], rel=1e-3
    )


@given(st.floats(-6, 1), st.integers(0, 4))
@QUICK
def test_all_have_the_same_number_of_trials_wherever_their_best_lies(
    best: float, extensions: int
) -> None:
    """Breaks if a strategy that is extended is tuned longer than the others."""
    plan = Plan(lr=1e-3, seeds=2, extensions=extensions)
    monitors = {"equal": valley(1e-3), "dwa": valley(10**best), "famo": valley(3e-3)}
    rounds = played(
        study(EQUAL, DWA, FAMO, plan=plan), lambda job: monitors[job.candidate.name](job)
    )
    counts = Counter(job.candidate.name for jobs in rounds for job in jobs if not job.final)
    assert len(set(counts.values())) == 1
    assert counts["dwa"] >= plan.least_trials
    assert len(
        {
            (job.candidate.name, job.lr, job.extra_overrides)
            for jobs in rounds
            for job in jobs
            if not job.final
        }
    ) == sum(counts.values()), "no trial is made twice"


def test_a_best_learning_rate_on_the_edge_is_followed_outwards() -> None:
    """Breaks if a grid that is too narrow decides for a strategy."""
    protocol = study(EQUAL, FAMO)
    rounds = played(protocol, lambda job: valley(4e-2 if job.candidate is FAMO else 1e-3)(job))
    tried = [job.lr for jobs in rounds for job in jobs if job.candidate is FAMO and job.phase == 2]
    assert tried[:2] == pytest.approx([10 ** (-2 + 1 / 3), 10 ** (-2 + 2 / 3)])
    assert protocol.best(FAMO).lr == pytest.approx(4e-2, rel=0.25)
    assert protocol.notes == []


def test_who_ends_on_the_edge_is_noted() -> None:
    """Breaks if a reader is not told that the tuning did not end."""
    protocol = study(EQUAL, FAMO, plan=Plan(lr=1e-3, seeds=2, extensions=1))
    played(protocol, lambda job: valley(1e3 if job.candidate is FAMO else 1e-3)(job))
    assert protocol.notes == [
        "The best learning rate of famo (0.0215) lies on the edge of what was tried."
    ]


def test_the_knob_is_tried_at_the_best_learning_rate() -> None:
    """Breaks if a strategy's main option stays at a default that does not suit the data, or is tried elsewhere."""
    protocol = study(EQUAL, DWA)
    rounds = played(
        protocol,
        lambda job: valley(1e-3)(job) - 0.5 * (job.extra_overrides == ("weighting.temperature=5",)),
    )
    trials = [
        (job.lr, job.extra_overrides)
        for jobs in rounds
        for job in jobs
        if job.candidate is DWA and job.phase == 3
    ]
    assert trials == [
        (pytest.approx(1e-3), ("weighting.temperature=1",)),
        (pytest.approx(1e-3), ("weighting.temperature=5",)),
    ]
    finals = [job for job in rounds[-1] if job.candidate is DWA]
    assert all(job.extra_overrides == ("weighting.temperature=5",) for job in finals)


def test_final_runs_have_fresh_seeds_and_the_same_for_all() -> None:
    """Breaks if a winner is judged on the seed that chose it, or the pairs do not share their seeds."""
    rounds = played(study(EQUAL, DWA, FAMO), valley(1e-3))
    tuned = {job.seed for jobs in rounds for job in jobs if not job.final}
    seeds = {
        c.name: [job.seed for job in rounds[-1] if job.candidate is c] for c in (EQUAL, DWA, FAMO)
    }
    assert seeds["equal"] == seeds["dwa"] == seeds["famo"]
    assert len(set(seeds["equal"])) == PLAN.seeds
    assert not tuned & set(seeds["equal"])


def test_a_twin_has_its_strategys_weights_learning_rate_and_seeds() -> None:
    """Breaks if the frozen twin differs from its strategy in anything but that its weights stand still."""
    rounds = played(study(EQUAL, DWA, weights={"a": 0.5, "b": 2.0}), valley(5e-3))
    twins, finals = rounds[-1], [job for job in rounds[-2] if job.candidate is DWA]
    assert {job.candidate.overrides for job in twins} == {
        ("weighting=fixed", "weighting.weights.a=0.5", "weighting.weights.b=2")
    }
    assert [(job.lr, job.seed) for job in twins] == [(job.lr, job.seed) for job in finals]
    assert {(job.candidate.role, job.candidate.of, job.final) for job in twins} == {
        ("twin", "dwa", True)
    }


def test_failed_trials_lose_and_who_fails_always_is_noted() -> None:
    """Breaks if a diverged run wins, or stops the study."""
    protocol = study(EQUAL, DWA, FAMO)
    fails = lambda job: job.candidate is FAMO or job.lr > 1e-3  # noqa: E731
    rounds = played(protocol, lambda job: math.nan if fails(job) else -job.lr)
    assert {job.candidate.name for job in rounds[-1]} == {"equal", "dwa"}
    assert all(job.lr <= 1e-3 for job in rounds[-1])
    assert "Every trial of famo failed." in protocol.notes


def test_no_extension_goes_beyond_the_budget() -> None:
    """Breaks if a study that was said to take so many runs takes more."""
    protocol = study(EQUAL, FAMO, within=lambda _: False)
    rounds = played(protocol, lambda job: valley(1e3)(job))
    assert all(job.phase != 2 for jobs in rounds for job in jobs)


# Fixed weights


def test_two_tasks_are_swept_from_one_end_to_the_other() -> None:
    """Breaks if the fixed weights that a strategy has to beat leave out the ends, where one task may need all."""
    found = shares(2, 11)
    assert [w for w, _ in found] == pytest.approx(
        [0.01, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.99]
    )
    assert all(a + b == pytest.approx(1) for a, b in found)


@given(st.integers(3, 6), st.integers(3, 20))
@QUICK
def test_more_tasks_get_as_many_points_spread_over_the_simplex(tasks: int, count: int) -> None:
    """Breaks if weights are negative, do not add up, or are the same again."""
    found = shares(tasks, count)
    assert len(found) == count
    assert all(min(row) > 0 and sum(row) == pytest.approx(1) for row in found)
    assert len({tuple(row) for row in found}) == count


def test_the_trivial_predictors_weights_make_its_losses_equal() -> None:
    """Breaks if the baseline that needs no tuning (weights 1/L of the trivial predictor) is missing or wrong."""
    (*_, last) = fixed_candidates(["a", "b"], {"a": 4.0, "b": 0.25}, 11)
    weights = dict(
        option.removeprefix("weighting.weights.").split("=") for option in last.overrides[1:]
    )
    assert 4.0 * float(weights["a"]) == pytest.approx(0.25 * float(weights["b"]), rel=1e-3)
    assert float(weights["a"]) + float(weights["b"]) == pytest.approx(2, rel=1e-3)


def test_shares_are_of_losses_on_a_common_scale() -> None:
    """Breaks if a sweep over losses that differ by a thousand never leaves the largest one."""
    for candidate in fixed_candidates(["a", "b"], {"a": 1000.0, "b": 1.0}, 3):
        weights = dict(
            option.removeprefix("weighting.weights.").split("=")
            for option in candidate.overrides[1:]
        )
        share = 1000 * float(weights["a"]) / (1000 * float(weights["a"]) + float(weights["b"]))
        assert min(abs(share - s) for s in (0.01, 0.5, 0.99)) < 1e-3


def test_single_tasks_run_at_their_own_best_learning_rates() -> None:
    """Breaks if one learning rate serves all single-task models, and everything is compared with a baseline that is not tuned."""
    single = Candidate("single_task", "single_task", ("weighting=single_task",))
    rounds = played(study(EQUAL, single, rates=lambda _: [1e-3, 1e-2]), valley(1e-3))
    finals = [
        (job.candidate.name, job.lr, job.seed)
        for job in rounds[-1]
        if job.candidate.role == "single_task"
    ]
    assert len(finals) == 2 * PLAN.seeds
    assert {name for name, _, _ in finals} == {"single_task, lr=0.001", "single_task, lr=0.01"}


def test_a_twin_keeps_what_its_strategy_has_beside_its_weights() -> None:
    """Breaks if the twins of two strategies that differ in their update are one and the same."""
    both = Candidate(
        "x", "strategy", ("weighting=uncertainty", "update=per_task", "model.hidden=[8]")
    )
    rounds = played(study(EQUAL, both, weights={"a": 1.0, "b": 2.0}), valley(1e-3))
    assert rounds[-1][0].candidate.overrides == (
        *("weighting=fixed", "weighting.weights.a=1", "weighting.weights.b=2"),
        *("update=per_task", "model.hidden=[8]"),
    )


def test_a_task_without_a_trivial_predictor_has_no_such_weights() -> None:
    """Breaks if a loss term stops the study."""
    assert len(fixed_candidates(["a", "b"], {"a": 4.0, "b": None}, 11)) == 10
    assert fixed_candidates(["a"], {"a": 1.0}, 11) == []
