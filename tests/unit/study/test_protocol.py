"""The protocol of a fair study: all are tuned the same, on data that does not judge them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study import Candidate, Plan, PlannedRun, Protocol
from tests.support.builders import QUICK

EQUAL = Candidate("equal", "equal", ("weighting=fixed",))
DWA = Candidate("dwa", "strategy", ("weighting=dwa",), knob=("weighting.temperature", ("1", "5")))
FAMO = Candidate("famo", "strategy", ("weighting=famo",))
PLAN = Plan(lr=1e-3, seeds=4)
Monitor = Callable[[PlannedRun], float]


def play(protocol: Protocol, monitor: Monitor) -> list[list[PlannedRun]]:
    """Return the runs of all rounds, if each run had the monitor that the function gives it."""
    rounds = protocol.rounds()
    played: list[list[PlannedRun]] = []
    monitors: Sequence[float] | None = None
    while True:
        try:
            runs = next(rounds) if monitors is None else rounds.send(monitors)
        except StopIteration:
            return played
        played.append(runs)
        monitors = [monitor(run) for run in runs]


def valley(best: float) -> Monitor:
    """Return a monitor that is the distance of the learning rate from the best one, in decades."""
    return lambda run: abs(math.log10(run.lr / best))


def study(
    *candidates: Candidate,
    plan: Plan = PLAN,
    weights: dict[str, float] | None = None,
    **options: object,
) -> Protocol:
    """Return a protocol for these candidates; every strategy has the same average weights."""
    return Protocol(plan, candidates, lambda _: weights, **options)  # type: ignore[arg-type]


@given(st.floats(-6, 1), st.integers(0, 4))
@QUICK
def test_all_have_the_same_number_of_trials_wherever_their_best_lies(
    best: float, extensions: int
) -> None:
    """Breaks if a strategy that is extended is tuned longer than the others."""
    plan = Plan(lr=1e-3, seeds=2, extensions=extensions)
    monitors = {"equal": valley(1e-3), "dwa": valley(10**best), "famo": valley(3e-3)}
    rounds = play(study(EQUAL, DWA, FAMO, plan=plan), lambda run: monitors[run.candidate.name](run))
    counts = Counter(run.candidate.name for runs in rounds for run in runs if not run.final)
    assert len(set(counts.values())) == 1
    assert counts["dwa"] >= plan.least_trials
    assert len(
        {
            (run.candidate.name, run.lr, run.extra_overrides)
            for runs in rounds
            for run in runs
            if not run.final
        }
    ) == sum(counts.values()), "no trial is made twice"


def test_a_best_learning_rate_on_the_edge_is_followed_outwards() -> None:
    """Breaks if a grid that is too narrow decides for a strategy."""
    protocol = study(EQUAL, FAMO)
    rounds = play(protocol, lambda run: valley(4e-2 if run.candidate is FAMO else 1e-3)(run))
    tried = [run.lr for runs in rounds for run in runs if run.candidate is FAMO and run.phase == 2]
    assert tried[:2] == pytest.approx([10 ** (-2 + 1 / 3), 10 ** (-2 + 2 / 3)])
    assert protocol.best(FAMO).lr == pytest.approx(4e-2, rel=0.25)
    assert protocol.notes == []


def test_a_candidate_that_ends_on_the_edge_is_noted() -> None:
    """Breaks if a reader is not told that the tuning did not end."""
    protocol = study(EQUAL, FAMO, plan=Plan(lr=1e-3, seeds=2, extensions=1))
    play(protocol, lambda run: valley(1e3 if run.candidate is FAMO else 1e-3)(run))
    assert protocol.notes == [
        "The best learning rate of famo (0.0215) lies on the edge of what was tried."
    ]


def test_the_knob_is_tried_at_the_best_learning_rate() -> None:
    """Breaks if a strategy's main option stays at its default, or is tried at another rate."""
    protocol = study(EQUAL, DWA)
    rounds = play(
        protocol,
        lambda run: valley(1e-3)(run) - 0.5 * (run.extra_overrides == ("weighting.temperature=5",)),
    )
    trials = [
        (run.lr, run.extra_overrides)
        for runs in rounds
        for run in runs
        if run.candidate is DWA and run.phase == 3
    ]
    assert trials == [
        (pytest.approx(1e-3), ("weighting.temperature=1",)),
        (pytest.approx(1e-3), ("weighting.temperature=5",)),
    ]
    finals = [run for run in rounds[-1] if run.candidate is DWA]
    assert all(run.extra_overrides == ("weighting.temperature=5",) for run in finals)


