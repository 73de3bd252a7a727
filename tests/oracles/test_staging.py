"""Staged tasks in training: an idle task has no gradient, which is not a gradient of zero."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtl_runner.experiment.learner import Learner
from mtl_runner.models import SeparateMLPs
from mtl_runner.schedule import RunLength, Schedule, Staged
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.protocols import HasSigmas
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.update import Joint, PerTask, Update
from mtl_runner.weighting import Fixed, Uncertainty, Weighting
from tests.support.builders import (
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
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

Optimizer = Callable[..., torch.optim.Optimizer]
STEPS = 20
LENGTH = RunLength(epochs=STEPS, steps_per_epoch=1)
update_is = pytest.mark.parametrize("update", [Joint, PerTask])
optimizer_is = pytest.mark.parametrize(
    "optimizer",
    [
        Adam,
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        partial(SGD, momentum=0.9, weight_decay=0.1),
    ],
    ids=["Adam", "AdamW", "SGD"],
)
weighting_is = pytest.mark.parametrize(
    "weighting",
    [
        Fixed,
        Uncertainty,
        partial(Uncertainty, lr=None, init=0.0),
        partial(Uncertainty, solver="closed_form"),
    ],
    ids=["fixed", "uncertainty", "uncertainty_shared_lr", "closed_form"],
)


def two_tasks() -> list[Task]:
    """Return the tasks a and b of different kinds."""
    return make_tasks(a="regression", b="classification")


def tensors_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's tensors."""
    return copy_state(
        {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    )


# Every task starts at once, or one never starts


@update_is
@weighting_is
@optimizer_is
def test_starting_every_task_at_once_is_ordinary_training(
    optimizer: Optimizer, weighting: Callable[..., Weighting], update: type[Update]
) -> None:
    """Breaks if the staged schedule changes a run in which nothing is staged."""
    tasks = two_tasks()
    split = make_split(tasks)
    learners = [
        make_learner(tasks, split, weighting=weighting(tasks), optimizer=optimizer, update=update)
        for _ in "12"
    ]
    staged = train(learners[0], split, STEPS, Staged(tasks, LENGTH, start={"a": 0, "b": "0%"}))
    joint = train(learners[1], split, STEPS)
    assert_same_bits(learners[0].model.state_dict(), learners[1].model.state_dict())
    assert_same_bits(staged.weights, joint.weights)
    assert_same_bits(staged.objective, joint.objective)


@update_is
@optimizer_is
def test_a_task_that_never_starts_leaves_single_task_training(
    optimizer: Optimizer, update: type[Update]
) -> None:
    """Breaks if an idle task reaches the trunk, or its own head moves by momentum or decay."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split, optimizer=optimizer, update=update), make_mlp(tasks)
    head = head_state(learner.model, tasks, "b")
    history = train(learner, split, STEPS, Staged(tasks, LENGTH, start={"b": STEPS + 1}))
    train_plainly(
        plain.parameters(), lambda: losses_of(plain, tasks[:1], split)[0], STEPS, optimizer
    )
    assert_same_bits(learner.model.state_dict(), plain.state_dict())
    assert_same_bits(head_state(learner.model, tasks, "b"), head)
    assert (history.weights[:, 1] == 0).all()


@weighting_is
def test_a_task_that_never_starts_leaves_its_sigma_and_the_others_alone(
    weighting: Callable[..., Weighting],
) -> None:
    """Breaks if an idle task's loss enters the weights, or its sigma drifts."""
    tasks = two_tasks()
    split = make_split(tasks)
    both = make_learner(tasks, split, weighting=weighting(tasks))
    before = both.weighting.sigmas()[1] if isinstance(both.weighting, HasSigmas) else None
    history = train(both, split, STEPS, Staged(tasks, LENGTH, start={"b": "200%"}))
    alone = make_learner(
        tasks[:1], split, model=make_mlp(tasks[:1]), weighting=weighting(tasks[:1])
    )
    assert_same_bits(
        copy_state(alone.model.trunk.state_dict()), copy_state(make_mlp(tasks).trunk.state_dict())
    )
    single = train(alone, split, STEPS)
    assert_near(history.weights[:, :1], single.weights, 1e-12)
    assert_near(history.objective, single.objective, 1e-12)
    if isinstance(both.weighting, HasSigmas):
        assert both.weighting.sigmas()[1] == before


def test_without_shared_parameters_a_stage_trains_every_task_as_alone() -> None:
    """Breaks if a stage changes a task that shares nothing with the others."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner = make_learner(tasks, split, model=make_mlp(tasks, kind=SeparateMLPs))
    plain = make_mlp(tasks, kind=SeparateMLPs)
    train(learner, split, STEPS, Staged(tasks, LENGTH, start={"b": 15}))
    train_plainly(plain.nets[0].parameters(), lambda: losses_of(plain, tasks, split)[0], STEPS)
    train_plainly(plain.nets[1].parameters(), lambda: losses_of(plain, tasks, split)[1], STEPS - 15)
    assert_same_bits(learner.model.state_dict(), plain.state_dict())


# The step at which a task starts or ends


@update_is
@pytest.mark.parametrize("idle_steps", [1, 10, 100])
def test_the_first_active_step_of_a_head_is_at_most_the_learning_rate(
    update: type[Update], idle_steps: int
) -> None:
    """Breaks if Adam counts the steps in which the task is idle.

    With zero gradients instead of none, its first active step would be 3.16 times the rate.
    """
    tasks = two_tasks()
    split = make_split(tasks)
    learner = make_learner(
        tasks, split, optimizer=partial(torch.optim.Adam, lr=0.01), update=update
    )
    head = head_state(learner.model, tasks, "b")
    train(
        learner, split, idle_steps + 1, Staged(tasks, RunLength(1000, 1), start={"b": idle_steps})
    )
    moved = max(
        (head_state(learner.model, tasks, "b")[name] - head[name]).abs().max().item()
        for name in head
    )
    assert 0.005 < moved <= 0.01 * (1 + 1e-9)


def test_the_first_active_step_of_a_log_variance_is_at_most_its_learning_rate() -> None:
    """Breaks if Adam counts idle steps for a log-variance, whose sigma would jump at the start."""
    tasks = two_tasks()
    split = make_split(tasks)
    weighting = Uncertainty(tasks, init=3.0, lr=0.02)
    learner = make_learner(tasks, split, weighting=weighting)
    train(learner, split, 101, Staged(tasks, RunLength(1000, 1), start={"b": 100}))
    moved = weighting.log_variance[1].item() - 3.0
    assert 0.01 < abs(moved) <= 0.02 * (1 + 1e-9)


@update_is
@optimizer_is
def test_after_its_end_a_task_keeps_its_head(optimizer: Optimizer, update: type[Update]) -> None:
    """Breaks if `until` only removes the loss, while momentum or decay moves the head."""
    tasks = two_tasks()
    split = make_split(tasks)
    learner = make_learner(
        tasks, split, weighting=Uncertainty(tasks), optimizer=optimizer, update=update
    )
    schedule = Staged(tasks, LENGTH, until={"b": 8})
    train(learner, split, 8, schedule)
    head, sigmas = head_state(learner.model, tasks, "b"), learner.weighting.sigmas()
    train(learner, split, STEPS - 8, schedule, first=8)
    assert_same_bits(head_state(learner.model, tasks, "b"), head)
    assert learner.weighting.sigmas()[1] == sigmas[1]
    assert learner.weighting.sigmas()[0] != sigmas[0]


@update_is
@weighting_is
@pytest.mark.parametrize("saved_at", [5, 9, 10, 11])
def test_resuming_before_or_after_a_start_changes_no_bit(
    tmp_path: Path, saved_at: int, weighting: Callable[..., Weighting], update: type[Update]
) -> None:
    """Breaks if a resumed run forgets which tasks had started, or Adam's steps for one of them."""
    tasks = two_tasks()
    split = make_split(tasks)
    schedule = Staged(tasks, LENGTH, start={"b": 10})

    def make() -> Learner:
        return make_learner(tasks, split, weighting=weighting(tasks), update=update)

    uninterrupted, first, second = make(), make(), make()
    train(uninterrupted, split, STEPS, schedule)
    train(first, split, saved_at, schedule)
    parts = ("model", "weighting", "update", "own_optimizers")
    checkpoint.save(
        tmp_path / "checkpoint.pt", {part: getattr(first, part).state_dict() for part in parts}
    )
    for part, state in checkpoint.load(tmp_path / "checkpoint.pt").items():
        getattr(second, part).load_state_dict(state)
    train(second, split, STEPS - saved_at, schedule, first=saved_at)
    assert_same_bits(second.model.state_dict(), uninterrupted.model.state_dict())
    assert_same_bits(tensors_of(second.weighting), tensors_of(uninterrupted.weighting))


@pytest.mark.parametrize(
    "options",
    [{}, {"update": PerTask}, {"update": PerTask, "groups": [["a", "b"]]}],
    ids=["joint", "per_task", "grouped"],
)
def test_a_stacked_tensor_of_losses_leaves_an_idle_head_alone(
    options: dict[str, object],
) -> None:
    """Breaks if in a user's loop the zero gradients of stacked losses reach the optimizer."""
    tasks = two_tasks()
    split = make_split(tasks)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    stacked, separate = (make_learner(tasks, split, optimizer=optimizer, **options) for _ in "12")
    schedule = Staged(tasks, LENGTH, start={"b": 5}, until={"b": 10})
    for step in range(STEPS):
        active = Active(schedule.activation(step))
        stacked.update(losses_of(stacked.model, tasks, split), torch.tensor(active.values), active)
    train(separate, split, STEPS, schedule)
    assert_near(stacked.model.state_dict(), separate.model.state_dict(), 1e-14)
    assert_same_bits(head_state(stacked.model, tasks, "b"), head_state(separate.model, tasks, "b"))


# An activity between 0 and 1


class Constant(Schedule):
    """A schedule with the same activity at every step."""

    values = (1.0, 0.5)

    def activation(self, step: int) -> tuple[float, ...]:
        del step
        return self.values


def test_an_activity_between_zero_and_one_scales_the_weight() -> None:
    """Breaks if an activity of one half is anything but half the weight."""
    tasks = two_tasks()
    split = make_split(tasks)
    half = make_learner(tasks, split)
    fixed = make_learner(tasks, split, weighting=Fixed(tasks, {"b": 0.5}))
    history = train(half, split, STEPS, Constant(tasks, LENGTH))
    train(fixed, split, STEPS)
    assert_same_bits(half.model.state_dict(), fixed.model.state_dict())
    assert_same_bits(history.weights[0], torch.tensor([1.0, 0.5]))
