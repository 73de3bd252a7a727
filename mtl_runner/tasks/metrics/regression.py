"""Metrics of numbers, in the target's own units and equal to scikit-learn's.

Outputs and targets are ``[N, size, ...]`` in training units, NaN where a label is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric, pair, ratio


def _errors(output: Tensor, target: Tensor, task: TaskFields) -> tuple[Tensor, Tensor]:
    """Return signed errors in the target's units (0 where missing) and the mask of known labels."""
    known = ~target.isnan()
    return torch.where(known, output - target, 0.0).double() * task.scale, known


def _trivial(target: Tensor, task: TaskFields) -> Tensor:
    """Return the trivial predictor's output in the shape of one row; 0 if it is not known."""
    trivial = torch.tensor(task.trivial or (0.0,), dtype=torch.float64, device=target.device)
    if not task.trivial:
        return trivial
    if task.places:
        return trivial.view(task.size, *(1,) * len(task.places))
    return trivial.view(target.shape[1:])


def _squared_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    error, known = _errors(output, target, task)
    return pair(error.square().sum(), known.sum())


def _absolute_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    error, known = _errors(output, target, task)
    return pair(error.abs().sum(), known.sum())


def _baseline_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the summed squared errors of the model and of the trivial predictor."""
    error, known = _errors(output, target, task)
    baseline = torch.where(known, target - _trivial(target, task), 0.0).double() * task.scale
    return pair(error.square().sum(), baseline.square().sum())


def _norm_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the summed squares of the errors and of the targets, in the target's units."""
    error, known = _errors(output, target, task)
    value = torch.where(known, task.offset + task.scale * target.double(), 0.0)
    return pair(error.square().sum(), value.square().sum())


def _variance_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the summed squared errors, then each column's count, sum and sum of squares.

    The trivial output, which is the training mean, is subtracted from the target first: otherwise
    the sums of a target far from 0 would cancel.
    """
    error, known = _errors(output, target, task)
    value = torch.where(known, target.double() - _trivial(target, task), 0.0) * task.scale
    columns = [
        known.double().sum(0).flatten(),
        value.sum(0).flatten(),
        value.square().sum(0).flatten(),
    ]
    return torch.cat([error.square().sum().reshape(1), *columns])


def _explained_variance(sums: Tensor, task: TaskFields) -> Tensor:
    count, total, squares = sums[1:].view(3, -1)
    variation = (squares - total.square() / count.clamp(min=1)).sum()
    explained: Tensor = 1 - sums[0] / variation.clamp(min=0)
    return explained


def _absolute_rows(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    return ((output - target).double() * task.scale).abs().flatten(1)


def _median(rows: Tensor, task: TaskFields) -> Tensor:
    median: Tensor = rows.nanquantile(0.5, dim=0).nanmean()
    return median


RMSE = Metric("rmse", False, _squared_sums, lambda sums, task: ratio(sums, task).sqrt())
"""Root of the mean squared error over samples and outputs."""
MAE = Metric("mae", False, _absolute_sums, ratio)
"""Mean absolute error over samples and outputs."""
R2 = Metric("r2", True, _variance_sums, _explained_variance, in_delta_m=False)
"""Explained share of the variance, outputs weighted by their variance; -inf if it is constant."""
RRMSE = Metric(
    "rrmse", False, _baseline_sums, lambda sums, task: ratio(sums, task).sqrt(), in_delta_m=False
)
"""RMSE over that of the trivial predictor, the training split's mean (its median for L1)."""
RELATIVE_L2 = Metric("relative_l2", False, _norm_sums, lambda sums, task: ratio(sums, task).sqrt())
"""Norm of the errors over that of the target: 0.01 is one percent of a solution."""
MEDIAN_ABSOLUTE_ERROR = Metric(
    "median_absolute_error", False, collects=_absolute_rows, finish=_median
)
"""Median absolute error over samples, averaged over the outputs that have a label."""