def test_final_runs_have_fresh_seeds_and_the_same_for_all() -> None:
    """Breaks if a winner is judged on the seed that chose it, or pairs do not share their seeds."""
    rounds = play(study(EQUAL, DWA, FAMO), valley(1e-3))
    tuned = {run.seed for runs in rounds for run in runs if not run.final}
    seeds = {
        c.name: [run.seed for run in rounds[-1] if run.candidate is c] for c in (EQUAL, DWA, FAMO)
    }
    assert seeds["equal"] == seeds["dwa"] == seeds["famo"]
    assert len(set(seeds["equal"])) == PLAN.seeds
    assert not tuned & set(seeds["equal"])


def test_a_twin_has_its_strategys_weights_and_is_tuned_as_everything_else() -> None:
    """Breaks if the frozen twin is held to the learning rate of moving weights, or to one trial."""
    weights = {"a": 0.5, "b": 2.0}
    rounds = play(
        study(EQUAL, DWA, weights=weights),
        lambda run: valley(3e-2 if run.candidate.role == "twin" else 1e-3)(run),
    )
    twins, finals = rounds[-1], [r for runs in rounds for r in runs if r.phase == 4]
    assert {run.candidate.overrides for run in twins} == {
        ("weighting=fixed", "weighting.weights.a=0.5", "weighting.weights.b=2")
    }
    assert [run.seed for run in twins] == [r.seed for r in finals if r.candidate is DWA]
    assert {(run.candidate.role, run.candidate.twin_of, run.final) for run in twins} == {
        ("twin", "dwa", True)
    }
    assert twins[0].lr == pytest.approx(3e-2, rel=0.3)
    tuned = [r for runs in rounds for r in runs if r.candidate.role == "twin" and not r.final]
    assert len(tuned) >= PLAN.least_trials
    assert {run.phase for run in tuned} == {7, 8}


def test_a_trial_is_judged_by_the_mean_over_its_seeds() -> None:
    """Breaks if one lucky seed chooses the learning rate."""
    plan = Plan(lr=1e-3, seeds=2, tuning_seeds=3)
    lucky = {0: -0.9, 1000: 0.3, 2000: 0.3}
    protocol = study(EQUAL, plan=plan)
    rounds = play(
        protocol,
        lambda run: (
            1.5 + valley(1e-3)(run) + (lucky[run.seed] if run.lr > 5e-3 else 0.0)
            if not run.final
            else 1.0
        ),
    )
    seeds = {run.seed for runs in rounds for run in runs if not run.final}
    assert seeds == {0, 1000, 2000}
    assert protocol.best(EQUAL).lr == pytest.approx(1e-3)
    assert protocol.best(EQUAL).monitor == pytest.approx(1.5)


@pytest.mark.parametrize(("unlucky", "seeds"), [(math.nan, 2), (5.0, 1)])
def test_final_runs_stay_off_the_edge_of_divergence(unlucky: float, seeds: int) -> None:
    """Breaks if a rate is used whose neighbour diverges or scatters, or one is moved for less."""
    plan = Plan(lr=1e-3, seeds=2, tuning_seeds=3, extensions=0)

    def monitor(run: PlannedRun) -> float:
        if run.lr > 1.2e-3 and not run.final and run.seed < 1000 * seeds:
            return unlucky
        return 1.0 + valley(1e-3)(run)

    protocol = study(EQUAL, plan=plan)
    finals = play(protocol, monitor)[-1]
    assert protocol.best(EQUAL).lr == pytest.approx(1e-3)
    assert [run.lr for run in finals] == pytest.approx([1e-3 / 10 ** (1 / 6)] * 2)

    def one_failure(run: PlannedRun) -> float:
        failed = run.lr > 1.2e-3 and run.seed == 0
        return math.nan if failed else 1.0 + valley(1e-3)(run)

    finals = play(study(EQUAL, plan=plan), one_failure)[-1]
    assert [run.lr for run in finals] == pytest.approx([1e-3] * 2)


