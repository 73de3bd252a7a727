"""Directions in space, such as surface normals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import Kind, channel_means
from mtl_runner.tasks.metrics.geometry import ANGLES_WITHIN, MEAN_ANGLE, MEDIAN_ANGLE
from mtl_runner.tasks.metrics.regression import RMSE


class Direction(Kind):
    """Unit vectors, with one minus the cosine of the angle to the output.

    Outputs and targets are ``[N, size, ...]`` with the components as channels; the loss is averaged
    over the known places, as in MTAN (Liu, Johns & Davison, CVPR 2019). A place with one missing
    component is missing. The length of an output has no effect.

    Example:
        >>> from mtl_runner import Task
        >>> task = Task("normal", "direction", size=3)
        >>> along, across = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
        >>> target = torch.tensor([[1.0, 0.0, 0.0]])
        >>> [Direction().loss(output, target, task).item() for output in (along, across)]
        [0.0, 1.0]
    """

    name = "direction"
    metrics = (RMSE,)
    more_metrics = (MEAN_ANGLE, MEDIAN_ANGLE, *ANGLES_WITHIN)
    numeric = True

    def loss_denominator(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the number of places whose components are all known."""
        return self.known(target).all(1).sum().double()

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return one minus the cosine at every place, ``[N, 1, ...]``."""
        return 1 - F.cosine_similarity(output, target, dim=1, eps=1e-6).unsqueeze(1)

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the mean of one minus the cosine over the known places of a batch."""
        if not task.missing:
            return self.entry_errors(output, target, task).mean()
        known = self.known(target).all(1, keepdim=True)
        # NaN is replaced before the error is taken: times a zero gradient it would stay NaN.
        errors = self.entry_errors(output, torch.where(known, target, 1.0), task)
        return torch.where(known, errors, 0.0).sum() / known.sum().clamp(min=1)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the mean of the target's vectors, whose direction has the smallest loss."""
        return channel_means(target, task)

    def picture(self, values: Tensor) -> Tensor:
        """Return the vectors, scaled to length 1."""
        values = values.double()
        lengths: Tensor = values.norm(dim=1, keepdim=True)
        return values / lengths.clamp(min=1e-6)
