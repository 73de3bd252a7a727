"""Which runs make one stack: only such as differ in numbers that replicas may differ in."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl_runner.experiment.build import Experiment, build
from mtl_runner.train.stack.eligibility import (
    config_key,
    experiment_key,
    reason_not_to_stack,
    replica_bytes,
)
from mtl_runner.weighting import Fixed
from tests.support.whole_runs import everything_config


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
        (("weighting=random",), False, "keeps a state or draws at random"),
        (("update=jacobian", "update.aggregator=sum"), False, "the update Jacobian"),
        (("schedule=plateau",), False, "the schedule Plateau"),
        ((), True, "labels are missing"),
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


def test_a_weighting_of_the_users_says_itself_what_may_differ() -> None:
    """Breaks if a user reads that his stateless weighting keeps a state."""

    class Roots(Fixed):
        pass

    experiment = make_experiment("weighting=fixed")
    experiment.learner.weighting = Roots(experiment.data.tasks)
    reason = reason_not_to_stack(experiment)
    assert reason.startswith("Roots does not say which of its options may differ")


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
