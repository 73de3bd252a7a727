"""A user's own kind of task: grades, which have an order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds import Kind
from mtl_runner.tasks.metrics import Metric


def _grade_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the summed distance to the true grade, the number of hits, and that of labels."""
    known = ~target.isnan()
    distance = torch.where(known, (output > 0).sum(1, keepdim=True) - target, 0.0).abs().double()
    return torch.stack([distance.sum(), ((distance < 0.5) & known).sum(), known.sum()])


class Ordinal(Kind):
    """Grades from 0 to ``levels - 1``: one logit per threshold says if the grade lies above it."""

    name = "ordinal"
    column = "numbers"
    metrics = (
        Metric("off_by", False, _grade_sums, lambda sums, task: sums[0] / sums[2]),
        Metric("accuracy", True, _grade_sums, lambda sums, task: sums[1] / sums[2]),
    )

    def __init__(self, levels: int = 4) -> None:
        self.levels = levels

    def size(self, targets: dict[str, Tensor], task: TaskFields) -> int:
        return self.levels - 1  # one output per threshold

    def output_shape(self, target: tuple[int, ...], task: TaskFields) -> tuple[int, ...]:
        return (target[0], task.size)  # for a target [N, 1]

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        above = (target > torch.arange(task.size, device=target.device)).to(output.dtype)
        errors = F.binary_cross_entropy_with_logits(output, above, reduction="none")
        return errors.mean(1, keepdim=True)

    def filled(self, target: Tensor, known: Tensor, output: Tensor) -> Tensor:
        return torch.where(known, target, 0.0)  # any grade does

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        above = (target > torch.arange(task.size, device=target.device)) & ~target.isnan()
        return torch.logit(above.double().sum(0) / (~target.isnan()).sum(), eps=1e-6)

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        return (output > 0).sum(1, keepdim=True)  # as many thresholds as the grade is above
