"""An optimizer's step without its wrappers: the same numbers, and nothing lost that somebody registered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from mtl_runner.compat.torch_optimizers import stepper
from mtl_runner.errors import ConfigError
from tests.support.builders import flat, make_mlp, make_split, make_tasks, same_bits

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
    """Where a small network arrives when the optimizer's steps are taken in this way."""
    model = make_mlp(tasks := make_tasks(a="regression"))
    split = make_split(tasks)
    optimizer = make(model.parameters(), lr=0.01)
    step = take(optimizer)
    for index in range(steps):
        optimizer.zero_grad()
        tasks[0].loss(model(split.inputs), split.targets).backward()
        if index % 3 == 0:
            model.heads[0].bias.grad = None  # an idle parameter
        step()
    return flat(model)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_is_the_optimizers_own_to_the_last_bit(make: Make) -> None:
    """Breaks if leaving out the wrappers changes what an optimizer does."""
    same_bits(steps_of(make, stepper), steps_of(make, lambda optimizer: optimizer.step))


def test_a_learning_rate_scheduler_still_has_its_say() -> None:
    """Breaks if the quick step uses the learning rate from when it was made."""

    def scheduled(take: Callable[[torch.optim.Optimizer], Callable[[], object]]) -> torch.Tensor:
        def both(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
            step = take(optimizer)

            def follow() -> None:
                step()
                optimizer.param_groups[0]["lr"] *= 0.8

            return follow

        return steps_of(torch.optim.Adam, both)

    same_bits(scheduled(stepper), scheduled(lambda optimizer: optimizer.step))


def one_parameter(make: Make = torch.optim.SGD) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """A parameter with a gradient, and its optimizer."""
    parameter = nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    return parameter, make([parameter], lr=0.1)


@pytest.mark.parametrize("when", ["register_step_pre_hook", "register_step_post_hook"])
def test_a_hook_registered_before_is_called(when: str) -> None:
    """Breaks if a user's hook on an optimizer is silently skipped."""
    parameter, optimizer = one_parameter()
    called: list[str] = []
    getattr(optimizer, when)(lambda *_: called.append(when))
    step = stepper(optimizer)
    step()
    step()
    assert called == [when, when]
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
        stepper(optimizer)()
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
    step = stepper(optimizer)
    step()
    step()
    assert parameter.item() == pytest.approx(0.8)
    assert getattr(optimizer, "steps", 2) == 2


def test_lbfgs_is_refused_with_what_to_use_instead() -> None:
    """Breaks if LBFGS ends in a TypeError about a missing closure in the middle of a run."""
    _, optimizer = one_parameter(torch.optim.LBFGS)
    with pytest.raises(ConfigError) as error:
        stepper(optimizer)
    assert str(error.value) == (
        "optimizer._target_=torch.optim.LBFGS needs a closure, which no update here gives; use Adam, AdamW or SGD."
    )


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD])
def test_a_parameter_without_a_gradient_is_left_alone(make: Make) -> None:
    """Breaks if an idle parameter moves or its clock runs."""
    parameter, optimizer = one_parameter(make)
    parameter.grad = None
    stepper(optimizer)()
    assert parameter.item() == 1.0
    assert optimizer.state.get(parameter, {}) == {}
