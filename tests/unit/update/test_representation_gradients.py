"""``update.at=representation``: what it refuses, its state, and its precision.

The numbers are tested in tests/oracles/test_representation.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.learner import Learner
from mtl_runner.update import Jacobian
from tests.support.builders import (
    Adam,
    assert_same_bits,
    copy_state,
    flat_parameters,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.unit.update.learners import KINDS_OF, Pairs, learner_with, only, through_a_file

pytest.importorskip("torchjd.aggregation")

TASKS = make_tasks(**KINDS_OF)


class Functional(nn.Module):
    """A model whose trunk ends in a function, not in a module."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.heads = nn.ModuleList(nn.Linear(4, task.size) for task in TASKS)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs).tanh()
        return {task.name: head(features) for task, head in zip(TASKS, self.heads, strict=True)}


def learner_of(model: nn.Module | None = None, **options: Any) -> Learner:
    """Return a learner that takes gradients of the representation."""
    return learner_with(
        Jacobian,
        TASKS,
        make_split(TASKS),
        model=make_mlp(TASKS) if model is None else model,
        optimizer=Adam,
        at="representation",
        **options,
    )


@pytest.mark.parametrize("aggregator", ["mgda", "graddrop"])
def test_a_fresh_copy_continues_to_the_last_bit(aggregator: str) -> None:
    """Breaks if what GradDrop draws is not in the checkpoint."""
    split = make_split(TASKS)
    learner, twin = (learner_of(aggregator=aggregator, seed=seed) for seed in (1, 2))
    for _ in range(3):
        learner.step(split, only(0, 1, 2))
    twin.model.load_state_dict(copy_state(learner.model.state_dict()))
    twin.update.load_state_dict(through_a_file(learner.update.state_dict()))
    for continued in (learner, twin):
        for active in ((0, 1, 2), (0, 2), (1,), (0, 1, 2)):
            continued.step(split, only(*active))
    assert_same_bits(flat_parameters(twin.model), flat_parameters(learner.model))


def test_a_model_with_every_kind_of_owner_trains() -> None:
    """Breaks if what two of three tasks share has no gradient, or an idle part has one."""
    model = Pairs(TASKS)
    learner = learner_of(model, aggregator="mgda")
    assert learner.backward_passes == 1
    learner.step(make_split(TASKS), only(0, 1, 2))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    learner.step(make_split(TASKS), only(0, 1))
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert idle == ["heads.2.weight", "heads.2.bias"]


def test_a_frozen_trunk_leaves_the_heads_to_train() -> None:
    """Breaks if a pass through a frozen trunk is asked for."""
    learner = learner_of(aggregator="mgda")
    learner.model.trunk.requires_grad_(False)
    learner.step(make_split(TASKS), only(0, 1, 2))
    assert all(p.grad is None for p in learner.model.trunk.parameters())
    assert all(p.grad is not None for p in learner.model.heads.parameters())


def test_half_precision_keeps_the_gramian_in_single() -> None:
    """Breaks if rows of bfloat16 are multiplied as such, or the direction has another type."""
    learner = learner_of(aggregator="mgda")
    learner.precision = "bf16"
    learner.step(make_split(TASKS), only(0, 1, 2))
    assert learner.update.measured["aggregator_weight"].dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in learner.model.parameters())


def test_what_cannot_be_had_is_one_sentence() -> None:
    """Breaks if a run with these options trains something else, or fails in its first step."""
    for options, sentence in (
        (
            {"blocks": "layer"},
            "update.blocks=layer divides the shared parameters, and with update.at=representation the gradients are not theirs; leave one of them out.",
        ),
        (
            {"aggregator": "modo"},
            "update.aggregator=modo takes 2 batches per step, and update.at=representation looks at one; use update.at=parameters.",
        ),
        (
            {"aggregator": "excess_mtl"},
            "update.aggregator=excess_mtl keeps a number for every entry of the gradients, and at the representation the rows of every batch have entries of their own; use update.at=parameters.",
        ),
        (
            {"aggregator": "graddrop", "model": Functional()},
            "update.aggregator=graddrop with update.at=representation needs the values of the representation, which no module of this model returns by itself; let the trunk end in a module, such as nn.ReLU(), or use update.at=parameters.",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            learner_of(**{"aggregator": "mgda", **options})
        assert str(caught.value) == sentence
    with pytest.raises(ConfigError, match=r"^update.at='z' is unknown; allowed: parameters, repre"):
        learner_with(Jacobian, TASKS, make_split(TASKS), at="z")


def test_a_model_without_a_representation_is_refused_by_name() -> None:
    """Breaks if a shared parameter behind the representation goes untrained without a word."""
    tasks = make_tasks(a="regression", b="regression")
    model = make_mlp(tasks)
    model.heads = nn.ModuleList([nn.Sequential(nn.Tanh(), model.heads[0]), model.heads[0]])
    with pytest.raises(ConfigError) as caught:
        learner_with(Jacobian, tasks, make_split(tasks), model=model, at="representation")
    assert str(caught.value) == (
        "update.at=representation finds no tensors between trunk and heads of this model: the shared parameter 'heads.0.1.weight' is used by task 'a' alone, behind what the tasks share; use update.at=parameters."
    )
