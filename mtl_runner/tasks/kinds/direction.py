"""Directions, such as surface normals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import Kind, channel_means
from mtl_runner.tasks.metrics.geometry import ANGLES_WITHIN, MEAN_ANGLE, MEDIAN_ANGLE
from mtl_runner.tasks.metrics.regression import RMSE


class Direction(Kind):
    """Unit vectors ``[N, size, ...]``: 1 - cos of the angle to the output, averaged over the known places (Liu et al. 2019, MTAN)."""

    name = "direction"
    metrics = (RMSE,)
    more_metrics = (MEAN_ANGLE, MEDIAN_ANGLE, *ANGLES_WITHIN)
    numeric = True

    def mass(self, target: Tensor, task: TaskFields) -> Tensor:
        return self.known(target).all(1).sum().double()

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return 1 - F.cosine_similarity(output, target, dim=1, eps=1e-6).unsqueeze(1)

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        if not task.missing:
            return self.entry_errors(output, target, task).mean()
        known = self.known(target).all(1, keepdim=True)
        # The target is replaced before the error is taken: NaN times a zero gradient would still be NaN.
        errors = self.entry_errors(output, torch.where(known, target, 1.0), task)
        return torch.where(known, errors, 0.0).sum() / known.sum().clamp(min=1)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        return channel_means(target, task)

    def picture(self, values: Tensor) -> Tensor:
        values = values.double()
        lengths: Tensor = values.norm(dim=1, keepdim=True)
        return values / lengths.clamp(min=1e-6)
