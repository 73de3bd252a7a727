"""Learned noise scales: s = log variance (Laplace: log b) in training units, sigma in the target's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import per_task
from mtl_runner.tasks.task import Task


def log_variances(
    tasks: Sequence[Task], start: Sequence[float], frozen: Mapping[str, float] | None, key: str
) -> nn.ParameterList:
    """One trained s per task, from ``start``; ``frozen`` sigmas (in the target's units) are not trained.

    One tensor per task: in a shared one an idle task's value would move on Adam's shared clock. Raises ``ConfigError`` naming
    ``key`` for an unknown task or a sigma that is not positive.
    """
    names = [task.name for task in tasks]
    given = (
        frozen
        if isinstance(frozen, Mapping)
        else {}
        if frozen is None
        else dict.fromkeys(names, frozen)
    )
    per_task(given, tasks, 0.0, key)  # checks names and numbers
    parameters = nn.ParameterList()
    for task, value in zip(tasks, start, strict=True):
        sigma = given.get(task.name)
        if sigma is not None and not 0 < sigma < float("inf"):
            raise ConfigError(f"{key}.{task.name} must be a positive sigma; found {float(sigma)}.")
        s = torch.tensor(
            value if sigma is None else log_variance(task, float(sigma)),
            dtype=torch.get_default_dtype(),
        )
        parameters.append(nn.Parameter(s, requires_grad=sigma is None))
    return parameters


def sigma_of(task: Task, s: float) -> float:
    """e^{s/2} in the target's units (Laplace: e^s); for classification kinds without a unit."""
    return unit(task) * task.spec.noise.sigma_of(s)


def log_variance(task: Task, sigma: float) -> float:
    """The inverse of :func:`sigma_of`."""
    return task.spec.noise.log_variance(sigma / unit(task))


def unit(task: Task) -> float:
    """What one unit of a task's sigma in training is in the units of its target; 1 for a temperature."""
    return task.scale if task.has_noise_scale else 1.0


def initial(tasks: Sequence[Task], trivial_losses: Sequence[float | None] | None) -> list[float]:
    """s at the optimum of the trivial predictor, whatever the target's units; 0 (temperature 1) for classification kinds."""
    losses = trivial_losses or [None] * len(tasks)
    return [
        math.log(loss) if loss and task.has_noise_scale else 0.0
        for task, loss in zip(tasks, losses, strict=True)
    ]
