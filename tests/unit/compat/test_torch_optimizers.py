"""An optimizer's step without its wrappers: the same numbers, and every hook is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from mtl_runner.compat.torch_optimizers import defer_compiler, step_function
from mtl_runner.errors import ConfigError
from tests.support.builders import (
    assert_same_bits,
    flat_parameters,
    make_mlp,
    make_split,
    make_tasks,
)

Make = Callable[..., torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "Adam": torch.optim.Adam,
    "Adam amsgrad, decay": partial(torch.optim.Adam, amsgrad=True, weight_decay=0.1),
    "Adam fused": partial(torch.optim.Adam, fused=True),
    "Adam one by one": partial(torch.optim.Adam, foreach=False),
    "AdamW": torch.optim.AdamW,
    "AdamW fused": partial(torch.optim.AdamW, fused=True, weight_decay=0.1),
    "SGD": torch.optim.SGD,
    "SGD nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.1),
    "RMSprop": partial(torch.optim.RMSprop, momentum=0.9, centered=True),
    "Adagrad": torch.optim.Adagrad,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Adamax": torch.optim.Adamax,
    "Adadelta": torch.optim.Adadelta,
    "ASGD": torch.optim.ASGD,
    "Rprop": torch.optim.Rprop,
}


def steps_of(
    make: Make, take: Callable[[torch.optim.Optimizer], Callable[[], object]], steps: int = 15
) -> torch.Tensor:
    """Return the parameters of a small network after steps that are taken in this way."""
    model = make_mlp(tasks := make_tasks(a="regression"))
    split = make_split(tasks)
    optimizer = make(model.parameters(), lr=0.01)
    step = take(optimizer)
    for index in range(steps):
        optimizer.zero_grad()
        tasks[0].loss(model(split.inputs), split.targets).backward()
        if index % 3 == 0:
            model.heads[0].bias.grad = None
        step()
    return flat_parameters(model)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_is_the_optimizers_own_to_the_last_bit(make: Make) -> None:
    """Breaks if leaving out the wrappers changes what an optimizer does."""
    assert_same_bits(
        steps_of(make, step_function), steps_of(make, lambda optimizer: optimizer.step)
    )


def test_a_learning_rate_scheduler_keeps_its_effect() -> None:
    """Breaks if the quick step uses the learning rate from when it was made."""

    def scheduled(take: Callable[[torch.optim.Optimizer], Callable[[], object]]) -> torch.Tensor:
        def both(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
            step = take(optimizer)

            def follow() -> None:
                step()
                optimizer.param_groups[0]["lr"] *= 0.8

            return follow

        return steps_of(torch.optim.Adam, both)

    assert_same_bits(scheduled(step_function), scheduled(lambda optimizer: optimizer.step))


def one_parameter(make: Make = torch.optim.SGD) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """Return a parameter with a gradient, and its optimizer."""
    parameter = nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    return parameter, make([parameter], lr=0.1)


@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_a_hook_registered_before_is_called(register: str) -> None:
    """Breaks if a user's hook on an optimizer is silently skipped."""
    parameter, optimizer = one_parameter()
    called: list[str] = []
    getattr(optimizer, register)(lambda *_: called.append(register))
    step = step_function(optimizer)
    step()
    step()
    assert called == [register, register]
    assert parameter.item() == pytest.approx(0.8)


@pytest.mark.parametrize(
    "register", ["register_optimizer_step_pre_hook", "register_optimizer_step_post_hook"]
)
def test_a_hook_for_all_optimizers_is_called(register: str) -> None:
    """Breaks if a profiler's hook on every optimizer is silently skipped."""
    _, optimizer = one_parameter()
    called: list[str] = []
    handle = getattr(torch_optimizer, register)(lambda *_: called.append(register))
    try:
        step_function(optimizer)()
    finally:
        handle.remove()
    assert called == [register]


class Sign(torch.optim.Optimizer):
    """A user's own optimizer."""

    def __init__(self, params: object, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad.sign()


class Logged(torch.optim.SGD):
    """A user's subclass of an optimizer of PyTorch."""

    steps = 0

    def step(self, closure: None = None) -> None:
        self.steps += 1
        super().step(closure)


@pytest.mark.parametrize("make", [Sign, Logged])
def test_a_users_own_optimizer_is_stepped_as_it_stands(make: Make) -> None:
    """Breaks if `optimizer._target_=my_module.Mine` is replaced by its base class, or fails."""
    parameter, optimizer = one_parameter(make)
    step = step_function(optimizer)
    step()
    step()
    assert parameter.item() == pytest.approx(0.8)
    assert getattr(optimizer, "steps", 2) == 2


def test_lbfgs_is_refused_with_what_to_use_instead() -> None:
    """Breaks if LBFGS ends in a TypeError about a missing closure in the middle of a run."""
    _, optimizer = one_parameter(torch.optim.LBFGS)
    with pytest.raises(ConfigError) as error:
        step_function(optimizer)
    assert str(error.value) == (
        "L-BFGS evaluates the losses several times per step, which only update=joint does, and only for the model's parameters; use update=joint and weights that are not learned or have a rate of their own (weighting.lr=0.025), or optimizer=adam."
    )


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD])
def test_a_parameter_without_a_gradient_is_left_alone(make: Make) -> None:
    """Breaks if an idle parameter moves or its clock runs."""
    parameter, optimizer = one_parameter(make)
    parameter.grad = None
    step_function(optimizer)()
    assert parameter.item() == 1.0
    assert optimizer.state.get(parameter, {}) == {}


def test_an_unknown_class_takes_its_ordinary_step() -> None:
    """Breaks if a user's own class is stepped in another way than by its ``step``."""

    class OwnSGD(torch.optim.SGD):
        pass

    optimizer = OwnSGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert step_function(optimizer) == optimizer.step


def test_the_compiler_can_be_deferred_twice() -> None:
    """Breaks if a second run in one process fails, or an optimizer cannot be made any more."""
    defer_compiler()
    defer_compiler()
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1).zero_grad()
