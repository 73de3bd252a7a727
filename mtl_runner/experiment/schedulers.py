"""The learning-rate schedulers of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from mtl_runner.config.instantiate import (
    make,
    takes,
)
from mtl_runner.config.settings import Settings
from mtl_runner.errors import ConfigError
from mtl_runner.errors.words import counted

# How torch's schedulers call the number of their steps in the whole run.
RUN_LENGTHS = ("T_max", "total_steps")


def make_schedulers(
    settings: Settings, optimizers: Sequence[Optimizer], steps_per_epoch: int = 1
) -> list[Any]:
    """Return a learning-rate scheduler per optimizer; none if the config wants none.

    A scheduler that asks for the number of its steps in the whole run gets it, where the config
    leaves it out.

    Args:
        settings: The settings of the run.
        optimizers: The optimizers whose rates are scheduled.
        steps_per_epoch: Steps of an epoch, for schedulers that step with them.

    Raises:
        ConfigError: If the node makes no scheduler, one that cannot step after every step, or a
            cycle of another length than the run.
    """
    node = settings.trainer.scheduler_node
    if not node:
        return []
    per_step = settings.trainer.lr_scheduler_per == "step"
    count = settings.trainer.epochs * (steps_per_epoch if per_step else 1)
    # Whoever gives OneCycleLR its epochs has said how long it is.
    if "epochs" not in node:
        node = {**{key: count for key in RUN_LENGTHS if takes(node, key)}, **node}
    schedulers = [
        make(node, "trainer.lr_scheduler", optimizer=optimizer) for optimizer in optimizers
    ]
    for scheduler in schedulers:
        if not hasattr(scheduler, "step") or not hasattr(scheduler, "state_dict"):
            raise ConfigError(
                f"trainer.lr_scheduler._target_ made a {type(scheduler).__name__}; it must make a scheduler of torch.optim.lr_scheduler."
            )
        if per_step and isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ConfigError(
                "ReduceLROnPlateau looks at evaluations, which are at the ends of epochs; leave out trainer.lr_scheduler_per=step, or choose another trainer.lr_scheduler."
            )
        if isinstance(scheduler, torch.optim.lr_scheduler.OneCycleLR):
            is_cut = settings.debug and scheduler.total_steps > count
            if not is_cut:
                _check_length(scheduler.total_steps, count, "epochs" in node, per_step)
    return schedulers


def _check_length(total: int, count: int, is_product: bool, per_step: bool) -> None:
    """Check that a cycle is as long as the run, neither cut off nor stepped beyond its end."""
    if total == count:
        return
    key, it = ("epochs * steps_per_epoch", "them") if is_product else ("total_steps", "it")
    other_way = "" if per_step else ", or step it more often with trainer.lr_scheduler_per=step"
    raise ConfigError(
        f"trainer.lr_scheduler: OneCycleLR has {key}={total}, but takes {counted(count, 'step')} in this run, one after every {'step' if per_step else 'epoch'}; leave {it} out{other_way}."
    )
