"""The rounds of a study of transfer: what is trained at which width, and what is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study.plan import Candidate, Plan, PlannedRun
from mtl_runner.study.transfer.protocol import (
    FINAL,
    NARROW,
    NARROW_EDGE,
    WIDE,
    WIDE_EDGE,
    TransferExtent,
    TransferProtocol,
)
from mtl_runner.study.weights import fixed_candidate
from tests.support.builders import QUICK

EQUAL = Candidate("equal", "equal", ("weighting=fixed",))
FIRST, SECOND = fixed_candidate("fixed", {"a": 0.5}), fixed_candidate("fixed", {"a": 1.5})
PROXY = ("model.hidden=[8]",)
PLAN = Plan(lr=0.01, seeds=4, tuning_seeds=2, per_decade=1, extensions=2)
Monitor = Callable[[PlannedRun], float]


def play(protocol: TransferProtocol, monitor: Monitor) -> list[list[PlannedRun]]:
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


def is_narrow(run: PlannedRun) -> bool:
    """Return whether a run is one of the narrow model."""
    return PROXY[0] in run.overrides


def landscape(narrow: float, wide: float, worth: dict[str, float] | None = None) -> Monitor:
    """Return a monitor whose best learning rates at the two widths are these.

    Args:
        narrow: The narrow model's best rate.
        wide: The wide model's.
        worth: What is added for a weighting whose options hold the text.
    """

    def monitor(run: PlannedRun) -> float:
        best = narrow if is_narrow(run) else wide
        extra = [v for text, v in (worth or {}).items() if any(text in o for o in run.overrides)]
        return 1.0 + 0.3 * math.log10(run.lr / best) ** 2 + sum(extra)

    return monitor


def protocol(plan: Plan = PLAN, rates: int = 3) -> TransferProtocol:
    """Return a protocol of equal weights and two fixed weightings."""
    return TransferProtocol(plan, [EQUAL, FIRST, SECOND], PROXY, rates)


def test_the_best_weights_of_the_narrow_model_are_tried_on_the_wide_one() -> None:
    """Breaks if other weights than the narrow model's best are tried, or are tuned unlike equal."""
    study = protocol()
    rounds = play(study, landscape(0.01, 0.01, {"weights.a=1.5": -0.2}))
    assert [runs[0].phase for runs in rounds] == [NARROW, WIDE, FINAL]
    narrow, wide, finals = rounds
    assert len(narrow) == 3 * 3 * 2
    assert all(is_narrow(run) for run in narrow)
    assert not any(is_narrow(run) for run in [*wide, *finals])
    assert study.chosen is SECOND
    settings = {(run.candidate.name, round(run.lr, 6), run.seed) for run in wide}
    assert settings == {
        (c.name, lr, seed)
        for c in (EQUAL, SECOND)
        for lr in (0.001, 0.01, 0.1)
        for seed in (0, 1000)
    }
    assert [(run.candidate, run.lr, run.seed) for run in finals] == [
        (c, 0.01, seed) for c in (EQUAL, SECOND) for seed in (1, 2, 3, 4)
    ]
    assert all(run.final for run in finals)
    assert study.kept is None
    assert study.notes == []


def test_a_rate_that_moves_is_followed_and_compared_with_the_narrow_ones() -> None:
    """Breaks if a shift of the best rate over width is not found, or its price is not measured."""
    study = protocol()
    rounds = play(study, landscape(0.01, 0.0001, {"weights.a=1.5": -0.2}))
    assert [runs[0].phase for runs in rounds] == [NARROW, WIDE, WIDE_EDGE, WIDE_EDGE, FINAL]
    assert study.kept is not None
    assert study.kept.name == "narrow lr=0.01, fixed a=1.5"
    rates = {run.candidate.name: run.lr for run in rounds[-1]}
    assert rates == {
        "equal": pytest.approx(0.0001),
        SECOND.name: pytest.approx(0.0001),
        study.kept.name: pytest.approx(0.01),
    }
    assert {run.seed for run in rounds[-1]} == {1, 2, 3, 4}


