"""Numbers that are learned on a logarithmic scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mtl_runner.errors import DataError
from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.regression import Regression
from mtl_runner.tasks.metrics.base import Metric, pair, ratio
from mtl_runner.tasks.metrics.regression import R2, RMSE


def _in_units(values: Tensor, task: TaskFields) -> Tensor:
    """Return training units as numbers in the target's own units, in float64."""
    return torch.expm1(task.offset + task.scale * values.double())


def _errors(output: Tensor, target: Tensor, task: TaskFields) -> tuple[Tensor, Tensor]:
    """Return errors in the target's own units (0 where missing) and the mask of known labels."""
    known = ~target.isnan()
    error = _in_units(output, task) - _in_units(torch.where(known, target, output), task)
    return torch.where(known, error, 0.0), known


def _absolute_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    error, known = _errors(output, target, task)
    return pair(error.abs().sum(), known.sum())


def _squared_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    error, known = _errors(output, target, task)
    return pair(error.square().sum(), known.sum())


RMSLE = replace(RMSE, name="rmsle")
"""Root of the mean squared error of log(1 + y)."""
R2_LOG = replace(R2, name="r2_log")
"""Explained share of the variance of log(1 + y)."""
MAE_IN_UNITS = Metric("mae", False, _absolute_sums, ratio)
"""Mean absolute error, in the target's own units."""
RMSE_IN_UNITS = Metric("rmse", False, _squared_sums, lambda sums, task: ratio(sums, task).sqrt())
"""Root of the mean squared error, in the target's own units."""


class RegressionLog(Regression):
    """Numbers with the mean squared error of log(1 + y), for prices, counts and other long tails.

    What is trained is log(1 + y), as a table makes it of its column: a few large numbers do not
    outweigh all others. Answers are in the target's own units. The noise scale, and ``rmsle``, are
    those of the logarithm: 0.1 is about 10 % of a large number. The target of a dataset of your own
    is log(1 + y), too.

    Example:
        >>> from mtl_runner import Task
        >>> task = Task("price", "regression_log", size=1)
        >>> task.answer(torch.zeros(1, 1))
        tensor([[0.]])
        >>> RegressionLog().from_column(np.array([0.0, np.e - 1])).tolist()
        [0.0, 1.0]
    """

    name = "regression_log"
    metrics = (RMSLE, MAE_IN_UNITS, RMSE_IN_UNITS, R2_LOG)
    more_metrics = ()

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """Return the number whose logarithm an output stands for."""
        return torch.expm1(super().answer(output, task))

    def in_units(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return a cleaned target in its own units."""
        return torch.expm1(super().in_units(target, task))

    def from_column(self, numbers: np.ndarray) -> np.ndarray:
        """Return log(1 + y).

        Raises:
            DataError: If a number is -1 or less.
        """
        low = numbers[numbers <= -1]
        if len(low):
            raise DataError(
                f"holds {low[0]:g}, of which there is no log(1 + y); use kind: regression"
            )
        logarithms: np.ndarray = np.log1p(numbers)
        return logarithms
