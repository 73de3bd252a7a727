r"""Learned noise scales of tasks.

A noise scale is learned as :math:`s = \log\sigma^2` (Laplace: :math:`s = \log b`) in training
units, and reported as :math:`\sigma` in the target's units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import per_task
from mtl_runner.tasks.task import Task

# The eps of an Adam for log scales. The derivative with respect to a log scale is a number of size
# 1 whatever the units, and 0 at the optimum, where some log scales start. What is left of it there
# is rounding, of which Adam makes a whole step in a random direction unless eps is far above it.
SMALLEST_SLOPE = 1e-3

# The largest whole log scale s for which single precision holds both e^s and e^-s. With a larger
# one a weight is 0 or infinite, and nothing is trained.
LARGEST_LOG_SCALE = 87


def initial_log_scales(init: Any, tasks: Sequence[Task], key: str) -> list[float]:
    """Return one initial log scale per task.

    Args:
        init: A number for all tasks, or ``{task: number}``; tasks that it does not name start at 0.
        tasks: The T tasks.
        key: The key of the option, for the error.

    Raises:
        ConfigError: If it is something else, names a task that does not exist, or has a number
            whose exponential is 0 or infinite in single precision.

    Example:
        >>> initial_log_scales({"size": 2.0}, [Task("price"), Task("size")], "weighting.init")
        [0.0, 2.0]
    """
    scales = per_task(init, tasks, 0.0, key)
    for scale in scales:
        if not abs(scale) <= LARGEST_LOG_SCALE:
            raise ConfigError(
                f"{key} must lie between -{LARGEST_LOG_SCALE} and {LARGEST_LOG_SCALE}, where e^{key.rsplit('.', 1)[-1]} is a positive number; found {scale:g}."
            )
    return scales


def log_variances(
    tasks: Sequence[Task], start: Sequence[float], frozen: Mapping[str, float] | None, key: str
) -> nn.ParameterList:
    """Return one log-variance per task, as separate parameters.

    They are separate tensors because in a shared one an inactive task's value would move on
    Adam's shared clock.

    Args:
        tasks: The T tasks.
        start: Initial log-variances in training units, ``[T]``.
        frozen: Sigmas, in the target's units, that are kept and not trained: ``{task: sigma}``, or
            one number for all; None trains all.
        key: The key of ``frozen`` in the config, for the errors.

    Raises:
        ConfigError: If ``frozen`` names an unknown task, or a sigma is not positive,
            or its square or the inverse of that is none in single precision.

    Example:
        >>> tasks = [Task("price"), Task("size")]
        >>> values = log_variances(tasks, [0.0, 0.0], {"size": 2.0}, "weighting.frozen")
        >>> [(round(s.item(), 2), s.requires_grad) for s in values]
        [(0.0, True), (1.39, False)]
    """
    if frozen is None:
        sigmas: Mapping[str, float] = {}
    elif isinstance(frozen, Mapping):
        sigmas = frozen
    else:
        sigmas = dict.fromkeys((task.name for task in tasks), frozen)
    per_task(sigmas, tasks, 0.0, key)  # raises for unknown tasks
    parameters = nn.ParameterList()
    for task, initial in zip(tasks, start, strict=True):
        sigma = sigmas.get(task.name)
        if sigma is not None and not 0 < sigma < float("inf"):
            raise ConfigError(f"{key}.{task.name} must be a positive sigma; found {float(sigma)}.")
        fixed = None if sigma is None else log_variance(task, float(sigma))
        if sigma is not None and fixed is not None and abs(fixed) > LARGEST_LOG_SCALE:
            raise ConfigError(
                f"{key}.{task.name}={float(sigma):g} is too far from the size of the task's targets: 1 / sigma² is 0 or infinite in single precision."
            )
        s = torch.tensor(
            initial if fixed is None else fixed,
            dtype=torch.get_default_dtype(),
        )
        parameters.append(nn.Parameter(s, requires_grad=sigma is None))
    return parameters


def sigma_of(task: Task, s: float) -> float:
    r"""Return the noise scale of a log-variance, in the target's units.

    It is :math:`e^{s/2}` (Laplace: :math:`e^s`), times the target's scale for numbers.

    Args:
        task: The task.
        s: Its log-variance in training units.

    Example:
        >>> sigma_of(Task("price", scale=10.0), 0.0)
        10.0
    """
    return sigma_unit(task) * task.spec.noise.sigma_of(s)


def log_variance(task: Task, sigma: float) -> float:
    """Return the log-variance of a noise scale: the inverse of :func:`sigma_of`."""
    return task.spec.noise.log_variance(sigma / sigma_unit(task))


def sigma_unit(task: Task) -> float:
    """Return the size of one training unit of sigma in the target's units.

    It is 1 for classification kinds, whose sigma is a temperature without a unit.
    """
    return task.scale if task.has_noise_scale else 1.0


def initial_log_variances(
    tasks: Sequence[Task], trivial_losses: Sequence[float | None] | None
) -> list[float]:
    """Return the log-variances that are optimal for the trivial predictor.

    Args:
        tasks: The T tasks.
        trivial_losses: The trivial predictor's loss per task, ``[T]``; None where it is not known.

    Returns:
        The logarithms of the losses; 0, a temperature of 1, for classification kinds and unknown
        losses.

    Example:
        >>> initial_log_variances([Task("price"), Task("kind", "classification")], [1.0, 0.7])
        [0.0, 0.0]
    """
    losses = trivial_losses or [None] * len(tasks)
    return [
        math.log(loss) if loss and task.has_noise_scale else 0.0
        for task, loss in zip(tasks, losses, strict=True)
    ]
