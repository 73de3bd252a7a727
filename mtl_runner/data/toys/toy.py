"""Synthetic problems from known generators, so that what a strategy learns can be held against the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import Task

Array = np.ndarray
SLOPES, INTERCEPTS, NOISE = (
    {"y1": 2.0, "y2": 3.0},
    {"y1": 8.0, "y2": 3.0},
    {"y1": 10.0, "y2": 1.0},
)  # of the published toy


def _float(array: Array) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.get_default_dtype())


class ToyRegression:
    r"""Lines with noise of very different scale: ``x ~ N(0, 1)``, ``y_t = slope_t x + intercept_t + noise_t eps``.

    With the defaults the training split is, number for number, the published toy of uncertainty weighting
    (``np.random.seed(0)``; x, then the noise of y1, then that of y2; 100 points). Validation and test are fresh points.

    Args:
        n: training points. n_val, n_test: fresh points of the other splits.
        slopes, intercepts, noise: one number per task; ``noise`` is the true sigma.
        seed: of the generator; the run's own ``seed`` changes initial weights and batch order, not the data.
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
        for key, numbers in (("intercepts", intercepts), ("noise", noise)):
            for name in slopes:
                if name not in numbers:
                    raise ConfigError(
                        f"data.slopes has the task {name!r}, but data.{key} has not; give it there too."
                    )
        self.tasks = [
            Task(name, "regression", size=1, true_sigma=float(noise[name])) for name in slopes
        ]
        self.splits = {}
        for stream, (name, size) in enumerate({"train": n, "val": n_val, "test": n_test}.items()):
            random = np.random.RandomState(
                seed if name == "train" else [seed, stream]
            )  # the legacy stream is the published one
            x = random.randn(size, 1)
            targets = {
                task: slopes[task] * x + intercepts[task] + noise[task] * random.randn(size, 1)
                for task in slopes
            }
            self.splits[name] = Split(_float(x), {task: _float(y) for task, y in targets.items()})


class ToyMixed:
    r"""One regression and one classification that share their inputs, with known noise scale and temperature.

    ``x ~ N(0, I_d)``; ``y = w.x + sigma eps`` with ``|w| = 2 sigma``; ``label ~ softmax(f(x) / temperature)`` with ``f(x) = V x``. The true sigma of
    the classification is the root of the temperature.

    Args:
        n, n_val, n_test: points per split. dim: input dimensions. classes: number of classes.
        sigma: noise scale of the regression. temperature: of the labels. seed: of the generator.
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
        random = np.random.default_rng(seed)
        slope = random.standard_normal(dim)
        slope *= 2 * sigma / np.linalg.norm(slope)  # four fifths of the variance can be explained
        logit_slopes = 3.0 * random.standard_normal((dim, classes))
        self.tasks = [
            Task("value", "regression", size=1, true_sigma=sigma),
            Task("label", "classification", size=classes, true_sigma=math.sqrt(temperature)),
        ]
        self.splits = {}
        for name, size in {"train": n, "val": n_val, "test": n_test}.items():
            x = random.standard_normal((size, dim))
            value = x @ slope + sigma * random.standard_normal(size)
            gumbel = random.gumbel(
                size=(size, classes)
            )  # argmax(f/T + Gumbel) is a draw from softmax(f/T)
            label = (x @ logit_slopes / temperature + gumbel).argmax(1)
            self.splits[name] = Split(
                _float(x), {"value": _float(value), "label": torch.as_tensor(label)}
            )
