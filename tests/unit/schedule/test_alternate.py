"""Alternate: one task at a time, and the same one whenever a turn is asked for."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.schedule import Alternate, RunLength
from tests.support.builders import QUICK
from tests.unit.schedule.runs import LENGTH, TASKS, THREE, active

LONG = RunLength(epochs=300, steps_per_epoch=100)


def turns(schedule: Alternate) -> list[int]:
    """Return the task of every step."""
    return [schedule.activation(step).index(1.0) for step in range(schedule.length.steps)]


# Turns


@pytest.mark.parametrize("proportions", [None, 1, {"a": 3, "c": 0.5}])
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_exactly_one_task_is_active_at_every_step(every: str, proportions: Any) -> None:
    """Breaks if two tasks share a turn, a turn has no task, or a task is active in part."""
    schedule = Alternate(THREE, LENGTH, every, proportions)
    assert {tuple(sorted(schedule.activation(step))) for step in range(200)} == {(0.0, 0.0, 1.0)}


def test_in_a_round_robin_the_tasks_take_turns_in_their_order() -> None:
    """Breaks if a task is skipped, or the round begins with another one."""
    assert turns(Alternate(THREE, LENGTH)) == [step % 3 for step in range(200)]
    assert [len(steps) for steps in active(Alternate(TASKS, LENGTH))] == [100, 100]


def test_a_turn_may_last_an_epoch() -> None:
    """Breaks if a turn changes within an epoch, or the clock of the turns is that of the steps."""
    assert turns(Alternate(THREE, LENGTH, every="epoch")) == [
        (step // 5) % 3 for step in range(200)
    ]
    drawn = turns(Alternate(THREE, LENGTH, every="epoch", proportions=1))
    assert [drawn[5 * epoch : 5 * epoch + 5] for epoch in range(40)] == [
        [drawn[5 * epoch]] * 5 for epoch in range(40)
    ]
    assert set(drawn) == {0, 1, 2}


def test_a_single_task_always_has_its_turn() -> None:
    """Breaks if one task cannot be trained with the schedule of several."""
    for proportions in (None, 2):
        assert turns(Alternate(TASKS[:1], LENGTH, proportions=proportions)) == [0] * 200


# Chance


@pytest.mark.parametrize(
    ("proportions", "shares"),
    [
        (1, [1 / 3, 1 / 3, 1 / 3]),
        ({"a": 2, "b": 1, "c": 1}, [0.5, 0.25, 0.25]),
        ({"a": 0.6, "b": 0.3, "c": 0.1}, [0.6, 0.3, 0.1]),
        ({"c": 8}, [0.1, 0.1, 0.8]),  # missing tasks 1
        ({}, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_tasks_are_drawn_in_proportion(proportions: Any, shares: list[float], seed: int) -> None:
    """Breaks if a task has more or fewer turns than its proportion says.

    The bound is five standard deviations of 30 000 draws.
    """
    count = Counter(turns(Alternate(THREE, LONG, proportions=proportions, seed=seed)))
    for task, share in enumerate(shares):
        assert abs(count[task] / 30_000 - share) < 5 * (share * (1 - share) / 30_000) ** 0.5


def test_a_draw_says_nothing_about_the_next_one() -> None:
    """Breaks if the draws of neighbouring turns, or of neighbouring seeds, go together."""
    drawn = np.array([turns(Alternate(TASKS, LONG, proportions=1, seed=seed)) for seed in range(4)])
    bound = 5 * 0.5 / 30_000**0.5
    for lag in (1, 2, 5, 100):
        assert abs((drawn[:, lag:] == drawn[:, :-lag]).mean() - 0.5) < bound
    for seed in range(1, 4):
        assert abs((drawn[0] == drawn[seed]).mean() - 0.5) < bound


@QUICK
@given(seed=st.integers(0, 2**64), steps=st.lists(st.integers(0, 10**12), min_size=2, max_size=20))
def test_a_step_has_the_same_task_in_whatever_order_the_steps_are_asked_for(
    seed: int, steps: list[int]
) -> None:
    """Breaks if the draws are a stream.

    A resumed run, which begins in the middle, would train other tasks.
    """
    once = Alternate(THREE, LENGTH, proportions={"a": 2}, seed=seed)
    again = Alternate(THREE, LENGTH, proportions={"a": 2}, seed=seed)
    forwards = [once.activation(step) for step in steps]
    backwards = [again.activation(step) for step in reversed(steps)]
    assert forwards == backwards[::-1] == [once.activation(step) for step in steps]


def test_the_draws_are_the_same_on_every_machine_and_in_every_version() -> None:
    """Breaks if an update changes the order of the tasks in runs that have been published."""
    drawn = turns(Alternate(THREE, RunLength(1, 30), proportions={"a": 2}, seed=0))
    assert "".join("abc"[task] for task in drawn) == "aaacbbaacaccacacabbaaaaacaaccb"


def test_another_seed_draws_other_turns() -> None:
    """Breaks if repetitions over seeds all train the tasks in the same order."""
    assert (
        len(
            {tuple(turns(Alternate(THREE, LENGTH, proportions=1, seed=seed))) for seed in range(50)}
        )
        == 50
    )
    # A round robin has no chance.
    assert turns(Alternate(THREE, LENGTH, seed=0)) == turns(Alternate(THREE, LENGTH, seed=1))


def test_global_random_states_are_neither_read_nor_changed() -> None:
    """Breaks if a user's dropout changes the turns, or the turns the dropout."""

    def states() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            random.getstate(),
        ]  # type: ignore[index]

    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = states()
        drawn.append(turns(Alternate(THREE, LENGTH, proportions=1)))
        assert states() == before
    assert drawn[0] == drawn[1]


