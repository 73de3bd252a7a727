"""Plateau: the next task starts when the one before it gets no better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.schedule import Plateau
from mtl_runner.train import checkpoint
from tests.support.builders import QUICK
from tests.unit.schedule.runs import LENGTH, TASKS, THREE, active

INFINITE = float("inf")


def watch(schedule: Plateau, losses: Sequence[float], first: int = 1, every: int = 1) -> Plateau:
    """Show the schedule the same loss of every task at the end of each evaluated epoch."""
    for i, loss in enumerate(losses):
        schedule.observe(first + i * every, {task.name: loss for task in schedule.tasks})
    return schedule


def state_of(schedule: Plateau) -> tuple[Any, ...]:
    """Return what a run sees of a schedule."""
    return active(schedule), schedule.epoch_marks(), schedule.last_start(), schedule.never_active()


# When the next task starts


def test_before_the_first_evaluation_only_the_first_task_is_active() -> None:
    """Breaks if a later task starts at once, or a run stops early before it has started."""
    schedule = Plateau(THREE, LENGTH)
    assert state_of(schedule) == ([list(range(200)), [], []], {}, INFINITE, [])


def test_the_next_task_starts_when_the_loss_has_not_improved_for_patience_epochs() -> None:
    """Breaks if patience is off by one, or does not count from the best epoch."""
    schedule = watch(Plateau(TASKS, LENGTH, patience=3), [5.0, 4.0, 4.0, 4.5])  # best at epoch 2
    assert active(schedule)[1] == []
    watch(schedule, [4.0], first=5)
    assert active(schedule) == [list(range(200)), list(range(25, 200))]
    assert schedule.epoch_marks() == {"y2 starts": 5.0}
    assert schedule.last_start() == 5


def test_a_loss_that_improves_lets_the_next_task_wait() -> None:
    """Breaks if patience counts evaluations in all, not those without an improvement."""
    assert (
        watch(
            Plateau(TASKS, LENGTH, patience=1), [1 / epoch for epoch in range(1, 40)]
        ).last_start()
        == INFINITE
    )


def test_patience_is_counted_in_epochs_however_seldom_one_is_evaluated() -> None:
    """Breaks if `trainer.evaluate_every` changes the meaning of patience."""
    # Evaluated are the epochs 4, 8 and 12.
    seldom = watch(Plateau(TASKS, LENGTH, patience=6), [1.0, 1.0, 1.0], first=4, every=4)
    assert seldom.epoch_marks() == {"y2 starts": 12.0}


def test_a_loss_under_the_threshold_starts_the_next_task_at_once() -> None:
    """Breaks if the threshold waits for patience, counts at equality, or is another task's."""
    schedule = watch(Plateau(TASKS, LENGTH, threshold={"y1": 0.5, "y2": 100.0}), [3.0, 0.5])
    assert schedule.epoch_marks() == {}
    assert watch(schedule, [0.49], first=3).epoch_marks() == {"y2 starts": 3.0}
    assert watch(Plateau(THREE, LENGTH, threshold=0.5), [0.4, 0.4]).epoch_marks() == {
        "b starts": 1.0,
        "c starts": 2.0,
    }
    assert watch(
        Plateau(THREE, LENGTH, threshold={"a": None, "b": 9}, patience=5), [0.0] * 7
    ).epoch_marks() == {
        "b starts": 6.0,
        "c starts": 7.0,
    }


def test_min_delta_is_an_absolute_improvement_over_the_best() -> None:
    """Breaks if small gains count one by one, add up to nothing, or are measured in per cent."""
    slow = [1.0 - 0.004 * i for i in range(8)]
    # It falls by .012 in three epochs.
    assert watch(Plateau(TASKS, LENGTH, patience=3, min_delta=0.01), slow).last_start() == INFINITE
    assert watch(Plateau(TASKS, LENGTH, patience=2, min_delta=0.01), slow).epoch_marks() == {
        "y2 starts": 3.0
    }
    assert watch(Plateau(TASKS, LENGTH, patience=1, min_delta=0.5), [8.0, 7.5]).epoch_marks() == {
        "y2 starts": 2.0
    }
    assert (
        watch(Plateau(TASKS, LENGTH, patience=1, min_delta=0.5), [-8.0, -8.75]).epoch_marks() == {}
    )


