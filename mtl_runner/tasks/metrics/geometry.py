"""Metrics of answers at every pixel: depths, offsets to a centre, and directions. Outputs and targets are ``[N, channels, H, W]``.

All pixels of a split count alike; some published code averages over batches or images first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric, ratio

ANGLE_BIN = 0.01  # degrees: the median angle is known to half of it
ANGLE_BINS = round(180 / ANGLE_BIN)
WITHIN = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}


def _depth_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    known = ~target.isnan()
    error = torch.where(known, output - target, 0.0).double().abs() * task.scale
    value = torch.where(known, task.offset + task.scale * target.double(), 0.0).abs()
    positive = value > 0  # a relative error of nothing is not defined
    relative = torch.where(positive, error / value.clamp(min=1e-12), 0.0)
    return torch.stack([error.sum(), known.sum().double(), relative.sum(), positive.sum().double()])


def _distance_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    known = ~target.isnan().any(1)
    error = torch.where(known.unsqueeze(1), output - target, 0.0).double() * task.scale
    return torch.stack([error.square().sum(1).sqrt().sum(), known.sum().double()])


def _angle_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """The sum of the angles, the number of known pixels, how many angles are within each limit, and a histogram of the angles."""
    known = ~target.isnan().any(1)
    true = torch.where(known.unsqueeze(1), target, 1.0).double()
    predicted = output.double()
    # atan2 is exact for small angles, where the arc cosine is not
    cross = torch.linalg.cross(predicted, true, dim=1).norm(dim=1)
    angle = torch.rad2deg(torch.atan2(cross, (predicted * true).sum(1)))
    angle = torch.where(
        (predicted != 0).any(1), angle, 90.0
    )  # a prediction without a direction says nothing
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
"""The same relative to the target, where that is not 0 (Eigen et al. 2014)."""
INSTANCE_ERROR = Metric("instance_error", False, _distance_sums, ratio)
"""Mean distance between the centre that a pixel points to and that of its instance, in the target's units (pixels)."""
MEAN_ANGLE = Metric("angle_mean", False, _angle_sums, ratio)
"""Mean angle in degrees."""
MEDIAN_ANGLE = Metric("angle_median", False, _angle_sums, _median_angle)
"""Median angle in degrees, to .005."""
ANGLES_WITHIN = tuple(_share_within(i) for i in range(len(WITHIN)))
"""Shares of pixels within 11.25, 22.5 and 30 degrees."""
