"""Metrics of tasks with an answer at every pixel, as sums that add up over the parts of a split.

A split of images seldom fits into memory together with what a model says of it, so each measure is a vector of sums over pixels
(``parts``), and numbers that follow from them (``finish``). All pixels of a split count alike; some published code averages over
batches or images first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mtl_runner.tasks.task import Task

ANGLE_BIN = 0.01  # degrees: the median angle is known to half of it
ANGLE_BINS = round(180 / ANGLE_BIN)
WITHIN = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}


@dataclass(frozen=True)
class Measure:
    """The metrics of a task with places.

    Attributes:
        names: of the metrics, the main one first. parts: output, target and task -> sums, in float64. finish: sums of a whole split, and
            the task -> the metrics as scalars.
    """

    names: tuple[str, ...]
    parts: Callable[[Tensor, Tensor, Task], Tensor]
    finish: Callable[[Tensor, Task], dict[str, Tensor]]


def confusion(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """How many known pixels of each true class (rows) are said to be of each class (columns), flat ``[size * size]``."""
    known = (target >= 0).flatten()
    cells = target.clamp(min=0).flatten() * task.size + output.argmax(1).flatten()
    return known.new_zeros(task.size**2, dtype=torch.float64).index_add(0, cells, known.double())


def _segmentation(sums: Tensor, task: Task) -> dict[str, Tensor]:
    """Intersection over union, averaged over the classes that occur in the targets or the predictions; share of right pixels."""
    table = sums.view(task.size, task.size)
    right = table.diagonal()
    union = table.sum(0) + table.sum(1) - right
    present = union > 0
    return {
        "miou": (right / union.clamp(min=1) * present).sum() / present.sum(),
        "pixel_accuracy": right.sum() / table.sum(),
    }


def _depth_parts(output: Tensor, target: Tensor, task: Task) -> Tensor:
    known = ~target.isnan()
    error = torch.where(known, output - target, 0.0).double().abs() * task.scale
    value = torch.where(known, task.offset + task.scale * target.double(), 0.0).abs()
    positive = value > 0  # a relative error of nothing is not defined
    relative = torch.where(positive, error / value.clamp(min=1e-12), 0.0)
    return torch.stack([error.sum(), known.sum().double(), relative.sum(), positive.sum().double()])


def _depth(sums: Tensor, task: Task) -> dict[str, Tensor]:  # noqa: ARG001
    """Mean absolute error in the target's units, and relative to the target where that is not 0 (Eigen et al. 2014)."""
    return {"abs_err": sums[0] / sums[1], "rel_err": sums[2] / sums[3]}


def _offset_parts(output: Tensor, target: Tensor, task: Task) -> Tensor:
    known = ~target.isnan().any(1)
    error = torch.where(known.unsqueeze(1), output - target, 0.0).double() * task.scale
    return torch.stack([error.square().sum(1).sqrt().sum(), known.sum().double()])


def _offsets(sums: Tensor, task: Task) -> dict[str, Tensor]:  # noqa: ARG001
    """Mean distance between the centre that a pixel points to and that of its instance, in the target's units (pixels)."""
    return {"instance_error": sums[0] / sums[1]}


def _normal_parts(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    known = ~target.isnan().any(1)
    true = torch.where(known.unsqueeze(1), target, 1.0).double()
    said = output.double()
    # atan2 is exact for small angles, where the arc cosine is not
    angle = torch.rad2deg(torch.atan2(torch.linalg.cross(said, true, dim=1).norm(dim=1), (said * true).sum(1)))
    angle = torch.where((said != 0).any(1), angle, 90.0)  # a prediction without a direction says nothing
    count = known.double()
    within = [((angle <= limit) * count).sum() for limit in WITHIN.values()]
    bins = (angle / ANGLE_BIN).long().clamp(0, ANGLE_BINS - 1).flatten()
    histogram = count.new_zeros(ANGLE_BINS).index_add(0, bins, count.flatten())
    return torch.cat([torch.stack([(angle * count).sum(), count.sum(), *within]), histogram])


def _normals(sums: Tensor, task: Task) -> dict[str, Tensor]:  # noqa: ARG001
    """Mean and median angle in degrees (the median to .005), and the share of pixels within 11.25, 22.5 and 30 degrees."""
    total, count, *within = sums[: 2 + len(WITHIN)].unbind()
    below = sums[2 + len(WITHIN) :].cumsum(0)
    median = (below < count / 2).sum() * ANGLE_BIN + ANGLE_BIN / 2
    shares = {name: share / count for name, share in zip(WITHIN, within, strict=True)}
    return {"angle_mean": total / count, "angle_median": torch.where(count > 0, median, torch.nan), **shares}


MEASURES: dict[str, Measure] = {
    "segmentation": Measure(("miou", "pixel_accuracy"), confusion, _segmentation),
    "depth": Measure(("abs_err", "rel_err"), _depth_parts, _depth),
    "normals": Measure(("angle_mean", "angle_median", *WITHIN), _normal_parts, _normals),
    "offsets": Measure(("instance_error",), _offset_parts, _offsets),
}