def test_only_the_loss_of_the_task_that_started_last_counts() -> None:
    """Breaks if an earlier or a waiting task's loss decides."""
    schedule = Plateau(THREE, LENGTH, patience=2)
    for epoch in range(1, 4):
        schedule.observe(epoch, {"a": 1.0, "b": 1.0 / epoch, "c": 1.0 / epoch})
    assert schedule.epoch_marks() == {"b starts": 3.0}
    for epoch in range(4, 20):
        schedule.observe(epoch, {"a": 1.0, "b": 1.0 / epoch, "c": 1.0})
    assert schedule.epoch_marks() == {"b starts": 3.0}


def test_a_task_that_has_just_started_is_not_measured_by_what_was_before() -> None:
    """Breaks if a best loss from before the task's start uses up its patience."""
    schedule = watch(Plateau(THREE, LENGTH, patience=2), [1.0, 1.0, 1.0])  # b starts after epoch 3
    assert watch(schedule, [9.0, 9.0], first=4).epoch_marks() == {"b starts": 3.0}
    assert watch(schedule, [9.0], first=6).epoch_marks() == {"b starts": 3.0, "c starts": 6.0}


def test_tasks_start_in_the_given_order_and_stay_active() -> None:
    """Breaks if `order` is ignored, changes the order of the losses, or ends the tasks before."""
    schedule = watch(Plateau(THREE, LENGTH, order=["c", "a", "b"], patience=1), [1.0] * 4)
    assert active(schedule) == [list(range(10, 200)), list(range(20, 200)), list(range(200))]
    assert schedule.epoch_marks() == {"a starts": 2.0, "b starts": 4.0}
    assert schedule.last_start() == 4


def test_nothing_starts_after_the_last_epoch() -> None:
    """Breaks if a plot marks a start that never was."""
    schedule = watch(Plateau(TASKS, LENGTH, patience=39), [1.0] * 40)
    assert (schedule.epoch_marks(), schedule.last_start()) == ({}, INFINITE)
    assert watch(Plateau(TASKS, LENGTH, patience=38), [1.0] * 40).epoch_marks() == {
        "y2 starts": 39.0
    }


def test_once_all_have_started_nothing_more_happens() -> None:
    """Breaks if a start is moved, or the last task looks for one after it."""
    schedule = watch(Plateau(TASKS, LENGTH, patience=1), [1.0] * 2)
    before = state_of(schedule), schedule.state_dict()
    watch(schedule, [1.0] * 30, first=3)
    assert (state_of(schedule), schedule.state_dict()) == before


def test_a_single_task_is_ordinary_training() -> None:
    """Breaks if a run of one task waits for another one."""
    schedule = watch(Plateau(TASKS[:1], LENGTH, patience=1), [1.0] * 9)
    assert state_of(schedule) == ([list(range(200))], {}, 0, [])


@QUICK
@given(
    losses=st.lists(st.integers(0, 9).map(float), max_size=39),
    patience=st.integers(1, 6),
    every=st.integers(1, 3),
)
def test_a_start_is_the_first_epoch_that_is_patience_epochs_after_the_best_one(
    losses: list[float], patience: int, every: int
) -> None:
    """Breaks if the running count differs from what the whole history says."""
    epochs = list(range(1, 40, every))[: len(losses)]
    schedule = watch(Plateau(TASKS, LENGTH, patience=patience), losses[: len(epochs)], every=every)
    seen = list(zip(epochs, losses, strict=False))
    expected = INFINITE
    for i, (epoch, _) in enumerate(seen):
        best = min(seen[: i + 1], key=lambda pair: pair[1])[0]  # the earliest of the best
        if epoch - best >= patience:
            expected = epoch
            break
    assert schedule.last_start() == expected


# Across an interruption


