"""Schedules in training, against fixed weights, against each other and against plain loops."""

from __future__ import annotations

from functools import partial
from itertools import cycle

import pytest
import torch
from torch import Tensor

from mtl_runner.experiment.learner import Learner
from mtl_runner.models import SeparateMLPs
from mtl_runner.schedule import Alternate, Plateau, Ramp, RunLength, Schedule, Staged
from mtl_runner.tasks.task import Task
from mtl_runner.train.batches import Batches
from mtl_runner.update import Joint, PerTask, Update
from mtl_runner.weighting import Fixed, Uncertainty
from tests.support.builders import (
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    head_state,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    train,
    train_plainly,
)

pytestmark = pytest.mark.usefixtures("float64")

STEPS = 20
LENGTH = RunLength(epochs=STEPS, steps_per_epoch=1)
update_is = pytest.mark.parametrize("update", [Joint, PerTask])


def two_tasks() -> list[Task]:
    """Return the tasks a and b of different kinds."""
    return make_tasks(a="regression", b="classification")


def adam_steps(learner: Learner, name: str) -> set[int]:
    """Return the steps that Adam has counted for the parameters of one task's head."""
    tasks = learner.likelihood.tasks
    head = set(learner.model.heads[[task.name for task in tasks].index(name)].parameters())
    return {
        int(state["step"])
        for optimizer in learner.update.optimizers
        for parameter, state in optimizer.state.items()
        if parameter in head and state
    }


# Ramp


@pytest.mark.parametrize("all_tasks", [False, True])
def test_a_constant_ramp_is_a_fixed_weight(all_tasks: bool) -> None:
    """Breaks if an activity of one half is anything but half the weight."""
    tasks = two_tasks()
    split = make_split(tasks)
    halved = ["a", "b"] if all_tasks else ["b"]
    optimizer = partial(SGD, momentum=0.9)
    ramped = make_learner(tasks, split, optimizer=optimizer)
    fixed = make_learner(
        tasks, split, optimizer=optimizer, weighting=Fixed(tasks, dict.fromkeys(halved, 0.5))
    )
    schedule = Ramp(tasks, LENGTH, {name: [[0, 0.5]] for name in halved})
    assert_same_bits(
        train(ramped, split, STEPS, schedule).weights, train(fixed, split, STEPS).weights
    )
    assert_same_bits(ramped.model.state_dict(), fixed.model.state_dict())


@pytest.mark.parametrize("optimizer", [SGD, Adam], ids=["SGD", "Adam"])
def test_a_rising_ramp_is_the_loop_that_multiplies_the_loss(
    optimizer: partial[torch.optim.Optimizer],
) -> None:
    """Breaks if the weight on a rising ramp is that of another step."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split, optimizer=optimizer), make_mlp(tasks)
    clock = iter(range(STEPS))

    def objective() -> Tensor:
        first, second = losses_of(plain, tasks, split)
        return first + (0.25 + 0.5 * next(clock) / STEPS) * second

    train(learner, split, STEPS, Ramp(tasks, LENGTH, {"b": [[0, 0.25], ["100%", 0.75]]}))
    train_plainly(plain.parameters(), objective, STEPS, optimizer)
    assert_near(learner.model.state_dict(), plain.state_dict(), 1e-12)


@update_is
def test_a_ramp_that_jumps_is_a_stage(update: type[Update]) -> None:
    """Breaks if a task whose ramp is at 0 is trained, unlike a task that has not started."""
    tasks = two_tasks()
    split = make_split(tasks)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    ramped, staged = (make_learner(tasks, split, optimizer=optimizer, update=update) for _ in "12")
    train(ramped, split, STEPS, Ramp(tasks, LENGTH, {"b": [[7, 0], [7, 1], [15, 1], [15, 0]]}))
    train(staged, split, STEPS, Staged(tasks, LENGTH, start={"b": 7}, until={"b": 15}))
    assert_same_bits(ramped.model.state_dict(), staged.model.state_dict())


# Alternate


@update_is
@pytest.mark.parametrize("proportions", [None, {"a": 2}])
def test_a_turn_leaves_the_idle_head_and_its_optimizer_alone(
    update: type[Update], proportions: dict[str, float] | None
) -> None:
    """Breaks if momentum, weight decay or a zero gradient moves the head of an idle task."""
    tasks = two_tasks()
    split = make_split(tasks)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    learner = make_learner(
        tasks, split, weighting=Uncertainty(tasks), optimizer=optimizer, update=update
    )
    schedule = Alternate(tasks, LENGTH, proportions=proportions)
    taken = {"a": 0, "b": 0}
    for step in range(STEPS):
        active = "ab"[schedule.activation(step).index(1.0)]
        idle = "b" if active == "a" else "a"
        before, sigmas = (
            {name: head_state(learner.model, tasks, name) for name in "ab"},
            learner.weighting.sigmas(),
        )
        train(learner, split, 1, schedule, first=step)
        taken[active] += 1
        assert_same_bits(head_state(learner.model, tasks, idle), before[idle])
        assert learner.weighting.sigmas()["ab".index(idle)] == sigmas["ab".index(idle)]
        assert not torch.equal(
            head_state(learner.model, tasks, active)["weight"], before[active]["weight"]
        )
        assert {name: adam_steps(learner, name) for name in "ab"} == {
            name: {count} if count else set() for name, count in taken.items()
        }
    assert min(taken.values()) > 2


@pytest.mark.parametrize("optimizer", [SGD, Adam], ids=["SGD", "Adam"])
def test_alternating_is_the_loop_with_one_loss_per_step(
    optimizer: partial[torch.optim.Optimizer],
) -> None:
    """Breaks if another task's loss is part of a turn."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split, optimizer=optimizer), make_mlp(tasks)
    turn = cycle(tasks)
    train(learner, split, STEPS, Alternate(tasks, LENGTH))
    train_plainly(
        plain.parameters(),
        lambda: next(turn).loss(plain(split.inputs), split.targets),
        STEPS,
        optimizer,
    )
    assert_same_bits(learner.model.state_dict(), plain.state_dict())


