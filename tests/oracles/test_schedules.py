"""Ramps, plateaus and turns in the real training step, against fixed weights, stages and plain loops."""

from __future__ import annotations

from functools import partial
from itertools import cycle

import pytest
import torch
from torch import Tensor

from mtl_runner.experiment.learner import Learner
from mtl_runner.models import SeparateMLPs
from mtl_runner.schedule import Alternate, Length, Plateau, Ramp, Schedule, Staged
from mtl_runner.tasks.task import Task
from mtl_runner.train.batches import Batches
from mtl_runner.update import Joint, PerTask, Update
from mtl_runner.weighting import Fixed, Uncertainty
from tests.support.builders import (
    SGD,
    Adam,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    near,
    private,
    same_bits,
    train,
    train_plainly,
)

pytestmark = pytest.mark.usefixtures("float64")

STEPS = 20
LENGTH = Length(epochs=STEPS, steps_per_epoch=1)
update_is = pytest.mark.parametrize("update", [Joint, PerTask])


def two_tasks() -> list[Task]:
    return make_tasks(a="regression", b="classification")


def clocks(learner: Learner, name: str) -> set[int]:
    """How many steps Adam has counted for the parameters of one task's head."""
    tasks = learner.likelihood.tasks
    head = set(learner.model.heads[[task.name for task in tasks].index(name)].parameters())
    return {
        int(state["step"])
        for optimizer in learner.update.optimizers
        for parameter, state in optimizer.state.items()
        if parameter in head and state
    }


# Ramp


@pytest.mark.parametrize("everyone", [False, True])
def test_a_constant_ramp_is_a_fixed_weight(everyone: bool) -> None:
    """Breaks if an activity of one half is anything else than half the weight."""
    tasks = two_tasks()
    split = make_split(tasks)
    halved = ["a", "b"] if everyone else ["b"]
    optimizer = partial(SGD, momentum=0.9)
    ramped = make_learner(tasks, split, optimizer=optimizer)
    fixed = make_learner(
        tasks, split, optimizer=optimizer, weighting=Fixed(tasks, dict.fromkeys(halved, 0.5))
    )
    schedule = Ramp(tasks, LENGTH, {name: [[0, 0.5]] for name in halved})
    same_bits(train(ramped, split, STEPS, schedule).weights, train(fixed, split, STEPS).weights)
    same_bits(ramped.model.state_dict(), fixed.model.state_dict())


@pytest.mark.parametrize("optimizer", [SGD, Adam], ids=["SGD", "Adam"])
def test_a_rising_ramp_is_the_loop_that_multiplies_the_loss(
    optimizer: partial[torch.optim.Optimizer],
) -> None:
    """Breaks if a weight on the way up is not the one of its step."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split, optimizer=optimizer), make_mlp(tasks)
    clock = iter(range(STEPS))

    def objective() -> Tensor:
        first, second = losses_of(plain, tasks, split)
        return first + (0.25 + 0.5 * next(clock) / STEPS) * second

    train(learner, split, STEPS, Ramp(tasks, LENGTH, {"b": [[0, 0.25], ["100%", 0.75]]}))
    train_plainly(plain.parameters(), objective, STEPS, optimizer)
    near(learner.model.state_dict(), plain.state_dict(), 1e-12)


@update_is
def test_a_ramp_that_jumps_is_a_stage(update: type[Update]) -> None:
    """Breaks if a task at 0 on a ramp is less idle than a task that has not started."""
    tasks = two_tasks()
    split = make_split(tasks)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    ramped, staged = (make_learner(tasks, split, optimizer=optimizer, update=update) for _ in "12")
    train(ramped, split, STEPS, Ramp(tasks, LENGTH, {"b": [[7, 0], [7, 1], [15, 1], [15, 0]]}))
    train(staged, split, STEPS, Staged(tasks, LENGTH, start={"b": 7}, until={"b": 15}))
    same_bits(ramped.model.state_dict(), staged.model.state_dict())


# Alternate


@update_is
@pytest.mark.parametrize("proportions", [None, {"a": 2}])
def test_a_turn_leaves_the_idle_head_and_its_clock_alone(
    update: type[Update], proportions: dict[str, float] | None
) -> None:
    """Breaks if momentum, weight decay or a gradient of zero moves the head of a task whose turn it is not."""
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
            {name: private(learner.model, tasks, name) for name in "ab"},
            learner.weighting.sigmas(),
        )
        train(learner, split, 1, schedule, first=step)
        taken[active] += 1
        same_bits(private(learner.model, tasks, idle), before[idle])
        assert learner.weighting.sigmas()["ab".index(idle)] == sigmas["ab".index(idle)]
        assert not torch.equal(
            private(learner.model, tasks, active)["weight"], before[active]["weight"]
        )
        assert {name: clocks(learner, name) for name in "ab"} == {
            name: {count} if count else set() for name, count in taken.items()
        }
    assert min(taken.values()) > 2


@pytest.mark.parametrize("optimizer", [SGD, Adam], ids=["SGD", "Adam"])
def test_alternating_is_the_loop_with_one_loss_per_step(
    optimizer: partial[torch.optim.Optimizer],
) -> None:
    """Breaks if another task's loss enters a turn."""
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
    same_bits(learner.model.state_dict(), plain.state_dict())


def test_without_shared_parameters_the_turns_are_training_alone() -> None:
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
    same_bits(learner.model.state_dict(), plain.state_dict())


@pytest.mark.parametrize("saved_at", [1, 9, 10])
@pytest.mark.parametrize(
    "make", [partial(Alternate, proportions=1, seed=3), Ramp], ids=["alternate", "ramp"]
)
def test_a_new_schedule_goes_on_where_the_old_one_was_left(
    make: partial[Schedule], saved_at: int
) -> None:
    """Breaks if a resumed run has other turns, or begins its ramp anew."""
    tasks = two_tasks()
    split = make_split(tasks)
    whole, parts = (make_learner(tasks, split) for _ in "12")
    train(whole, split, STEPS, make(tasks, LENGTH))
    train(parts, split, saved_at, make(tasks, LENGTH))
    train(parts, split, STEPS - saved_at, make(tasks, LENGTH), first=saved_at)
    same_bits(parts.model.state_dict(), whole.model.state_dict())


# Plateau


def test_a_plateau_is_the_stage_that_its_losses_call_for() -> None:
    """Breaks if the start that is decided after an epoch does not take effect with the next one, in the order of the data."""
    tasks = two_tasks()
    split = make_split(tasks)
    epochs, batch_size = 12, 8
    length = Length(epochs, 3)

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
    found = run(plateau)
    start = plateau.last_start()
    assert 1 < start < epochs
    same_bits(
        found.model.state_dict(), run(Staged(tasks, length, start={"b": start})).model.state_dict()
    )
