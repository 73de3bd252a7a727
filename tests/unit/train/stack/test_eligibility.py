"""Which runs make one stack: only such as differ in numbers that replicas may differ in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.build import Experiment, build
from mtl_runner.schedule import RunLength, Schedule
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.batches import Batches
from mtl_runner.train.stack.eligibility import (
    config_key,
    experiment_key,
    reason_in_batches,
    reason_not_to_stack,
    replica_bytes,
)
from mtl_runner.weighting import Fixed, Weighting
from tests.support.builders import make_split, make_tasks
from tests.support.whole_runs import compose_config, everything_config


def make_experiment(*overrides: str, gaps: bool = False, **data: Any) -> Experiment:
    """Return an experiment on a task of every kind."""
    return build(everything_config(*overrides, gaps=gaps, **data))


def key_of(*overrides: str, **data: Any) -> str:
    """Return the key of a config."""
    config: Any = OmegaConf.to_container(everything_config(*overrides, **data), resolve=True)
    return config_key(config)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((), ("seed=7",), True),
        ((), ("name=other",), True),
        (("optimizer.lr=0.1",), ("optimizer.lr=0.2",), True),
        (("optimizer.weight_decay=0.1",), ("optimizer.weight_decay=0.2",), True),
        (("optimizer.weight_decay=0.1",), ("optimizer.weight_decay=0.0",), False),
        (("optimizer=adam",), ("optimizer=sgd",), False),
        (("weighting.weights=2.0",), ("weighting.weights=3.0",), True),
        (("weighting=fixed",), ("weighting=uncertainty",), False),
        (("trainer.epochs=3",), ("trainer.epochs=4",), False),
        (("record.interference=true",), ("record.interference=false",), True),
        (("record.gradients=true",), ("record.gradients=false",), False),
        (("model.hidden=[8]",), ("model.hidden=[9]",), False),
    ],
)
def test_configs_that_differ_in_numbers_alone_have_one_key(
    first: tuple[str, ...], second: tuple[str, ...], same: bool
) -> None:
    """Breaks if runs that cannot be one stack are put into one, or a sweep is not stacked."""
    assert (key_of(*first) == key_of(*second)) is same


def test_numbers_of_the_data_may_differ_but_not_the_batches() -> None:
    """Breaks if replicas need batches of several sizes, or a sweep over noise is not stacked."""
    assert key_of(rows=60) == key_of(rows=80)
    assert key_of(batch_size=16) != key_of(batch_size=8)


@pytest.mark.parametrize(
    ("options", "gaps", "part"),
    [
        ((), False, ""),
        (("weighting=uncertainty", "update=per_task"), False, ""),
        (("weighting=random",), False, ""),
        (("weighting=gradnorm",), False, ""),
        (("weighting=norm_balance",), False, ""),
        (("weighting=cov",), False, ""),
        (
            ("weighting=lra",),
            False,
            "LRAnnealing measures each run's gradients every few steps",
        ),
        (("weighting=ntk",), False, "NTK measures each run's gradients every few steps"),
        (("weighting=frozen_mean",), False, "FrozenMean keeps a state"),
        (("update=jacobian", "update.aggregator=sum"), False, "the update Jacobian"),
        (("schedule=plateau",), False, "the schedule Plateau"),
        ((), True, ""),
        (("record.gradients=true",), False, "record.gradients"),
        (("+debug=true",), False, "debug=true"),
        (("optimizer._target_=torch.optim.Rprop",), False, "the optimizer Rprop"),
        (
            ("trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}",),
            False,
            "the learning-rate scheduler ReduceLROnPlateau",
        ),
        (("trainer.lr_scheduler_per=step",), False, "trainer.lr_scheduler_per=step changes"),
        (("trainer.checkpoint_every=2",), False, "trainer.checkpoint_every saves each run"),
        (("trainer.warmup=5%",), False, "trainer.warmup changes the learning rates"),
        (("model.dropout=0.5",), False, "dropout"),
        (("trainer.precision=bf16",), False, "trainer.precision=bf16 would round otherwise"),
        (("trainer.devices=2",), False, "trainer.devices shares the batches"),
        (("trainer.accumulate=2",), False, "trainer.accumulate takes the batches"),
        (("trainer.ema=0.9",), False, "trainer.ema follows the weights"),
    ],
)
def test_what_a_stack_cannot_do_is_a_reason(
    options: tuple[str, ...], gaps: bool, part: str
) -> None:
    """Breaks if a run is stacked that a stack trains differently, or the reason is another one."""
    reason = reason_not_to_stack(make_experiment(*options, gaps=gaps))
    assert part in reason
    assert bool(reason) == bool(part)


def test_a_model_that_draws_noise_is_not_stacked() -> None:
    """Breaks if the replicas of a variational autoencoder get the noise of one generator."""
    experiment = build(compose_config("data=vae_digits"))
    assert reason_not_to_stack(experiment) == "the model draws noise"


class Roots(Weighting):
    """A weighting of a user's, who has never heard of stacks."""

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the sum of the square roots."""
        return losses.sqrt().sum()


class Learning(Roots):
    """It has a parameter, by which it multiplies."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the sum of the square roots, times a parameter."""
        return self.factor * super().forward(losses, active)


