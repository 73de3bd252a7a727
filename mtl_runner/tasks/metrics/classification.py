"""Metrics of classes: outputs are logits ``[N, size, ...]``, targets class indices ``[N, ...]``, negative where missing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric, pair, ratio

CALIBRATION_BINS = 15


def confusion(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """How many known entries of each true class (rows) are taken for each class (columns), flat ``[size * size]``."""
    known = (target >= 0).flatten()
    cells = target.clamp(min=0).flatten() * task.size + output.argmax(1).flatten()
    return known.new_zeros(task.size**2, dtype=torch.float64).index_add(0, cells, known.double())


def _right_share(sums: Tensor, task: TaskFields) -> Tensor:
    return sums.view(task.size, task.size).diagonal().sum() / sums.sum()


def _macro_f1(sums: Tensor, task: TaskFields) -> Tensor:
    table = sums.view(task.size, task.size)
    occurrences = table.sum(0) + table.sum(1)
    present = occurrences > 0
    f1 = 2 * table.diagonal() / occurrences.clamp(min=1)
    return (f1 * present).sum() / present.sum()


def _mean_recall(sums: Tensor, task: TaskFields) -> Tensor:
    table = sums.view(task.size, task.size)
    counts = table.sum(1)
    return (table.diagonal() / counts.clamp(min=1)).sum() / (counts > 0).sum()


def _mean_intersection_over_union(sums: Tensor, task: TaskFields) -> Tensor:
    table = sums.view(task.size, task.size)
    right = table.diagonal()
    union = table.sum(0) + table.sum(1) - right
    present = union > 0
    return (right / union.clamp(min=1) * present).sum() / present.sum()


def _calibration_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Per bin of confidence the sum of the gaps between being right and the confidence; at the end the number of known entries."""
    known = (target >= 0).flatten().double()
    right = (output.argmax(1).flatten() == target.clamp(min=0).flatten()).double()
    confidence = output.double().softmax(1).amax(1).flatten()
    bins = (confidence * CALIBRATION_BINS).ceil().long().clamp(
        1, CALIBRATION_BINS
    ) - 1  # bin m is ((m-1)/M, m/M]
    gaps = known.new_zeros(CALIBRATION_BINS).index_add(0, bins, (right - confidence) * known)
    return torch.cat([gaps, known.sum().reshape(1)])


def _calibration_error(sums: Tensor, task: TaskFields) -> Tensor:
    return sums[:-1].abs().sum() / sums[-1]


def _log_loss_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    known = target >= 0
    errors = F.cross_entropy(output.double(), target.clamp(min=0), reduction="none")
    return pair(torch.where(known, errors, 0.0).sum(), known.sum())


ACCURACY = Metric("accuracy", True, confusion, _right_share)
"""Share of entries whose largest logit is the true class."""
MACRO_F1 = Metric("f1", True, confusion, _macro_f1)
"""F1 of each class, averaged over the classes that occur in the targets or the predictions."""
CALIBRATION_ERROR = Metric("ece", False, _calibration_sums, _calibration_error, in_delta_m=False)
"""Mean gap between confidence and accuracy over 15 equal bins of confidence (Guo et al., ICML 2017, eq. 3)."""
BALANCED_ACCURACY = Metric("balanced_accuracy", True, confusion, _mean_recall)
"""Recall of each class, averaged over the classes that occur in the targets."""
LOG_LOSS = Metric("log_loss", False, _log_loss_sums, ratio)
"""Mean of the negative logarithm of the true class's probability, without class weights."""
MEAN_IOU = Metric("miou", True, confusion, _mean_intersection_over_union)
"""Intersection over union, averaged over the classes that occur in the targets or the predictions."""
PIXEL_ACCURACY = Metric("pixel_accuracy", True, confusion, _right_share)
"""Share of right pixels; all pixels of a split count alike (some published code averages over batches or images first)."""
