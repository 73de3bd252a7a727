"""The step of an optimizer without the wrappers around it.

``torch.optim.Optimizer.step`` is wrapped twice: for profiling and hooks, and by a guard that
imports ``torch._dynamo`` (a CPU second per process) to mark a graph break. Neither changes the
result, and together they take a tenth of a small model's step. The wrapped function is reached
through the ``__wrapped__`` that ``functools.wraps`` leaves. Where that is missing, or hooks are
registered, the ordinary ``step`` is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from mtl_runner.errors import ConfigError


def step_function(optimizer: Optimizer) -> Callable[[], Any]:
    """Return a function that takes one step, equal to ``optimizer.step()`` to the last bit.

    Args:
        optimizer: Any optimizer, with the gradients of its parameters filled in before each step.

    Raises:
        ConfigError: For an optimizer that evaluates the losses several times per step.

    Example:
        >>> parameter = torch.nn.Parameter(torch.tensor(1.0))
        >>> parameter.grad = torch.tensor(2.0)
        >>> step = step_function(torch.optim.SGD([parameter], lr=0.1))
        >>> step()
        >>> round(parameter.item(), 4)
        0.8
    """
    if needs_closure(optimizer):
        raise ConfigError(
            "L-BFGS evaluates the losses several times per step, which only update=joint does, and only for the model's parameters; use update=joint and weights that are not learned or have a rate of their own (weighting.lr=0.025), or optimizer=adam."
        )
    raw = _unwrapped(optimizer)
    if raw is None:
        return optimizer.step

    def step() -> None:
        with torch.no_grad():
            raw(optimizer)

    return step


def needs_closure(optimizer: Optimizer) -> bool:
    """Return whether a step of an optimizer evaluates the losses several times.

    Example:
        >>> parameter = torch.nn.Parameter(torch.tensor(1.0))
        >>> [needs_closure(make([parameter])) for make in (torch.optim.LBFGS, torch.optim.SGD)]
        [True, False]
    """
    return isinstance(optimizer, torch.optim.LBFGS)


def defer_compiler() -> None:
    """Let optimizers be made without importing the compiler.

    Four methods of ``Optimizer`` import the compiler at their first call, only to be marked as not
    to be compiled. torch looks for that mark in an attribute first (``torch/_compile.py``), so the
    attribute is set here. Compiling something imports the compiler as usual. If a later torch does
    this in another way, nothing happens.
    """
    if "torch._dynamo" in sys.modules:
        return
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        plain = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dynamo_disable = plain


def _unwrapped(optimizer: Optimizer) -> Callable[[Optimizer], Any] | None:
    """Return the function inside the wrappers; None if the wrappers have to be called."""
    hooks = (
        *optimizer._optimizer_step_pre_hooks,
        *optimizer._optimizer_step_post_hooks,
        *_global_optimizer_pre_hooks,
        *_global_optimizer_post_hooks,
    )
    if (
        not type(optimizer).__module__.startswith("torch.optim.")
        or hooks
        or optimizer.defaults.get("differentiable")
    ):
        return None
    outer = getattr(type(optimizer).step, "__wrapped__", None)
    inner = getattr(outer, "__wrapped__", None)
    if inner is None or hasattr(inner, "__wrapped__") or not inner.__qualname__.endswith(".step"):
        return None
    return inner  # type: ignore[no-any-return]
