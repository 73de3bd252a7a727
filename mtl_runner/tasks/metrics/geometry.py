"""Metrics of answers at every pixel: depths, offsets to a centre, and directions.

Outputs and targets are ``[N, channels, H, W]``. Every pixel of a split has the same weight; some
published code averages over batches or images first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric, ratio

# Width of a bin in degrees; the median angle is exact to half of it.
ANGLE_BIN = 0.01
ANGLE_BINS = round(180 / ANGLE_BIN)
# Limits of the angle in degrees, by the name of the metric.
WITHIN = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}


def _depth_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return sum and number of the absolute errors, then of the relative errors."""
    known = ~target.isnan()
    error = torch.where(known, output - target, 0.0).double().abs() * task.scale
    value = torch.where(known, task.offset + task.scale * target.double(), 0.0).abs()
    # The relative error of a target of 0 is not defined.
    positive = value > 0
    relative = torch.where(positive, error / value.clamp(min=1e-12), 0.0)
    return torch.stack([error.sum(), known.sum().double(), relative.sum(), positive.sum().double()])


def _distance_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return sum and number of the Euclidean distances of output and target."""
    known = ~target.isnan().any(1)
    error = torch.where(known.unsqueeze(1), output - target, 0.0).double() * task.scale
    return torch.stack([error.square().sum(1).sqrt().sum(), known.sum().double()])


def _angle_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return sum and number of the angles, the numbers within each limit, and a histogram."""
    known = ~target.isnan().any(1)
    true = torch.where(known.unsqueeze(1), target, 1.0).double()
    predicted = output.double()
    # atan2 is exact for small angles, where the arc cosine is not.
    cross = torch.linalg.cross(predicted, true, dim=1).norm(dim=1)
    angle = torch.rad2deg(torch.atan2(cross, (predicted * true).sum(1)))
    # A prediction of length 0 has no direction: it is as far off as a random one.
    angle = torch.where((predicted != 0).any(1), angle, 90.0)
    count = known.double()
    within = [((angle <= limit) * count).sum() for limit in WITHIN.values()]
    bins = (angle / ANGLE_BIN).long().clamp(0, ANGLE_BINS - 1).flatten()
    histogram = count.new_zeros(ANGLE_BINS).index_add(0, bins, count.flatten())
    return torch.cat([torch.stack([(angle * count).sum(), count.sum(), *within]), histogram])


def _median_angle(sums: Tensor, task: TaskFields) -> Tensor:
    count = sums[1]
    below = sums[2 + len(WITHIN) :].cumsum(0)
    median = (below < count / 2).sum() * ANGLE_BIN + ANGLE_BIN / 2
    return torch.where(count > 0, median, torch.nan)


def _share_within(index: int) -> Metric:
    name = list(WITHIN)[index]
    return Metric(name, True, _angle_sums, lambda sums, task: sums[2 + index] / sums[1])


ABSOLUTE_ERROR = Metric("abs_err", False, _depth_sums, ratio)
"""Mean absolute error in the target's units."""
RELATIVE_ERROR = Metric("rel_err", False, _depth_sums, lambda sums, task: sums[2] / sums[3])
"""Mean absolute error over the target, where that is not 0 (Eigen et al., NeurIPS 2014)."""
INSTANCE_ERROR = Metric("instance_error", False, _distance_sums, ratio)
"""Mean distance, in pixels, of the centre that a pixel points to and its instance's centre."""
MEAN_ANGLE = Metric("angle_mean", False, _angle_sums, ratio)
"""Mean angle between output and target in degrees."""
MEDIAN_ANGLE = Metric("angle_median", False, _angle_sums, _median_angle)
"""Median angle between output and target in degrees, exact to 0.005."""
ANGLES_WITHIN = tuple(_share_within(i) for i in range(len(WITHIN)))
"""Shares of pixels whose angle is at most 11.25, 22.5 and 30 degrees."""