def test_without_shared_parameters_turns_train_every_task_as_alone() -> None:
    """Breaks if the other tasks' turns change a task that shares nothing with them."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner = make_learner(tasks, split, model=make_mlp(tasks, kind=SeparateMLPs))
    plain = make_mlp(tasks, kind=SeparateMLPs)
    schedule = Alternate(tasks, LENGTH, proportions={"a": 3}, seed=1)
    turns = [schedule.activation(step).index(1.0) for step in range(STEPS)]
    train(learner, split, STEPS, schedule)
    for task in (0, 1):
        parameters = plain.nets[task].parameters()
        train_plainly(
            parameters, lambda t=task: losses_of(plain, tasks, split)[t], turns.count(task)
        )
    assert_same_bits(learner.model.state_dict(), plain.state_dict())


@pytest.mark.parametrize("saved_at", [1, 9, 10])
@pytest.mark.parametrize(
    "make", [partial(Alternate, proportions=1, seed=3), Ramp], ids=["alternate", "ramp"]
)
def test_a_new_schedule_continues_at_the_step_of_the_old_one(
    make: partial[Schedule], saved_at: int
) -> None:
    """Breaks if a resumed run has other turns, or starts its ramp again."""
    tasks = two_tasks()
    split = make_split(tasks)
    uninterrupted, resumed = (make_learner(tasks, split) for _ in "12")
    train(uninterrupted, split, STEPS, make(tasks, LENGTH))
    train(resumed, split, saved_at, make(tasks, LENGTH))
    train(resumed, split, STEPS - saved_at, make(tasks, LENGTH), first=saved_at)
    assert_same_bits(resumed.model.state_dict(), uninterrupted.model.state_dict())


# Plateau


def test_a_plateau_is_the_stage_that_starts_where_it_did() -> None:
    """Breaks if a start that is decided after an epoch does not take effect in the next one."""
    tasks = two_tasks()
    split = make_split(tasks)
    epochs, batch_size = 12, 8
    length = RunLength(epochs, 3)

    def run(schedule: Schedule) -> Learner:
        learner = make_learner(tasks, split, optimizer=partial(Adam, lr=0.3))
        batches = Batches(split, tasks, schedule, batch_size, seed=0)
        for epoch in range(epochs):
            for batch, active in batches.epoch(epoch * batches.count):
                learner.step(batch, active)
            with torch.no_grad():
                losses = losses_of(learner.model, tasks, split).tolist()
            schedule.observe(epoch + 1, dict(zip("ab", losses, strict=True)))
        return learner

    plateau = Plateau(tasks, length, patience=1)
    on_plateau = run(plateau)
    start = plateau.last_start()
    assert 1 < start < epochs
    staged = run(Staged(tasks, length, start={"b": start}))
    assert_same_bits(on_plateau.model.state_dict(), staged.model.state_dict())
