"""Facts that hold for every update, whatever it makes of the gradients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.learner import Learner
from mtl_runner.schedule import RunLength
from mtl_runner.tasks.activity import Active
from mtl_runner.train.epoch_record import EpochBuffer
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask, Update
from mtl_runner.update.aggregator_methods import METHODS
from tests.support.builders import (
    INPUTS,
    Adam,
    assert_near,
    assert_same_bits,
    batches_for,
    copy_state,
    flat_parameters,
    gradients_of,
    head_state,
    losses_of,
    make_mlp,
    make_split,
    make_tasks,
    train,
)
from tests.unit.update.learners import (
    KINDS_OF,
    PATTERNS,
    Optimizer,
    Pairs,
    learner_with,
    only,
    through_a_file,
)

pytestmark = pytest.mark.usefixtures("float64")

Case = tuple[type[Update], Mapping[str, Any]]
LENGTH = RunLength(epochs=10, steps_per_epoch=1)

UPDATES: dict[str, Case] = {
    "joint": (Joint, {}),
    "groups": (
        Joint,
        {"groups": {"shared": {"lr": 0.02}, "b": {"start": 2, "gain": 2.0}}, "length": LENGTH},
    ),
    "per_task": (PerTask, {}),
    "per_task, groups": (PerTask, {"groups": [["a", "c"], ["b"]]}),
    "per_task, fresh": (PerTask, {"gradients": "fresh"}),
    "adatask": (AdaTask, {}),
    **{name: (Jacobian, {"aggregator": name}) for name in METHODS},
}


@pytest.fixture(params=UPDATES.values(), ids=UPDATES)
def case(request: pytest.FixtureRequest) -> Case:
    """Return a kind of update and its options."""
    update: Case = request.param
    if update[0] is Jacobian:
        pytest.importorskip("torchjd")
    return update


AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


def learner_of(case: Case, optimizer: Optimizer = Adam, **options: Any) -> tuple[Learner, Any]:
    """Return a learner on three tasks of different kinds, and its data."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    update, options_of_case = case
    return learner_with(
        update,
        tasks,
        split,
        model=Pairs(tasks),
        optimizer=optimizer,
        **{**options_of_case, **options},
    ), split


# One task


def test_one_task_alone_moves_along_its_own_gradient(case: Case) -> None:
    """Breaks if an update does more to a single task than scale its step."""
    tasks = make_tasks(b="regression")
    split = make_split(tasks)
    update, options_of_case = case
    options = {
        key: value for key, value in options_of_case.items() if key != "groups"
    }  # whose parts and partition need the others
    model = make_mlp(tasks)
    # An Adam whose step is its gradient, since AdaTask knows no SGD.
    linear = partial(torch.optim.Adam, lr=1e6, eps=1e8, betas=(0.0, 0.0))
    before, gradient = flat_parameters(model), gradients_of(model, tasks, split)[0]
    train(learner_with(update, tasks, split, model=model, optimizer=linear, **options), split, 1)
    assert_near(
        (before - flat_parameters(model)) / gradient.norm(), 0.01 * gradient / gradient.norm(), 1e-9
    )


def test_one_active_task_of_several_is_trained_alone(case: Case) -> None:
    """Breaks if idle tasks have a say, or an update of one task is not the optimizer's own step."""
    if "groups" in case[1] and case[0] is Joint:
        case = (Joint, {"groups": {"a": {}}})
    learner, split = learner_of(case, AdamW)
    joint, _ = learner_of((Joint, {}), AdamW)
    for trained in (learner, joint):
        for _ in range(4):
            trained.step(batches_for(trained, split), only(1))
    assert_near(learner.model.state_dict(), joint.model.state_dict(), 1e-14)


# Symmetry


# The order of the tasks decides who steps first, is the primary task, draws which number, and ties.
ORDERED = {
    "per_task, fresh",
    "pcd",
    "krum",
    *(name for name, method in METHODS.items() if method.is_random),
}


@pytest.mark.parametrize(
    "case",
    [UPDATES[n] for n in UPDATES if n not in ORDERED],
    ids=[n for n in UPDATES if n not in ORDERED],
    indirect=True,
)
def test_permuting_the_tasks_permutes_everything(case: Case) -> None:
    """Breaks if a result depends on the order in which the tasks are listed."""
    update, options = case
    forward, backward = make_tasks(**KINDS_OF), make_tasks(**dict(reversed(KINDS_OF.items())))
    split = make_split(forward)
    model, turned = make_mlp(forward), make_mlp(backward)
    turned.trunk.load_state_dict(model.trunk.state_dict())
    for head, twin in zip(model.heads, reversed(turned.heads), strict=True):
        twin.load_state_dict(head.state_dict())
    losses = [
        train(learner_with(update, tasks, split, model=m, **options), split, 8).losses
        for tasks, m in ((forward, model), (backward, turned))
    ]
    assert_near(losses[1].flip(1), losses[0], 1e-8)
    assert_near(copy_state(turned.trunk.state_dict()), copy_state(model.trunk.state_dict()), 1e-8)


# Idle tasks


