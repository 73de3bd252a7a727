"""One optimizer over a stack takes the steps that the replicas' own optimizers would take."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.train.stack.stacked_modules import StackedModules
from mtl_runner.train.stack.stacked_optimizer import StackedOptimizer, optimizer_key
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")

REPLICAS = 3
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class Replicas:
    """Linear models with an optimizer each, and the same models again as a stack."""

    def __init__(self, make_optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        torch.manual_seed(0)
        self.models = [nn.Linear(3, 2) for _ in range(REPLICAS)]
        self.stacked_models = [nn.Linear(3, 2) for _ in range(REPLICAS)]
        for model, twin in zip(self.models, self.stacked_models, strict=True):
            twin.load_state_dict(model.state_dict())
        self.optimizers = [make_optimizer(model.parameters()) for model in self.models]
        self.replica_optimizers = [make_optimizer(m.parameters()) for m in self.stacked_models]
        self.stack = StackedModules(self.stacked_models)
        self.stacked_optimizer = self.make_stacked_optimizer()

    def make_stacked_optimizer(self, first: int = 0, **options: Any) -> StackedOptimizer:
        """Return an optimizer over the stack from a replica on."""
        experiments: Any = [
            SimpleNamespace(learner=SimpleNamespace(model=model), lr_schedulers=[])
            for model in self.stacked_models[first:]
        ]
        return StackedOptimizer(
            "model",
            self.stack.parameters,
            first,
            experiments,
            self.replica_optimizers[first:],
            **options,
        )

    def gradients(self, seed: int) -> dict[str, Tensor]:
        """Return gradients of the stack, ``[S, ...]``."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.randn(tensor.shape, generator=generator)
            for name, tensor in self.stack.parameters.items()
        }

    def step_models(self, seed: int, idle: frozenset[str] = frozenset()) -> None:
        """Step every model with its own optimizer."""
        gradients = self.gradients(seed)
        for k, (model, optimizer) in enumerate(zip(self.models, self.optimizers, strict=True)):
            for name, parameter in model.named_parameters():
                parameter.grad = None if name in idle else gradients[name][k]
            optimizer.step()

    def assert_equal(self) -> None:
        """Assert that the models and their twins in the stack are equal to rounding."""
        for model, twin in zip(self.models, self.stacked_models, strict=True):
            assert_near(dict(twin.state_dict()), dict(model.state_dict()), 1e-14)


@every_optimizer
def test_a_step_of_the_stack_is_a_step_of_every_replica(name: str) -> None:
    """Breaks if moments, decay or momentum of one replica reach another one."""
    replicas = Replicas(OPTIMIZERS[name])
    for seed in range(5):
        replicas.step_models(seed)
        replicas.stacked_optimizer.step(replicas.gradients(seed))
    replicas.assert_equal()


@every_optimizer
def test_an_idle_parameter_stands_still(name: str) -> None:
    """Breaks if the head of an idle task decays, or its clock runs on."""
    replicas = Replicas(OPTIMIZERS[name])
    idle = frozenset({"bias"})
    for seed in range(4):
        replicas.step_models(seed, idle if seed < 2 else frozenset())
        replicas.stacked_optimizer.step(replicas.gradients(seed), idle if seed < 2 else frozenset())
    replicas.assert_equal()


@every_optimizer
def test_replicas_and_stack_take_over_from_each_other(name: str) -> None:
    """Breaks if a stopped stack cannot go on as single runs, or single runs as a stack."""
    replicas = Replicas(OPTIMIZERS[name])
    for seed in range(2):
        replicas.step_models(seed)
        replicas.stacked_optimizer.step(replicas.gradients(seed))
    replicas.stacked_optimizer.export_state()
    gradients = replicas.gradients(2)
    replicas.step_models(2)
    for k, (model, optimizer) in enumerate(
        zip(replicas.stacked_models, replicas.replica_optimizers, strict=True)
    ):
        for parameter_name, parameter in model.named_parameters():
            parameter.grad = gradients[parameter_name][k]
        optimizer.step()
    replicas.assert_equal()
    resumed = replicas.make_stacked_optimizer()
    resumed.import_state()
    replicas.step_models(3)
    resumed.step(replicas.gradients(3))
    replicas.assert_equal()


def test_only_the_replicas_that_are_served_move() -> None:
    """Breaks if replicas with other settings are stepped by their neighbours' optimizer."""
    replicas = Replicas(OPTIMIZERS["sgd"])
    before = replicas.stacked_models[0].weight.detach().clone()
    replicas.make_stacked_optimizer(first=1).step(replicas.gradients(0))
    assert_near(replicas.stacked_models[0].weight.detach(), before, 0.0)
    assert not torch.equal(replicas.stacked_models[1].weight, replicas.models[1].weight)


def test_an_annealed_rate_falls_to_0_over_the_last_part_of_the_run() -> None:
    """Breaks if log-variances of a stack settle at another rate than those of a single run."""
    optimizer = Replicas(OPTIMIZERS["adam"]).make_stacked_optimizer(annealed_lr=0.3)
    rates = []
    for done in (0.0, 0.7, 0.85, 1.0):
        optimizer.begin_epoch(done)
        rates.append(optimizer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.3, 0.3, 0.15, 0.0])


def test_optimizers_of_another_class_or_rate_have_another_key() -> None:
    """Breaks if replicas with other settings share an optimizer."""
    parameters = list(nn.Linear(1, 1).parameters())
    keys = [
        optimizer_key(optimizer)
        for optimizer in (
            torch.optim.Adam(parameters, lr=0.1),
            torch.optim.Adam(parameters, lr=0.1),
            torch.optim.Adam(parameters, lr=0.2),
            torch.optim.AdamW(parameters, lr=0.1),
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
