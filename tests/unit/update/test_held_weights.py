"""``update.every``: weights of the tasks' gradients that are used for several steps."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.learner import Learner
from mtl_runner.update import Jacobian, Joint
from mtl_runner.update.held_weights import HeldWeights
from mtl_runner.weighting import Fixed, GradNorm
from tests.support.builders import (
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
    flat_parameters,
    losses_of,
    make_split,
    make_tasks,
)
from tests.unit.update.learners import KINDS_OF, Pairs, learner_with, only, through_a_file

aggregation = pytest.importorskip("torchjd.aggregation")

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(**KINDS_OF)
WEIGHTS = {"a": 0.5, "b": 3.0, "c": 20.0}


@functools.cache
def split_of_tasks() -> Split:
    """Return the rows, in double precision: the fixture of the file is on when it is called."""
    return make_split(TASKS)


def learner_of(every: int, aggregator: Any = "nash_mtl", **options: Any) -> Learner:
    """Return a learner on a model whose parameters have every kind of owner."""
    options = {"weighting": Fixed(TASKS, WEIGHTS), "optimizer": SGD, **options}
    return learner_with(
        Jacobian,
        TASKS,
        split_of_tasks(),
        model=Pairs(TASKS),
        aggregator=aggregator,
        every=every,
        **options,
    )


def by_hand(learner: Learner, rows: Tensor) -> list[Tensor]:
    """Return the gradients of a step with known weights of the rows, by plain autograd."""
    model, parameters = learner.model, learner.update.parameters
    losses = losses_of(model, TASKS, split_of_tasks())
    gradients = []
    for parameter, owners in zip(parameters.tensors, parameters.owners, strict=True):
        parts = [
            list(WEIGHTS.values())[t]
            * (rows[t] if len(owners) > 1 else 1.0)
            * torch.autograd.grad(losses[t], parameter, retain_graph=True)[0]
            for t in sorted(owners)
        ]
        gradients.append(torch.stack(parts).sum(0))
    return gradients


def test_between_two_looks_the_step_is_that_of_the_last_weights() -> None:
    """Breaks if a step in between has other weights, or the heads get those of the rows."""
    learner = learner_of(every=3)
    used = []
    for _ in range(6):
        before = copy_state(learner.model.state_dict())
        rows = learner.step(split_of_tasks(), only(0, 1, 2)).measured["aggregator_weight"]
        used.append(rows)
        after = copy_state(learner.model.state_dict())
        learner.model.load_state_dict(before)
        expected = by_hand(learner, rows)
        learner.model.load_state_dict(after)
        for parameter, gradient in zip(learner.update.parameters.tensors, expected, strict=True):
            assert_near(parameter.grad, gradient, 1e-12 * float(gradient.abs().max()))
    assert_same_bits(used[1], used[0])
    assert_same_bits(used[2], used[0])
    assert not torch.equal(used[3], used[0])
    assert_same_bits(used[5], used[3])


def test_a_step_in_between_is_one_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if holding the weights saves nothing."""
    calls: list[str] = []
    for name in ("grad", "backward"):
        function = getattr(torch.autograd, name)
        monkeypatch.setattr(
            torch.autograd,
            name,
            lambda *args, f=function, n=name, **kwargs: (calls.append(n), f(*args, **kwargs))[1],
        )
    learner = learner_of(every=3)
    counts = []
    for _ in range(4):
        learner.step(split_of_tasks(), only(0, 1, 2))
        counts.append(len(calls))
        calls.clear()
    assert counts == [3, 1, 1, 3]
    assert learner.backward_passes == pytest.approx(5 / 3)


def test_a_task_of_weight_0_still_trains_its_head() -> None:
    """Breaks if a head is frozen, or divided by 0, because its row does not count."""
    only_second = aggregation.Constant(torch.tensor([0.0, 2.0, 1e-9]))
    learner = learner_of(every=2, aggregator=only_second)
    for _ in range(2):
        before = copy_state(learner.model.state_dict())
        learner.step(split_of_tasks(), only(0, 1, 2))
    learner.model.load_state_dict(before)
    expected = by_hand(learner, torch.tensor([0.0, 2.0, 1e-9]))
    for parameter, gradient in zip(learner.update.parameters.tensors, expected, strict=True):
        assert_near(parameter.grad, gradient, 1e-12)