@pytest.mark.parametrize("active", [(1, 2), (2,)])
def test_idle_tasks_keep_their_parameters_moments_and_clocks(
    case: Case, active: tuple[int, ...]
) -> None:
    """Breaks if what only idle tasks reach decays, coasts or ages."""
    learner, split = learner_of(case, AdamW)
    train(learner, split, 4)
    left = learner.model.left if active == (2,) else None
    still = [*learner.model.heads[0].parameters(), *(left.parameters() if left is not None else ())]
    numbers = [p.detach().clone() for p in still]
    states = states_of(learner, still)
    for _ in range(3):
        learner.step(batches_for(learner, split), only(*active))
    assert_same_bits([p.detach() for p in still], numbers)
    assert_same_bits(states_of(learner, still), states)
    moved = head_state(learner.model, learner.likelihood.tasks, "c")
    learner.step(batches_for(learner, split), only(*active))
    assert (
        head_state(learner.model, learner.likelihood.tasks, "c")["weight"] != moved["weight"]
    ).any()


def states_of(learner: Learner, parameters: list[torch.nn.Parameter]) -> list[dict[str, Tensor]]:
    """Return copies of the states that the optimizers keep of these parameters."""
    return [
        copy_state(o.state[p])
        for o in learner.update.optimizers
        for p in parameters
        if p in o.state
    ]


def test_stacked_losses_are_a_list_of_losses(case: Case) -> None:
    """Breaks if zero gradients of a stacked graph reach a moment, a clock or decay."""
    models = []
    for stacked in (False, True):
        learner, split = learner_of(case, AdamW)
        models.append(learner.model)
        for active in ((0, 1, 2), (0, 2), (1,), (0, 1, 2)):

            def again(
                learner: Learner = learner, split: Any = split, stacked: bool = stacked
            ) -> Any:
                losses = learner.likelihood.losses(learner.model(split.inputs), split.targets)
                return torch.stack(losses) if stacked else losses

            learner.update(
                again(), torch.ones(3), only(*active), again, [again] * (learner.update.batches - 1)
            )
    assert_near(models[1].state_dict(), models[0].state_dict(), 1e-12)


class Stacked(nn.Module):
    """Heads whose halves are stacked in the forward pass; their gradients are strided views."""

    def __init__(self, shares: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(INPUTS, INPUTS) if shares else nn.Identity()
        self.halves = nn.ParameterList(torch.randn(INPUTS, 2) for _ in range(4))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs).tanh()
        heads = [
            features @ torch.stack([self.halves[t], self.halves[t + 1]], dim=2).flatten(1)
            for t in (0, 2)
        ]
        return {
            name: head.view(-1, 2, 2) @ torch.tensor([1.0, 2.0])
            for name, head in zip("ab", heads, strict=True)
        }


@pytest.mark.parametrize(
    ("update", "options"),
    [(PerTask, {}), (AdaTask, {}), (Jacobian, {"aggregator": "sum"})],
    ids=["per_task", "adatask", "jacobian"],
)
def test_a_gradient_is_laid_out_like_its_parameter(
    update: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if a fused optimizer reads a strided gradient as if it were contiguous."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    models = []
    for kind, options_of_case in ((Joint, {}), (update, options)):
        models.append(
            Stacked(shares=update is Jacobian)
        )  # where nothing is shared, every update is joint training
        fused = partial(torch.optim.Adam, lr=0.01, fused=True)
        train(
            learner_with(kind, tasks, split, model=models[-1], optimizer=fused, **options_of_case),
            split,
            5,
        )
    assert_near(models[1].state_dict(), models[0].state_dict(), 1e-13)


# Going on


def test_a_fresh_copy_continues_from_a_saved_state_to_the_last_bit(case: Case) -> None:
    """Breaks if an update forgets anything at a resume, with any tasks active around it."""
    learner, split = learner_of(case, AdamW, **({"seed": 1} if case[0] is Jacobian else {}))
    for active in PATTERNS[:4]:
        learner.step(batches_for(learner, split), only(*active))
    model, state = (
        copy_state(learner.model.state_dict()),
        through_a_file(learner.update.state_dict()),
    )
    twin, _ = learner_of(case, AdamW)
    twin.model.load_state_dict(model)
    twin.update.load_state_dict(state)
    for continued in (learner, twin):
        for active in (*PATTERNS, (0, 1, 2), (0, 1)):
            continued.step(batches_for(continued, split), only(*active))
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())


# What goes wrong


@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_nan_is_reported_with_the_name_of_its_task(case: Case, broken: str) -> None:
    """Breaks if a diverged run goes on, blames the wrong task, or ends in the error of a solver."""
    tasks = make_tasks(a="regression", b="regression", c="multilabel")
    split = make_split(tasks)
    split.targets[broken][5] = torch.nan  # not marked as missing: what a broken loss looks like
    update, options = case
    learner = learner_with(update, tasks, split, model=Pairs(tasks), **options)
    buffer = EpochBuffer(tasks, 3, torch.device("cpu"), learner.layout)
    all_active = Active.all(3)
    for _ in range(3):
        buffer.add(learner.step(batches_for(learner, split), all_active), all_active)
    with pytest.raises(DivergedError, match=rf"task '{broken}' became nan in epoch 7, step 101"):
        buffer.take(7, 101)


def test_training_goes_on_where_a_loss_is_zero(case: Case) -> None:
    """Breaks if a task that is solved exactly turns the others into NaN."""
    tasks = make_tasks(a="regression", b="regression", c="multilabel")
    split, model = make_split(tasks), Pairs(tasks)
    split.targets["a"] = model(split.inputs)["a"].detach()
    update, options = case
    learner = learner_with(update, tasks, split, model=model, **options)
    first = losses_of(model, tasks, split).detach()
    train(learner, split, 5)
    assert flat_parameters(model).isfinite().all()
    assert first[0] == 0