class Counting(Roots):
    """It counts its calls in an attribute."""

    calls = 0

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return a sum that grows with the calls."""
        self.calls += 1
        return self.calls * losses.sum()


class Remembering(Roots):
    """It keeps the last losses in a list, and answers by them."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.seen = [torch.ones(len(tasks))]

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the sum of the ratios to the last losses."""
        ratios = losses / self.seen[-1]
        self.seen[-1] = losses.detach()
        return ratios.sum()


class Drawing(Roots):
    """It draws from NumPy's generator."""

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return a random multiple of the sum."""
        return float(np.random.rand()) * losses.sum()


class Preparing(Roots):
    """It wants to be told of the losses first."""

    def prepare(self, losses: Tensor, active: Active | None = None) -> None:
        """Look at the losses."""


class FromThirdCallOn(Counting):
    """It changes its ways in its third call, and only then."""

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the sum, later its double."""
        super().forward(losses, active)
        return losses.sum() * (2 if self.calls > 2 else 1)


@pytest.mark.parametrize(
    ("made", "stacks"),
    [
        (Roots, True),
        (Learning, True),
        (Counting, False),
        (Remembering, False),
        (Drawing, False),
        (Preparing, False),
        (FromThirdCallOn, False),
    ],
)
def test_a_weighting_of_the_users_is_tried_out(made: type[Weighting], stacks: bool) -> None:
    """Breaks if a user reads that his stateless weighting keeps a state, or one with a state stacks."""
    experiment = make_experiment("weighting=fixed")
    weighting = made(experiment.data.tasks)
    experiment.learner.weighting = weighting
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), repr(vars(weighting))
    reason = reason_not_to_stack(experiment)
    assert reason == ("" if stacks else f"{made.__name__} keeps a state or draws at random")
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), repr(vars(weighting))
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_subclass_of_ours_is_tried_out_too() -> None:
    """Breaks if a subclass inherits a promise that it does not keep."""

    class Doubled(Fixed):
        pass

    experiment = make_experiment("weighting=fixed")
    experiment.learner.weighting = Doubled(experiment.data.tasks)
    assert reason_not_to_stack(experiment) == ""


def test_a_batch_without_a_label_of_a_task_keeps_a_run_out() -> None:
    """Breaks if a stack gives an idle task a gradient, or a sweep with few gaps is not stacked."""
    tasks = [replace(task, missing=True) for task in make_tasks(a="regression", b="regression")]
    split = make_split(tasks)
    rows = len(split)
    schedule = Schedule(tasks, RunLength(3, 1))
    for missing, batch_size, reason in (
        (range(0), 1, ""),
        (range(1), rows, ""),
        (range(1), 1, "some batch of it holds no label of 'b'"),
        (range(rows), rows, "some batch of it holds no label of 'b'"),
    ):
        target = split.targets["b"].clone()
        target[list(missing)] = torch.nan
        gaps = Split(split.inputs, {**split.targets, "b": target})
        batches = Batches(gaps, tasks, schedule, batch_size, seed=0)
        assert reason_in_batches(batches, 3, tasks) == reason


def test_experiments_of_other_shapes_have_another_key() -> None:
    """Breaks if data of several sizes, which one config can give, are put into one stack."""
    assert experiment_key(make_experiment()) == experiment_key(make_experiment("seed=5"))
    assert experiment_key(make_experiment()) != experiment_key(make_experiment(rows=80))


def test_experiments_whose_modules_differ_in_an_attribute_have_another_key() -> None:
    """Breaks if the first replica's dropout rate or epsilon is used for all."""
    first, second = make_experiment(), make_experiment()
    next(iter(second.learner.model.modules())).epsilon = 0.5
    assert experiment_key(first) != experiment_key(second)


def test_own_data_cost_memory_for_every_replica() -> None:
    """Breaks if a stack whose replicas have data of their own does not fit into memory."""
    experiment = make_experiment()
    split = experiment.data.splits["train"]
    tensors = [split.inputs, *split.targets.values()]
    data = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert replica_bytes(experiment, True) - replica_bytes(experiment, False) == 3 * data
    weights = sum(4 * p.numel() for p in experiment.learner.model.parameters())
    assert replica_bytes(experiment, False) > 8 * weights