@pytest.mark.parametrize("aggregator", ["nash_mtl", "pcgrad", "random"])
def test_every_step_is_the_method_itself(aggregator: str) -> None:
    """Breaks if every=1 differs from the method without the option by a single bit."""
    alone = learner_with(
        Jacobian, TASKS, split_of_tasks(), model=Pairs(TASKS), aggregator=aggregator, optimizer=Adam
    )
    held = learner_of(1, aggregator, optimizer=Adam, weighting=Fixed(TASKS))
    for learner in (alone, held):
        for active in ((0, 1, 2), (0, 2), (0, 1, 2)):
            learner.step(split_of_tasks(), only(*active))
    assert_same_bits(flat_parameters(held.model), flat_parameters(alone.model))
    assert "held" not in held.update.state_dict()


def test_other_tasks_get_weights_of_their_own_at_once() -> None:
    """Breaks if a task that was idle gets the weight of another one, or none."""
    learner = learner_of(every=10)
    weights = [
        learner.step(split_of_tasks(), only(*active)).measured["aggregator_weight"]
        for active in ((0, 1, 2), (0, 1, 2), (0, 2), (0, 2), (1,), (0, 2))
    ]
    assert_same_bits(weights[1], weights[0])
    assert weights[2][1] == 0
    assert not torch.equal(weights[2], weights[0])
    assert_same_bits(weights[3], weights[2])
    assert_same_bits(weights[4], torch.tensor([0.0, 1.0, 0.0]))
    assert_same_bits(weights[5], weights[2])


@pytest.mark.parametrize("steps", range(1, 5))
def test_a_copy_goes_on_in_the_middle_of_a_period(steps: int) -> None:
    """Breaks if a resumed run looks at the gradients earlier or later, or forgets the weights."""
    learner, twin = (learner_of(4, "random", optimizer=Adam) for _ in range(2))
    for _ in range(steps):
        learner.step(split_of_tasks(), only(0, 1, 2))
    twin.model.load_state_dict(copy_state(learner.model.state_dict()))
    twin.update.load_state_dict(through_a_file(learner.update.state_dict()))
    for continued in (learner, twin):
        for _ in range(5):
            continued.step(split_of_tasks(), only(0, 1, 2))
    assert_same_bits(flat_parameters(twin.model), flat_parameters(learner.model))


def test_gradnorm_looks_at_the_norms_as_often() -> None:
    """Breaks if GradNorm measures at every step, or moves its weights without a measurement."""
    weighting = GradNorm(TASKS)
    learner = learner_with(
        Joint,
        TASKS,
        split_of_tasks(),
        model=Pairs(TASKS),
        weighting=weighting,
        optimizer=Adam,
        every=3,
    )
    weights = [learner.step(split_of_tasks(), only(0, 1, 2)).weight for _ in range(7)]
    assert_same_bits(weights[1], weights[2])
    assert_same_bits(weights[2], weights[3])
    assert not torch.equal(weights[4], weights[3])
    assert_same_bits(weights[5], weights[4])
    assert learner.update.optimizer_tasks is None
    assert learner.backward_passes == 2.0


def test_what_holds_no_weights_is_refused() -> None:
    """Breaks if a direction is replaced by another one without a word."""
    for options, sentence in (
        (
            {"aggregator": "graddrop"},
            "update.every=2 holds the weights of the tasks' gradients, and the direction of update.aggregator=graddrop is no weighted sum of them; leave update.every at 1.",
        ),
        (
            {"aggregator": "moco"},
            "update.every=2 holds the weights of the tasks' gradients, and update.aggregator=moco weighs averages over steps, or looks at several batches; leave update.every at 1.",
        ),
        (
            {"blocks": "tensor"},
            "update.every=2 holds one weight per task, and with update.blocks=tensor every block has its own; leave one of them out.",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            learner_of(2, **options)
        assert str(caught.value) == sentence
    with pytest.raises(ConfigError, match=r"^update.every must be a whole number of at least 1"):
        learner_of(0)


def test_the_state_is_what_was_held() -> None:
    """Breaks if a task with hardly any weight is divided by after a resume."""
    held = HeldWeights.of((0, 2), torch.tensor([3.0, 1e-6]), torch.ones(1))
    again = HeldWeights.from_state(through_a_file(held.state_dict()))
    assert again.small == held.small == (2,)
    assert_same_bits(again.factors(torch.ones(3)), torch.tensor([3.0, 0.0, 1e-6]))
