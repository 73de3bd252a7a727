"""Kinds of numbers, with the squared or the absolute error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import GAUSSIAN, LAPLACE, Kind, channel_means
from mtl_runner.tasks.metrics.base import Metric
from mtl_runner.tasks.metrics.geometry import ABSOLUTE_ERROR, INSTANCE_ERROR, RELATIVE_ERROR
from mtl_runner.tasks.metrics.regression import (
    MAE,
    MEDIAN_ABSOLUTE_ERROR,
    R2,
    RELATIVE_L2,
    RMSE,
    RRMSE,
)


class Regression(Kind):
    """Numbers with the mean squared error.

    Outputs and targets are ``[N, size, ...]``. The trivial predictor is the mean.

    Example:
        >>> from mtl_runner import Task
        >>> task = Task("price", "regression", size=1)
        >>> Regression().loss(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1), task)
        tensor(2.5000)
    """

    name = "regression"
    noise = GAUSSIAN
    metrics = (RMSE, MAE, R2, RRMSE)
    more_metrics: ClassVar[Sequence[Metric]] = (
        RELATIVE_L2,
        MEDIAN_ABSOLUTE_ERROR,
        ABSOLUTE_ERROR,
        RELATIVE_ERROR,
        INSTANCE_ERROR,
    )
    numeric = True
    column = "numbers"

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the squared error of every entry."""
        return (output - target).square()

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the mean squared error over the labels of a batch."""
        return super().loss(output, target, task) if task.missing else F.mse_loss(output, target)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the mean of every output's labels."""
        return channel_means(target, task)


class RegressionL1(Regression):
    """Numbers with the mean absolute error.

    Outputs and targets are ``[N, size, ...]``. The trivial predictor is the median.

    Example:
        >>> from mtl_runner import Task
        >>> task = Task("price", "regression_l1", size=1)
        >>> RegressionL1().loss(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1), task)
        tensor(1.5000)
    """

    name = "regression_l1"
    noise = LAPLACE
    metrics = (MAE, RMSE, R2, RRMSE)

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the absolute error of every entry."""
        return (output - target).abs()

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the mean absolute error over the labels of a batch."""
        return Kind.loss(self, output, target, task) if task.missing else F.l1_loss(output, target)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the median of every output's labels."""
        if target.dim() > 2:
            channels = target.unbind(1)
            return torch.stack([channel.flatten().nanmedian() for channel in channels]).double()
        return target.double().nanmedian(0).values.reshape(task.size)