def test_one_failed_seed_of_three_does_not_move_the_choice() -> None:
    """Breaks if runs that diverge at random everywhere drive strategies to poor learning rates."""
    protocol = study(EQUAL, plan=Plan(lr=1e-3, seeds=2, tuning_seeds=3))
    at_best = lambda run: run.lr == pytest.approx(1e-3) and run.seed == 0  # noqa: E731
    play(protocol, lambda run: math.nan if at_best(run) else 1.0 + valley(1e-3)(run))
    assert protocol.best(EQUAL).lr == pytest.approx(1e-3)


def test_every_fresh_seed_has_a_split_of_its_own_and_the_same_for_all() -> None:
    """Breaks if pairs see other data, tuning leaves its split, or one split is all that is seen."""
    plan = Plan(lr=1e-3, seeds=4, splits=3, data_seed=5)
    rounds = play(study(EQUAL, DWA, plan=plan), valley(1e-3))
    finals = [run for run in rounds[-1] if run.candidate is DWA]
    assert [(run.seed, run.data_seed) for run in finals] == [(1, 5), (2, 6), (3, 7), (4, 5)]
    assert finals[1].overrides[-2:] == ["seed=2", "data.seed=6"]
    of_equal = [run.data_seed for run in rounds[-1] if run.candidate is EQUAL]
    assert of_equal == [run.data_seed for run in finals]
    assert {run.data_seed for runs in rounds for run in runs if not run.final} == {None}


def test_the_noise_of_the_tuning_is_that_of_paired_differences() -> None:
    """Breaks if what all strategies share counts as noise, or the seeds are not chosen by it."""
    plan = Plan(lr=1e-3, seeds=20, tuning_seeds=3, least_seeds=5)
    seen: list[float] = []
    protocol = study(EQUAL, FAMO, plan=plan, choose_seeds=lambda noise: seen.append(noise) or 7)
    shared = {0: 1.0, 1000: 1.3, 2000: 0.8}
    own = {0: 0.0, 1000: 0.02, 2000: -0.02}

    def monitor(run: PlannedRun) -> float:
        noise = own.get(run.seed, 0.0) if run.candidate is FAMO else 0.0
        return (1.0 + valley(1e-3)(run)) * shared.get(run.seed, 1.0) * math.exp(noise)

    finals = play(protocol, monitor)[-1]
    assert seen == [pytest.approx(0.02)]
    assert protocol.noise == pytest.approx(0.02)
    assert len([run for run in finals if run.candidate is FAMO]) == 7


def test_where_every_rate_is_noisy_the_best_mean_is_taken() -> None:
    """Breaks if noise at every learning rate drives the choice away from the best one."""
    protocol = study(EQUAL, plan=Plan(lr=1e-3, seeds=2, tuning_seeds=3))
    play(protocol, lambda run: (1.0 + valley(1e-3)(run)) * (3.0 if run.seed else 1.0))
    assert protocol.best(EQUAL).lr == pytest.approx(1e-3)


def test_failed_trials_lose_and_a_candidate_that_always_fails_is_noted() -> None:
    """Breaks if a diverged run wins, or stops the study."""
    protocol = study(EQUAL, DWA, FAMO)
    fails = lambda run: run.candidate is FAMO or run.lr > 1e-3  # noqa: E731
    rounds = play(protocol, lambda run: math.nan if fails(run) else -run.lr)
    assert {run.candidate.name for run in rounds[-1]} == {"equal", "dwa"}
    assert all(run.lr <= 1e-3 for run in rounds[-1])
    assert "Every trial of famo failed." in protocol.notes


