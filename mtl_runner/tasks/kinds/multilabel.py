"""Any number of labels per sample."""

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
from mtl_runner.tasks.metrics.ranking import LABEL_AUC, LABEL_AVERAGE_PRECISION, LABEL_GAUC


class Multilabel(Kind):
    """Any number of labels per sample, with the binary cross entropy.

    Targets are zeros and ones ``[N, size, ...]``; outputs are logits of the same shape. The trivial
    predictor knows how frequent each label is; a label that all training rows have, or none, counts
    once more present and once more absent (Laplace's rule of succession).

    Example:
        >>> from mtl_runner import Task
        >>> task = Task("topics", "multilabel", size=2)
        >>> task.answer(torch.tensor([[3.0, -1.0]]))
        tensor([[1, 0]])
    """

    name = "multilabel"
    noise = TEMPERATURE
    metrics = (ROW_F1, ROW_ACCURACY, ROW_PRECISION, ROW_RECALL, ONE_ERROR, MICRO_F1)
    more_metrics = (LABEL_AUC, LABEL_AVERAGE_PRECISION, LABEL_GAUC, LOG_LOSS)
    column = "labels"

    def clean(self, target: Tensor, mask: Tensor | None, location: str) -> Tensor:
        """Return a target of zeros and ones as floats, NaN where a label is missing.

        Args:
            target: The target as the dataset gave it.
            mask: True where a label is known; None: the target marks missing labels itself.
            location: Where the target lies, for errors.

        Raises:
            DataError: If a value is neither 0 nor 1.
        """
        target = super().clean(target, mask, location)
        if not bool(((target == 0) | (target == 1) | target.isnan()).all()):
            raise DataError(f"is multilabel and has values other than 0 and 1 {location}")
        return target

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the binary cross entropy of every entry."""
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the mean binary cross entropy over the known labels of a batch."""
        if task.missing:
            return super().loss(output, target, task)
        return F.binary_cross_entropy_with_logits(output, target)

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the logits of the labels' frequencies."""
        means = channel_means(target, task)
        dims = [d for d in range(target.dim()) if d != 1]
        known = (~target.isnan()).sum(dims).reshape(task.size)
        succession = (means * known + 1) / (known + 2)
        return torch.logit(torch.where((means == 0) | (means == 1), succession, means), eps=1e-6)

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """Return 1 for every label that is more likely than not, else 0."""
        return (output > 0).to(torch.int64)

    def probabilities(self, output: Tensor, task: TaskFields) -> Tensor:
        """Return the probability of every label, each for itself."""
        return output.sigmoid()

    def predictions(
        self, output: Tensor, target: Tensor, task: TaskFields
    ) -> tuple[Tensor, Tensor]:
        """Return probabilities and zeros and ones, ``[N, labels, ...]``, for torchmetrics."""
        rows = self.known(target).flatten(1).all(1)
        return output[rows].sigmoid(), target[rows].long()
