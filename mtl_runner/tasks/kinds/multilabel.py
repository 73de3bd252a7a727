"""Any number of labels per row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.errors import DataError
from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import TEMPERATURE, Kind, channel_means
from mtl_runner.tasks.metrics.labels import (
    LOG_LOSS,
    MICRO_F1,
    ONE_ERROR,
    ROW_ACCURACY,
    ROW_F1,
    ROW_PRECISION,
    ROW_RECALL,
)
from mtl_runner.tasks.metrics.ranking import LABEL_AUC, LABEL_AVERAGE_PRECISION


class Multilabel(Kind):
    """Zeros and ones ``[N, size, ...]``, outputs are logits of that shape, with the binary cross entropy."""

    name = "multilabel"
    noise = TEMPERATURE
    metrics = (ROW_F1, ROW_ACCURACY, ROW_PRECISION, ROW_RECALL, ONE_ERROR, MICRO_F1)
    more_metrics = (LABEL_AUC, LABEL_AVERAGE_PRECISION, LOG_LOSS)
    column = "labels"

    def clean(self, target: Tensor, mask: Tensor | None, where: str) -> Tensor:
        target = super().clean(target, mask, where)
        if not bool(((target == 0) | (target == 1) | target.isnan()).all()):
            raise DataError(f"is multilabel and has values other than 0 and 1 {where}")
        return target

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return (
            super().loss(output, target, task)
            if task.missing
            else F.binary_cross_entropy_with_logits(output, target)
        )

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        return torch.logit(channel_means(target, task), eps=1e-6)

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """0 or 1 per label."""
        return (output > 0).to(torch.int64)

    def predictions(
        self, output: Tensor, target: Tensor, task: TaskFields
    ) -> tuple[Tensor, Tensor]:
        """Probabilities and 0/1, ``[N, labels, ...]``."""
        rows = self.known(target).flatten(1).all(1)
        return output[rows].sigmoid(), target[rows].long()