def test_a_candidate_that_cannot_run_here_takes_no_further_part() -> None:
    """Breaks if a method that needs three tasks is tuned to the end, or said to have failed."""
    refusal = lambda candidate: "It needs 3 tasks." if candidate is FAMO else ""  # noqa: E731
    protocol = study(EQUAL, DWA, FAMO, refusal=refusal)
    rounds = play(protocol, lambda run: math.nan if run.candidate is FAMO else -run.lr)
    assert [sum(run.candidate is FAMO for run in runs) for runs in rounds] == [
        len(PLAN.grid),
        *[0] * (len(rounds) - 1),
    ]
    assert protocol.notes[0] == "famo is not applicable here: It needs 3 tasks."
    assert "Every trial of famo failed." not in protocol.notes


def test_no_extension_goes_beyond_the_budget() -> None:
    """Breaks if a study takes more runs than it announced."""
    protocol = study(EQUAL, FAMO, within_budget=lambda _: False)
    rounds = play(protocol, lambda run: valley(1e3)(run))
    assert all(run.phase != 2 for runs in rounds for run in runs)


def test_single_tasks_run_at_their_own_best_learning_rates() -> None:
    """Breaks if one learning rate serves all single-task models, so that the baseline is weak."""
    single = Candidate("single_task", "single_task", ("weighting=single_task",))
    rounds = play(
        study(EQUAL, single, settings_per_task=lambda _: [(1e-3, ()), (1e-2, ())]), valley(1e-3)
    )
    finals = [
        (run.candidate.name, run.lr, run.seed)
        for run in rounds[-1]
        if run.candidate.role == "single_task"
    ]
    assert len(finals) == 2 * PLAN.seeds
    assert {name for name, _, _ in finals} == {"single_task, lr=0.001", "single_task, lr=0.01"}


def test_a_twin_keeps_what_its_strategy_has_beside_its_weights() -> None:
    """Breaks if the twins of two strategies that differ in their update are one and the same."""
    both = Candidate(
        "x", "strategy", ("weighting=uncertainty", "update=per_task", "model.hidden=[8]")
    )
    rounds = play(study(EQUAL, both, weights={"a": 1.0, "b": 2.0}), valley(1e-3))
    assert rounds[-1][0].candidate.overrides == (
        *("weighting=fixed", "weighting.weights.a=1", "weighting.weights.b=2"),
        *("update=per_task", "model.hidden=[8]"),
    )


def test_one_lucky_trial_does_not_choose_the_learning_rate_of_the_final_runs() -> None:
    """Breaks if equal strategies differ in their final runs because one trial was lucky."""

    def monitor(run: PlannedRun) -> float:
        if run.candidate is FAMO and run.lr == pytest.approx(1e-4):
            return 0.95
        return math.exp(0.05 * (3 * math.log10(run.lr / 1e-3)) ** 2)

    protocol = study(EQUAL, FAMO)
    rounds = play(protocol, monitor)
    assert protocol.best(FAMO).lr == pytest.approx(1e-4)
    rates = {run.candidate.name: run.lr for run in rounds[-1]}
    assert rates["equal"] == pytest.approx(1e-3)
    assert rates["famo"] > 3e-4


def test_a_plain_study_plans_the_runs_that_it_always_did() -> None:
    """Breaks if a recorded study that goes on finds other runs than those it has made.

    The number and the hash were taken before regularisation and factors came.
    """
    single = Candidate("single_task", "single_task", ("weighting=single_task",))
    fixed = Candidate("fixed a=2", "fixed", ("weighting=fixed", "weighting.weights.a=2"))
    best = {"equal": 1e-3, "dwa": 3e-2, "famo": 2e-3}

    def monitor(run: PlannedRun) -> float:
        distance = abs(math.log10(run.lr / best.get(run.candidate.name, 5e-4)))
        helped = 0.2 * ("weighting.temperature=5" in run.extra_overrides)
        return 1 + distance + 0.1 * (run.seed // 1000 % 3) - helped

    protocol = study(
        *(EQUAL, single, DWA, FAMO, fixed),
        plan=Plan(lr=1e-3, seeds=3, tuning_seeds=2, splits=2),
        weights={"a": 0.5, "b": 2.0},
        settings_per_task=lambda _: [(1e-3, ()), (1e-2, ())],
    )
    runs = [run for runs in play(protocol, monitor) for run in runs]
    lines = [" ".join([str(run.phase), run.candidate.name, *run.overrides]) for run in runs]
    assert len(lines) == 170
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == "d3bd74efc96d1b75"
