"""Numbers, judged by their squared or absolute error."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import GAUSSIAN, LAPLACE, Kind, channel_means
from mtl_runner.tasks.metrics.geometry import ABSOLUTE_ERROR, INSTANCE_ERROR, RELATIVE_ERROR
from mtl_runner.tasks.metrics.regression import MAE, MEDIAN_ABSOLUTE_ERROR, R2, RMSE, RRMSE


class Regression(Kind):
    """Numbers ``[N, size, ...]`` with the mean squared error; the trivial predictor is the mean."""

    name = "regression"
    noise = GAUSSIAN
    metrics = (RMSE, MAE, R2, RRMSE)
    more_metrics = (MEDIAN_ABSOLUTE_ERROR, ABSOLUTE_ERROR, RELATIVE_ERROR, INSTANCE_ERROR)
    numeric = True
    column = "numbers"

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return (output - target).square()

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return super().loss(output, target, task) if task.missing else F.mse_loss(output, target)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        return channel_means(target, task)


class RegressionL1(Regression):
    """Numbers ``[N, size, ...]`` with the mean absolute error; the trivial predictor is the median."""

    name = "regression_l1"
    noise = LAPLACE
    metrics = (MAE, RMSE, R2, RRMSE)

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return (output - target).abs()

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return Kind.loss(self, output, target, task) if task.missing else F.l1_loss(output, target)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        if target.dim() > 2:
            return torch.stack(
                [channel.flatten().nanmedian() for channel in target.unbind(1)]
            ).double()
        return target.double().nanmedian(0).values.reshape(task.size)