def test_a_best_rate_on_the_edge_is_followed_on_the_narrow_model() -> None:
    """Breaks if the narrow model is tuned on too narrow a grid, or some weightings more."""
    rounds = play(protocol(), landscape(1.0, 1.0))
    edge = [run for runs in rounds for run in runs if run.phase == NARROW_EDGE]
    assert {run.candidate.name.removesuffix(" (narrow)") for run in edge} == {
        c.name for c in (EQUAL, FIRST, SECOND)
    }
    assert len(edge) == 2 * 3 * 2


def test_one_rate_takes_that_of_the_narrow_model_as_it_is() -> None:
    """Breaks if study.rates=1 trains more than the narrow model's choice, or tries an extension."""
    rounds = play(protocol(rates=1), landscape(0.01, 0.0001))
    assert [runs[0].phase for runs in rounds] == [NARROW, WIDE, FINAL]
    assert {run.lr for run in rounds[1]} == {0.01}


def test_equal_weights_that_win_on_the_narrow_model_are_noted() -> None:
    """Breaks if weights are called the best of the narrow model, and equal ones were better."""
    study = protocol()
    play(study, landscape(0.01, 0.01, {"weights.a": 0.1}))
    assert study.notes == [
        "On the narrow model equal weights were better than every fixed weighting; the best of these was tried all the same."
    ]


def test_a_rate_that_stays_on_the_edge_is_noted_for_what_is_compared() -> None:
    """Breaks if a reader takes an edge for an optimum, or a line per weighting hides it."""
    study = protocol(Plan(lr=0.01, seeds=2, per_decade=1, extensions=0))
    play(study, landscape(10.0, 10.0, {"weights.a=1.5": -0.2}))
    assert study.notes == [
        f"The best learning rate of {name} ({rate}) lies on the edge of what was tried on the {width} model."
        for width, rate in (("narrow", "0.1"), ("wide", "1"))
        for name in ("equal", SECOND.name)
    ]


def test_weightings_that_all_fail_end_the_study() -> None:
    """Breaks if a study of runs that diverge goes on with weights that nobody chose."""
    study = protocol()
    rounds = play(study, lambda run: math.inf if run.candidate.role == "fixed" else 1.0)
    assert not any(run.final for runs in rounds for run in runs)
    assert study.notes == ["Every trial of fixed weights on the narrow model failed."]


def test_weights_that_fail_on_the_wide_model_are_no_final_runs() -> None:
    """Breaks if a wide model that diverges is trained ten more times."""
    study = protocol()
    rounds = play(
        study, lambda run: math.inf if run.candidate.role == "fixed" and not is_narrow(run) else 1.0
    )
    assert {run.candidate.name for run in rounds[-1]} == {"equal"}
    assert f"Every trial of {FIRST.name} on the wide model failed." in study.notes


def test_fresh_seeds_have_splits_of_their_own() -> None:
    """Breaks if the final runs of small data are all of the split that tuned."""
    plan = Plan(lr=0.01, seeds=4, per_decade=1, splits=2, data_seed=7)
    finals = play(protocol(plan), landscape(0.01, 0.01))[-1]
    assert [run.data_seed for run in finals[:4]] == [7, 8, 7, 8]


@given(st.floats(-5, 1), st.floats(-5, 1), st.integers(0, 3), st.sampled_from([1, 3, 5]))
@QUICK
def test_the_announced_numbers_of_runs_hold(
    narrow: float, wide: float, extensions: int, rates: int
) -> None:
    """Breaks if a study takes more or fewer runs than it said before it began."""
    plan = Plan(lr=0.01, seeds=3, tuning_seeds=2, per_decade=2, extensions=extensions)
    extent = TransferExtent(plan, 3, rates)
    rounds = play(protocol(plan, rates), landscape(10**narrow, 10**wide))
    total = sum(map(len, rounds))
    assert extent.least <= total <= extent.most
    for place, runs in enumerate(rounds):
        least, most = extent.after(runs[0].phase)
        assert least <= sum(map(len, rounds[place + 1 :])) <= most