# What is told about it


def test_early_stopping_waits_for_the_first_turn_of_every_task() -> None:
    """Breaks if a run stops before a task has been trained at all."""
    assert Alternate(THREE, LENGTH).last_start() == 0.4  # step 2 of 5
    assert Alternate(THREE, LENGTH, every="epoch").last_start() == 2
    schedule = Alternate(THREE, LENGTH, every="epoch", proportions={"a": 8})
    assert schedule.last_start() == max(steps[0] for steps in active(schedule)) / 5 > 2


def test_turns_are_not_marked_in_the_plots() -> None:
    """Breaks if every picture is full of lines."""
    assert Alternate(THREE, LENGTH, every="epoch").epoch_marks() == {}


def test_a_task_that_has_no_turn_in_the_run_is_named() -> None:
    """Breaks if no warning says that the run is too short for a round or a draw."""
    assert Alternate(THREE, LENGTH).never_active() == []
    assert Alternate(THREE, RunLength(2, 100), every="epoch").never_active() == ["c"]
    rare = Alternate(THREE, LENGTH, proportions={"b": 1e-9})
    assert rare.never_active() == ["b"]
    assert rare.last_start() == max(steps[0] for steps in active(rare) if steps) / 5


# What it refuses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"every": "batch"}, "schedule.every='batch' is unknown; allowed: epoch, step."),
        (
            {"every": "steps"},
            "schedule.every='steps' is unknown; did you mean 'step'? allowed: epoch, step.",
        ),
        ({"every": 5}, "schedule.every=5 is unknown; allowed: epoch, step."),
        (
            {"proportions": {"y3": 1}},
            "schedule.proportions names the unknown task 'y3'; allowed: y1, y2.",
        ),
        (
            {"proportions": {"y2": 0}},
            "schedule.proportions.y2 must be a positive number; found 0.0.",
        ),
        (
            {"proportions": {"y2": -1}},
            "schedule.proportions.y2 must be a positive number; found -1.0.",
        ),
        (
            {"proportions": {"y1": float("inf")}},
            "schedule.proportions.y1 must be a positive number; found inf.",
        ),
        (
            {"proportions": {"y1": "most"}},
            "schedule.proportions.y1 must be a number; found 'most'.",
        ),
        (
            {"proportions": [1, 2]},
            "schedule.proportions must be a number or {task: number}; found [1, 2].",
        ),
    ],
)
def test_an_alternation_that_cannot_be_says_why(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a typo gives a task no turns, or others than were meant."""
    with pytest.raises(ConfigError) as error:
        Alternate(TASKS, LENGTH, **options)
    assert str(error.value) == sentence
