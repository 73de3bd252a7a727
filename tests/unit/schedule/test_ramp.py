"""Ramps: straight lines through the knots."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.schedule import Ramp, RunLength, Staged
from tests.support.builders import QUICK
from tests.unit.schedule.runs import LENGTH, TASKS, THREE, values

points = st.lists(st.tuples(st.integers(0, 250), st.floats(0, 1)), min_size=1, max_size=6).map(
    lambda knots: sorted(knots, key=lambda knot: knot[0])
)


def ramp(*knots: tuple[int, float], length: RunLength = LENGTH) -> Ramp:
    """Return a ramp of y2, with times in steps."""
    return Ramp(TASKS, length, {"y2": [[f"{step} steps", value] for step, value in knots]})


# The curve


@QUICK
@given(knots=points)
def test_a_ramp_is_exact_at_its_knots_and_constant_outside_of_them(
    knots: list[tuple[int, float]],
) -> None:
    """Breaks if a task is not as active as its knot says, or changes after the last knot."""
    schedule = ramp(*knots)
    for step, value in dict(knots).items():  # of several at a step, the last
        assert schedule.activation(step) == (1.0, value)
    assert all(schedule.activation(step)[1] == knots[0][1] for step in range(knots[0][0]))
    assert all(schedule.activation(step)[1] == knots[-1][1] for step in range(knots[-1][0], 300))


@QUICK
@given(knots=points)
def test_a_ramp_is_straight_between_its_knots(knots: list[tuple[int, float]]) -> None:
    """Breaks if the activation is not linear in the step, or leaves the range of its knots."""
    schedule = ramp(*knots)
    for (begin, low), (end, high) in pairwise(knots):
        for step in range(begin + 1, end):
            share = Fraction(step - begin, end - begin)
            activation = schedule.activation(step)[1]
            assert activation == pytest.approx(
                float((1 - share) * Fraction(low) + share * Fraction(high)), abs=1e-15
            )
            assert min(low, high) <= activation <= max(low, high)


def test_two_knots_at_the_same_step_are_a_jump() -> None:
    """Breaks if a jump comes a step late or early, is smoothed, or reaches its height before it."""
    activations = values(ramp((10, 0.0), (20, 0.5), (20, 1.0), (30, 0.0)), 1)
    assert activations[:11] == [0.0] * 11
    assert activations[19] == pytest.approx(0.45)
    assert activations[20] == 1.0
    assert activations[21] == pytest.approx(0.9)
    assert values(ramp((0, 0.0), (7, 0.0), (7, 1.0)), 1) == [0.0] * 7 + [1.0] * 193
    assert values(ramp((7, 0.2), (7, 0.9), (7, 0.4)), 1) == [0.2] * 7 + [0.4] * 193


@QUICK
@given(start=st.integers(0, 199))
def test_a_jump_from_nothing_to_everything_is_a_stage(start: int) -> None:
    """Breaks if a ramp and a stage mean different times by the same words."""
    when = f"{start} steps"
    jump = Ramp(TASKS, LENGTH, {"y2": [[when, 0], [when, 1]]})
    stage = Staged(TASKS, LENGTH, start={"y2": when})
    assert [jump.activation(step) for step in range(200)] == [
        stage.activation(step) for step in range(200)
    ]
    assert (jump.epoch_marks(), jump.last_start(), jump.never_active()) == (
        stage.epoch_marks(),
        stage.last_start(),
        stage.never_active(),
    )


def test_the_times_of_knots_may_be_epochs_steps_or_shares() -> None:
    """Breaks if a knot's time is read in another way than a stage's."""
    schedule = Ramp(TASKS, LENGTH, {"y2": [[2, 0], ["60 steps", 0.5], ["100%", 1]]})
    assert [schedule.activation(step)[1] for step in (10, 35, 60, 130, 200)] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]


def test_without_knots_the_later_tasks_rise_over_the_first_half() -> None:
    """Breaks if `schedule=ramp` alone ramps nothing, or holds the first task back."""
    for knots in (None, {}):
        schedule = Ramp(THREE, LENGTH, knots)
        assert values(schedule, 0) == [1.0] * 200
        assert (
            values(schedule, 1)
            == values(schedule, 2)
            == [step / 100 for step in range(100)] + [1.0] * 100
        )
    assert values(Ramp(TASKS[:1], LENGTH), 0) == [1.0] * 200


def test_a_task_without_knots_is_always_active() -> None:
    """Breaks if the knots of one task change another, or bring the default ramp with them."""
    assert values(Ramp(TASKS, LENGTH, {"y1": [[0, 0.5]]}), 1) == [1.0] * 200


def test_one_knot_is_a_constant() -> None:
    """Breaks if a constant share cannot be written."""
    assert values(Ramp(TASKS, LENGTH, {"y1": [["50%", 0.3]]}), 0) == [0.3] * 200


# What is told about it


@pytest.mark.parametrize(
    ("knots", "marks", "last_start"),
    [
        ([(0, 0), (100, 1)], {"y2 ramped up": 20.0}, 20.0),
        ([(50, 0), (100, 1)], {"y2 starts": 10.0, "y2 ramped up": 20.0}, 20.0),
        ([(50, 0), (51, 1)], {"y2 starts": 10.2}, 10.2),
        ([(50, 0), (50, 1)], {"y2 starts": 10.0}, 10.0),
        ([(0, 1), (100, 0)], {"y2 ends": 20.0}, 0.0),
        ([(0, 1), (100, 0.5)], {}, 0.0),
        ([(0, 0.5), (100, 1)], {"y2 ramped up": 20.0}, 20.0),
        (
            [(0, 0), (50, 1), (100, 0), (150, 1), (160, 0)],
            {"y2 ramped up": 10.0, "y2 ends": 32.0},
            10.0,
        ),
        (
            [(50, 0), (100, 1), (100, 0)],
            {"y2 starts": 10.0, "y2 ramped up": 19.8, "y2 ends": 20.0},
            19.8,
        ),
        ([(0, 0), (400, 1)], {"y2 ramped up": 39.8}, 39.8),  # half way up at the end
        ([(0, 1), (400, 0)], {}, 0.0),
        ([(0, 0.7)], {}, 0.0),
    ],
)
def test_the_plots_and_early_stopping_know_when_a_task_rises_and_ends(
    knots: list[tuple[int, float]], marks: dict[str, float], last_start: float
) -> None:
    """Breaks if a mark is at the wrong epoch, or a run stops early while a weight still rises."""
    schedule = ramp(*knots)
    assert schedule.epoch_marks() == marks
    assert schedule.last_start() == last_start
    assert schedule.never_active() == []


def test_before_its_first_knot_a_ramp_has_begun() -> None:
    """Breaks if a constant is marked as a start where its only knot stands."""
    schedule = Ramp(TASKS, LENGTH, {"y1": [[10, 1]], "y2": [[20, 0.5]]})
    assert (schedule.epoch_marks(), schedule.last_start()) == ({}, 0.0)


@QUICK
@given(knots=points)
def test_what_is_told_about_a_ramp_is_what_every_step_of_it_shows(
    knots: list[tuple[int, float]],
) -> None:
    """Breaks if the few steps that are looked at miss one that matters."""
    schedule = ramp(*knots)
    activations = values(schedule, 1)
    active = [step for step, value in enumerate(activations) if value > 0]
    assert schedule.never_active() == ([] if active else ["y2"])
    assert schedule.last_start() == activations.index(max(activations)) / 5
    marks = schedule.epoch_marks()
    if active and active[-1] < 199:
        assert marks["y2 ends"] == (active[-1] + 1) / 5
    else:
        assert "y2 ends" not in marks
    if active and "y2 starts" in marks:
        assert round(marks["y2 starts"] * 5) in (active[0], active[0] - 1)
    else:
        assert not active or active[0] <= 1


@pytest.mark.parametrize(
    "knots", [[(0, 0)], [(200, 0), (200, 1)], [(250, 0), (300, 1)], [(9, 0), (10, 1), (10, 0)]]
)
def test_a_ramp_that_stays_at_zero_never_takes_part(knots: list[tuple[int, float]]) -> None:
    """Breaks if no warning says that a task is never trained, or early stopping waits for it."""
    schedule = ramp(*knots)
    assert schedule.never_active() == ["y2"]
    assert schedule.epoch_marks() == {}
    assert schedule.last_start() == 0


# What it refuses


FORM = "[[when, value], ...] with values from 0 to 1, e.g. [[0, 0], ['25%', 1]]"


@pytest.mark.parametrize(
    ("knots", "sentence"),
    [
        (3, "schedule.knots must be {task: [[when, value], ...]}; found 3."),
        ({"y3": [[0, 0]]}, "schedule.knots names the unknown task 'y3'; allowed: y1, y2."),
        *[
            ({"y2": wrong}, f"schedule.knots.y2 must be {FORM}; found {wrong!r}.")
            for wrong in (
                0.5, None, [], "25%", [0, 1], [[0]], [[0, 0, 1]], [[0, 1.1]], [[0, -0.1]], [[0, True]],
                [[0, "1"]], [[0, float("nan")]], ["01"],
            )
        ],
        (
            {"y2": [["soon", 1]]},
            "schedule.knots.y2='soon' is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%').",
        ),
        (
            {"y2": [[0, 0], ["25%", 1], ["49 steps", 0]]},
            "schedule.knots.y2: the knots must be in the order of time; '49 steps' (step 49) is before '25%' (step 50).",
        ),
        (
            {"y1": [[0, 0], [10, 1]], "y2": [[0, 0], [20, 1]]},
            "schedule: no task is active at step 0 (epoch 0); let at least one start there.",
        ),
        (
            {"y1": [[10, 0], [20, 1]], "y2": [[10, 0], [20, 1]]},
            "schedule: no task is active at step 0 (epoch 0); let at least one start there.",
        ),
        (
            {"y1": [[0, 1], [10, 0]], "y2": [["51 steps", 0], [20, 1]]},
            "schedule: no task is active at step 50 (epoch 10); let at least one start there.",
        ),
    ],
)  # fmt: skip
def test_a_ramp_that_cannot_be_says_why(knots: Any, sentence: str) -> None:
    """Breaks if a typo ramps nothing, or a run trains no task for a while without a word."""
    with pytest.raises(ConfigError) as error:
        Ramp(TASKS, LENGTH, knots)
    assert str(error.value) == sentence


@QUICK
@given(first=points, second=points)
def test_a_ramp_is_refused_if_and_only_if_some_step_has_no_active_task(
    first: list[tuple[int, float]], second: list[tuple[int, float]]
) -> None:
    """Breaks if a gap between two ramps is overlooked, or seen where there is none.

    In a gap the update would have nothing to do.
    """
    knots = [
        [[f"{step} steps", float(value > 0.5)] for step, value in knots]
        for knots in (first, second)
    ]
    curves = [
        ramp(*[(step, float(value > 0.5)) for step, value in knots]) for knots in (first, second)
    ]
    gap = any(
        not a and not b for a, b in zip(values(curves[0], 1), values(curves[1], 1), strict=True)
    )
    try:
        Ramp(TASKS, LENGTH, {"y1": knots[0], "y2": knots[1]})
        refused = False
    except ConfigError:
        refused = True
    assert refused == gap


def test_a_gap_after_the_end_of_the_run_is_no_gap() -> None:
    """Breaks if a ramp that is written for a longer run cannot be used in a short one."""
    assert Ramp(TASKS[:1], LENGTH, {"y1": [[0, 1], [40, 1], [40, 0]]}).epoch_marks() == {}
