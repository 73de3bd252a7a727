"""The step of an optimizer without what surrounds it.

``torch.optim.Optimizer.step`` is wrapped twice: for profiling and hooks, and in a guard that imports ``torch._dynamo`` (a CPU
second per process) to mark a graph break. Both matter to neither a small model's step (a tenth of its time) nor its result. The
wrapped function is reached through the ``__wrapped__`` that ``functools.wraps`` leaves; where it is not as expected, or hooks are
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


def stepper(optimizer: Optimizer) -> Callable[[], Any]:
    """A function that takes one step of the optimizer, with the same result as ``optimizer.step()`` to the last bit.

    Raises ``ConfigError`` for LBFGS, which wants to evaluate the losses several times per step.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ConfigError(
            "optimizer._target_=torch.optim.LBFGS needs a closure, which no update here gives; use Adam, AdamW or SGD."
        )
    raw = _unwrapped(optimizer)
    if raw is None:
        return optimizer.step

    def step() -> None:
        with torch.no_grad():
            raw(optimizer)

    return step


def defer_compiler() -> None:
    """Let optimizers be made without importing the compiler; it is imported as ever when something is compiled.

    Four methods of ``Optimizer`` import it at their first call only to be marked as not to be compiled; the mark is looked up in
    an attribute first (``torch/_compile.py``). If torch changes, this does nothing.
    """
    if "torch._dynamo" in sys.modules:
        return
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        plain = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dynamo_disable = plain


def _unwrapped(optimizer: Optimizer) -> Callable[[Optimizer], Any] | None:
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
