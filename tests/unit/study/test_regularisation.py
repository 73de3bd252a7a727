"""The axis of regularisation: the same values for all candidates, chosen like everything else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.study import Candidate, Plan, PlannedRun, Protocol
from mtl_runner.study.regularisation import regularisation_of

DECAY, DROPOUT = "optimizer.weight_decay", "model.dropout"
EQUAL = Candidate("equal", "equal", ("weighting=fixed",))
SINGLE = Candidate("single_task", "single_task", ("weighting=single_task",))
DWA = Candidate("dwa", "strategy", ("weighting=dwa",), knob=("weighting.temperature", ("1", "5")))
FAMO = Candidate("famo", "strategy", ("weighting=famo",))
FIXED = Candidate("fixed a=2", "fixed", ("weighting=fixed", "weighting.weights.a=2"))
AXIS = regularisation_of({DECAY: [0, 0.01], DROPOUT: [0.2]})
PLAN = Plan(lr=1e-3, seeds=2, regularisation=AXIS)
# By how much a value of the axis lowers the monitor of a candidate, of 1 at the best rate.
GAINS = {
    ("equal", f"{DECAY}=0.01"): 0.3,
    ("dwa", f"{DECAY}=0.01"): 0.1,
    ("dwa", f"{DROPOUT}=0.2"): 0.06,
    ("dwa", "weighting.temperature=5"): 0.2,
}


def play() -> tuple[Protocol, list[PlannedRun]]:
    """Return a study of all roles in which the gains are as above, and its runs."""

    def monitor(run: PlannedRun) -> float:
        name = run.candidate.twin_of or run.candidate.name
        options = (*run.extra_overrides, *run.candidate.overrides)
        gain = sum(GAINS.get((name, option), 0.0) for option in options)
        return 1.0 + abs(math.log10(run.lr / 1e-3)) - gain

    protocol = Protocol(PLAN, [EQUAL, SINGLE, DWA, FAMO, FIXED], lambda _: {"a": 0.5, "b": 2.0})
    rounds, played = protocol.rounds(), list[PlannedRun]()
    monitors: Sequence[float] | None = None
    while True:
        try:
            runs = next(rounds) if monitors is None else rounds.send(monitors)
        except StopIteration:
            return protocol, played
        played += runs
        monitors = [monitor(run) for run in runs]


def test_every_candidate_tries_the_same_values() -> None:
    """Breaks if equal weights, fixed ones or single tasks are regularised less than a strategy."""
    tried = [run for run in play()[1] if run.phase == 9]
    values = {
        name: [
            option
            for run in tried
            for option in PLAN.regularising(run.extra_overrides)[-1:]
            if run.candidate.name == name
        ]
        for name in ("equal", "single_task", "dwa", "famo", "fixed a=2")
    }
    assert set(map(tuple, values.values())) == {(f"{DECAY}=0", f"{DECAY}=0.01", f"{DROPOUT}=0.2")}
    trials = Counter(r.candidate.name for r in play()[1] if not r.final and r.phase in (1, 2, 3, 9))
    assert len(set(trials.values())) == 1
    assert min(trials.values()) == PLAN.least_trials


def test_the_values_are_tried_at_the_best_settings_and_chosen_by_the_monitor() -> None:
    """Breaks if a knob is lost where regularisation is tuned, or a value that helps is not used."""
    _, runs = play()
    final = {run.candidate.name: run for run in runs if run.final}
    assert final["equal"].extra_overrides == (f"{DECAY}=0.01",)
    assert final["dwa"].extra_overrides == (
        *("weighting.temperature=5", f"{DECAY}=0.01", f"{DROPOUT}=0.2"),
    )
    assert final["famo"].extra_overrides == ()
    assert all(run.lr == pytest.approx(1e-3) for run in runs if run.phase == 9)


def test_a_twin_keeps_the_regularisation_of_its_strategy() -> None:
    """Breaks if moving weights are compared with fixed ones that overfit."""
    _, runs = play()
    twins = {run.candidate.twin_of: run.candidate.overrides for run in runs if run.phase == 5}
    assert twins["dwa"][-2:] == (f"{DECAY}=0.01", f"{DROPOUT}=0.2")
    assert not PLAN.regularising(twins["famo"])
    trials = Counter(
        r.candidate.twin_of for r in runs if r.candidate.role == "twin" and not r.final
    )
    assert trials["dwa"] == PLAN.trials_of_twin


def test_a_note_says_how_much_regularisation_did() -> None:
    """Breaks if a reader does not learn that equal weights lacked regularisation."""
    protocol, _ = play()
    assert protocol.notes == [
        "Regularisation (optimizer.weight_decay, model.dropout) was chosen by 2 of 5 candidates; it lowered "
        "the monitor of the tuning by 30.0 % for equal weights, 10.0 % for the strategies (median of 2), "
        "0.0 % for the fixed weightings, 0.0 % for single-task training."
    ]


def test_the_settings_of_single_tasks_name_their_regularisation() -> None:
    """Breaks if the single-task baseline loses the regularisation that its tasks chose."""
    settings = [(1e-3, (f"{DECAY}=0.01",)), (1e-2, ())]
    protocol = Protocol(PLAN, [SINGLE], lambda _: None, lambda _: settings)
    rounds = protocol.rounds()
    runs = next(rounds)
    while not runs[0].final:
        runs = rounds.send([run.lr for run in runs])
    assert {run.candidate.name: (run.lr, run.extra_overrides) for run in runs} == {
        "single_task, lr=0.001, weight_decay=0.01": settings[0],
        "single_task, lr=0.01": settings[1],
    }


@pytest.mark.parametrize("asked", [[1], {"optimizer": [1]}, {"optimizer.lr": [1]}, {DECAY: []}])
def test_what_is_no_axis_is_refused(asked: object) -> None:
    """Breaks if a study tries an option that it tunes anyway, or that there is not."""
    with pytest.raises(ConfigError, match=r"^study\.regularisation"):
        regularisation_of(asked)