@QUICK
@given(
    losses=st.lists(st.floats(-2, 2), min_size=1, max_size=39),
    cut=st.integers(0, 39),
    options=st.fixed_dictionaries(
        {
            "patience": st.integers(1, 4),
            "threshold": st.sampled_from([None, -1.5]),
            "min_delta": st.sampled_from([0.0, 0.3]),
        }
    ),
)
def test_a_resumed_run_starts_its_tasks_when_the_uninterrupted_one_does(
    tmp_path: Path, losses: list[float], cut: int, options: dict[str, Any]
) -> None:
    """Breaks if a checkpoint forgets the best loss, its epoch or the started tasks.

    It also breaks if the checkpoint cannot be loaded without running code.
    """
    order = ["b", "c", "a"]
    uninterrupted = watch(Plateau(THREE, LENGTH, order, **options), losses)
    interrupted, resumed = (
        Plateau(THREE, LENGTH, order, **options),
        Plateau(THREE, LENGTH, order, **options),
    )
    watch(interrupted, losses[:cut])
    checkpoint.save(tmp_path / "checkpoint.pt", {"schedule": interrupted.state_dict()})
    watch(interrupted, [0.0] * 20, first=cut + 1)  # what came after the checkpoint is lost
    resumed.load_state_dict(checkpoint.load(tmp_path / "checkpoint.pt")["schedule"])
    watch(resumed, losses[cut:], first=cut + 1)
    assert state_of(resumed) == state_of(uninterrupted)
    assert resumed.state_dict() == uninterrupted.state_dict()


def test_a_state_is_a_copy() -> None:
    """Breaks if a state that was saved or loaded changes with the run."""
    schedule = Plateau(TASKS, LENGTH, patience=1)
    before = schedule.state_dict()
    restored = Plateau(TASKS, LENGTH, patience=1)
    restored.load_state_dict(before)
    watch(restored, [1.0])
    saved = restored.state_dict()
    watch(restored, [1.0], first=2)
    assert saved["started"] == {"y1": 0}
    assert restored.state_dict()["started"] == {"y1": 0, "y2": 2}
    assert before == schedule.state_dict() == Plateau(TASKS, LENGTH).state_dict()


# What it refuses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"order": ["y2", "y3"]}, "schedule.order names the unknown task 'y3'; allowed: y1, y2."),
        (
            {"order": ["y2"]},
            "schedule.order leaves out the task 'y1'; write every task once: [y1, y2] in any order.",
        ),
        (
            {"order": []},
            "schedule.order leaves out the task 'y1'; write every task once: [y1, y2] in any order.",
        ),
        (
            {"order": ["y1", "y2", "y1"]},
            "schedule.order names the task 'y1' more than once; write every task once: [y1, y2] in any order.",
        ),
        (
            {"order": "y1"},
            "schedule.order must be a list of all tasks, [y1, y2] in any order; found 'y1'.",
        ),
        ({"patience": 0}, "schedule.patience must be a whole number of at least 1; found 0."),
        ({"patience": 2.5}, "schedule.patience must be a whole number of at least 1; found 2.5."),
        ({"patience": True}, "schedule.patience must be a whole number of at least 1; found True."),
        ({"patience": None}, "schedule.patience must be a whole number of at least 1; found None."),
        ({"min_delta": -0.1}, "schedule.min_delta must be a number of at least 0; found -0.1."),
        ({"min_delta": "1%"}, "schedule.min_delta must be a number of at least 0; found '1%'."),
        (
            {"min_delta": float("nan")},
            "schedule.min_delta must be a number of at least 0; found nan.",
        ),
        (
            {"threshold": "low"},
            "schedule.threshold must be a number or {task: number}; found 'low'.",
        ),
        ({"threshold": {"y1": "low"}}, "schedule.threshold.y1 must be a number; found 'low'."),
        (
            {"threshold": {"y3": 1}},
            "schedule.threshold names the unknown task 'y3'; allowed: y1, y2.",
        ),
        (
            {"threshold": {"y3": None}},
            "schedule.threshold names the unknown task 'y3'; allowed: y1, y2.",
        ),
    ],
)
def test_a_plateau_that_cannot_be_says_why(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a typo makes a task wait for ever, or start at some other time than was meant."""
    with pytest.raises(ConfigError) as error:
        Plateau(TASKS, LENGTH, **options)
    assert str(error.value) == sentence
