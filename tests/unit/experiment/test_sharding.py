"""Which modules of a model are put together one at a time, and what cannot be sharded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.config.instantiate import optimizer_factory
from mtl_runner.config.settings import TrainerOptions
from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.experiment.sharding import (
    blocks_of,
    check_sharding,
    optimizers_of_shards,
    shard_model,
)
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.ranks import Ranks, current_ranks, joined
from mtl_runner.gradients.shards import Shards, full_tensor
from mtl_runner.models.frozen_parts import FrozenParts
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import NTK
from tests.support.rank_group import Tied

JOINT = {"_target_": "mtl_runner.update.Joint"}


class Backbone(nn.Module):
    """A stem, blocks and a norm, as image and language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2)))
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(4, 1, 8)])
        self.norm = nn.LayerNorm(4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.norm(self.layers[0](self.blocks(self.stem(inputs))))


def test_blocks_are_the_elements_of_lists() -> None:
    """Breaks if a backbone is put together as a whole, or its layers one by one."""
    model = Backbone()
    assert blocks_of(model, lambda: model(torch.ones(1, 4))) == [
        "blocks.0.0",
        "blocks.1.0",
        "layers.0",
    ]


def test_an_element_with_most_of_the_model_is_opened() -> None:
    """Breaks if a backbone in a list is put together as a whole."""
    model = nn.Sequential(Backbone(), nn.Linear(4, 1))
    blocks = blocks_of(model, lambda: model(torch.ones(1, 4)))
    assert blocks == ["0.blocks.0.0", "0.blocks.1.0", "0.layers.0", "1"]


def test_a_module_whose_parameters_others_use_is_no_block() -> None:
    """Breaks if a parameter is used while only a part of it is there."""
    model = Tied([Task("a", size=1)], (3,))
    blocks = blocks_of(model, lambda: model(torch.ones(1, 3)))
    assert blocks == ["trunk.0", "trunk.2", "heads.a"]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam"])
def test_optimizers_step_on_shards_fused_or_not(name: str) -> None:
    """Breaks if torch has no fused step for such parameters, and nobody notices before."""
    optimizer_of = optimizer_factory({"_target_": f"torch.optim.{name}", "lr": 0.1})
    with joined(Ranks(0, 1)):
        parameters = sharded_layer()
        optimizer = optimizers_of_shards(optimizer_of, parameters)(parameters.tensors)
        for parameter in parameters.tensors:
            parameter.grad = torch.ones_like(parameter)
        before = full_tensor(parameters.tensors[0].detach()).clone()
        optimizer.step()
        assert (full_tensor(parameters.tensors[0].detach()) < before).all()


@pytest.mark.parametrize("name", ["Adafactor", "Rprop"])
def test_an_optimizer_that_cannot_step_on_shards_is_named(name: str) -> None:
    """Breaks if a run builds for minutes and ends in an error of torch."""
    optimizer_of = optimizer_factory({"_target_": f"torch.optim.{name}", "lr": 0.1})
    with joined(Ranks(0, 1)), pytest.raises(ConfigError) as error:
        optimizers_of_shards(optimizer_of, sharded_layer())
    assert (
        str(error.value)
        == f"The optimizer {name} cannot take a step with parameters of which trainer.parallel=fsdp gives each process a part; use Adam, AdamW, SGD or RMSprop, or trainer.parallel=data."
    )


def sharded_layer() -> Parameters:
    """Return the parameters of a layer, sharded over the processes that are joined."""
    layer, ranks = nn.Linear(2, 3), current_ranks()
    assert ranks is not None
    shard_model(layer, [], ranks, torch.device("cpu"))
    tensors = list(layer.parameters())
    return Parameters(tensors, [frozenset({0})] * 2, shards=Shards(tensors, ranks))


class Scaled(nn.Module):
    """A model with a parameter that is a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))


class Thawing(nn.Linear):
    """A layer that is frozen for a time."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.frozen = FrozenParts([nn.Linear(1, 1)], until="50%")


@pytest.mark.parametrize(
    ("options", "update", "model", "sentence"),
    [
        (
            {},
            {"_target_": "mtl_runner.update.AdaTask"},
            nn.Linear(1, 1),
            "update._target_=mtl_runner.update.AdaTask needs whole gradients, of which trainer.parallel=fsdp gives each process a part; use trainer.parallel=data, in which every process has all of them, or the update joint, per_task or jacobian.",
        ),
        (
            {"accumulate": 2},
            JOINT,
            nn.Linear(1, 1),
            "trainer.parallel=fsdp cannot be had with trainer.accumulate, whose parts differ in number between the processes; leave trainer.accumulate out and lower data.batch_size, or add devices.",
        ),
        (
            {"precision": "fp16"},
            JOINT,
            nn.Linear(1, 1),
            "trainer.parallel=fsdp cannot be had with trainer.precision=fp16, which looks for overflows in whole gradients; use bf16.",
        ),
        (
            {"channels_last": True},
            JOINT,
            nn.Linear(1, 1),
            "trainer.parallel=fsdp cuts parameters along their first dimension, so their channels cannot come last; leave trainer.channels_last out.",
        ),
        (
            {},
            JOINT,
            Thawing(),
            "trainer.parallel=fsdp cannot release parts that are frozen for a time; freeze them for the whole run (model.freeze.until=null), or use trainer.parallel=data.",
        ),
    ],
)
def test_what_needs_whole_gradients_is_refused(
    options: dict[str, Any], update: dict[str, str], model: nn.Module, sentence: str
) -> None:
    """Breaks if a run trains something else than it says."""
    with pytest.raises(ConfigError) as error:
        check_sharding(TrainerOptions(**options), update, model)
    assert str(error.value) == sentence


def test_a_weighting_that_needs_the_whole_model_is_refused() -> None:
    """Breaks if the Jacobian of a part of the model is taken for that of all of it."""
    with pytest.raises(ConfigError) as error:
        check_sharding(TrainerOptions(), JOINT, nn.Linear(1, 1), NTK([Task("a"), Task("b")]))
    assert (
        str(error.value)
        == "The weighting NTK needs the whole model, of which trainer.parallel=fsdp gives each process a part; use trainer.parallel=data."
    )


def test_a_parameter_that_cannot_be_cut_is_named() -> None:
    """Breaks if torch's sentence comes, which knows no other way."""
    with pytest.raises(ModelError) as error:
        check_sharding(TrainerOptions(), JOINT, Scaled())
    assert (
        str(error.value)
        == "trainer.parallel=fsdp cannot cut the model's parameter 'scale', which is a single number of shape (); give it the shape (1,), or use trainer.parallel=data."
    )
