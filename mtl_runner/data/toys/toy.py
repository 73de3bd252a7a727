"""Synthetic problems from known generators, so that results can be compared with the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import not_negative, positive, whole_number
from mtl_runner.tasks.task import Task

# Those of the published toy.
SLOPES = {"y1": 2.0, "y2": 3.0}
INTERCEPTS = {"y1": 8.0, "y2": 3.0}
NOISE = {"y1": 10.0, "y2": 1.0}


class ToyRegression:
    r"""Lines with noise of very different scale.

    .. math:: x \sim N(0, 1), \qquad y_t = a_t x + b_t + \sigma_t \varepsilon_t, \quad
        \varepsilon_t \sim N(0, 1)

    where

    - :math:`a_t, b_t` are slope and intercept of task t,
    - :math:`\sigma_t` is its noise, which is its true sigma.

    With the defaults the training split is, number for number, the published toy of uncertainty
    weighting (``np.random.seed(0)``; x, then the noise of y1, then that of y2; 100 points).
    Validation and test are fresh points.

    Args:
        n: Number of training points.
        n_val: Number of validation points.
        n_test: Number of test points.
        slopes: Slope of each task, by name.
        intercepts: Intercept of each task.
        noise: Standard deviation of each task's noise, its true sigma.
        seed: Seed of the generator; the run's own ``seed`` changes initial weights and batch
            order, not the data.

    Shape:
        Inputs ``[N, 1]``, targets ``[N, 1]``.

    Raises:
        ConfigError: If a task has a slope, but no intercept or noise, or the other way round, or a
            noise or size is impossible.

    Example:
        >>> from mtl_runner.data import ToyRegression
        >>> data = ToyRegression(n=50)
        >>> [(task.name, task.true_sigma) for task in data.tasks]
        [('y1', 10.0), ('y2', 1.0)]
        >>> {name: len(split) for name, split in data.splits.items()}
        {'train': 50, 'val': 200, 'test': 1000}
    """

    def __init__(
        self,
        n: int = 100,
        n_val: int = 200,
        n_test: int = 1000,
        slopes: Mapping[str, float] = SLOPES,
        intercepts: Mapping[str, float] = INTERCEPTS,
        noise: Mapping[str, float] = NOISE,
        seed: int = 0,
    ) -> None:
        if not slopes:
            raise ConfigError("data.slopes is empty; give one per task, {task: slope}.")
        for key, numbers in (("intercepts", intercepts), ("noise", noise)):
            for name in slopes:
                if name not in numbers:
                    raise ConfigError(
                        f"data.slopes has the task {name!r}, but data.{key} has not; give it there too."
                    )
            for name in numbers:
                if name not in slopes:
                    raise ConfigError(
                        f"data.{key} names the unknown task {name!r}; {suggest(str(name), slopes)}."
                    )
        _check_sizes(n=n, n_val=n_val, n_test=n_test)
        whole_number(seed, "data.seed", 0)
        self.tasks = [
            Task(
                name,
                "regression",
                size=1,
                true_sigma=not_negative(noise[name], f"data.noise.{name}") or None,
            )
            for name in slopes
        ]
        self.splits = {}
        for stream, (name, rows) in enumerate({"train": n, "val": n_val, "test": n_test}.items()):
            # The legacy stream is the published one.
            random = np.random.RandomState(seed if name == "train" else [seed, stream])
            x = random.randn(rows, 1)
            targets = {
                task: slopes[task] * x + intercepts[task] + noise[task] * random.randn(rows, 1)
                for task in slopes
            }
            self.splits[name] = Split(
                _float_tensor(x), {task: _float_tensor(y) for task, y in targets.items()}
            )


class ToyMixed:
    r"""A regression and a classification on the same inputs, of known noise and temperature.

    .. math:: x \sim N(0, I_d), \qquad y = w^\top x + \sigma \varepsilon, \quad
        \varepsilon \sim N(0, 1), \qquad c \sim \mathrm{softmax}(V^\top x / T)

    where

    - :math:`y` is the target of the regression ``value``, :math:`c` that of the classification
      ``label``,
    - :math:`w` has length :math:`2\sigma`, so that four fifths of the variance can be explained,
    - :math:`\sigma` is the true sigma of the regression, :math:`\sqrt T` of the classification.

    Args:
        n: Number of training points.
        n_val: Number of validation points.
        n_test: Number of test points.
        dim: Dimension d of the inputs.
        classes: Number of classes.
        sigma: Noise scale of the regression.
        temperature: Temperature T of the labels.
        seed: Seed of the generator.

    Shape:
        Inputs ``[N, dim]``, targets ``[N]``.

    Raises:
        ConfigError: If a scale is not positive, or a size is below 1.

    Example:
        >>> from mtl_runner.data import ToyMixed
        >>> [(task.name, task.true_sigma) for task in ToyMixed(sigma=3.0, temperature=4.0).tasks]
        [('value', 3.0), ('label', 2.0)]
    """

    def __init__(
        self,
        n: int = 1000,
        n_val: int = 1000,
        n_test: int = 1000,
        dim: int = 4,
        classes: int = 3,
        sigma: float = 2.0,
        temperature: float = 2.0,
        seed: int = 0,
    ) -> None:
        positive(sigma, "data.sigma")
        positive(temperature, "data.temperature")
        _check_sizes(n=n, n_val=n_val, n_test=n_test, dim=dim)
        whole_number(classes, "data.classes", 2)
        whole_number(seed, "data.seed", 0)
        random = np.random.default_rng(seed)
        slope = random.standard_normal(dim)
        slope *= 2 * sigma / np.linalg.norm(slope)  # four fifths of the variance can be explained
        logit_slopes = 3.0 * random.standard_normal((dim, classes))
        self.tasks = [
            Task("value", "regression", size=1, true_sigma=sigma),
            Task("label", "classification", size=classes, true_sigma=math.sqrt(temperature)),
        ]
        self.splits = {}
        for name, rows in {"train": n, "val": n_val, "test": n_test}.items():
            x = random.standard_normal((rows, dim))
            value = x @ slope + sigma * random.standard_normal(rows)
            # The argmax of f / T + Gumbel noise is a draw from softmax(f / T).
            gumbel_noise = random.gumbel(size=(rows, classes))
            label = (x @ logit_slopes / temperature + gumbel_noise).argmax(1)
            targets = {"value": _float_tensor(value), "label": torch.as_tensor(label)}
            self.splits[name] = Split(_float_tensor(x), targets)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        whole_number(size, f"data.{name}", 1)


def _float_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.get_default_dtype())
