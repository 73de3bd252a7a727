"""Metrics of classes.

Outputs are logits ``[N, size, ...]``. Targets are class indices ``[N, ...]``, negative where a
label is missing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric, pair, ratio

CALIBRATION_BINS = 15


def confusion(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the confusion matrix, flattened to ``[size * size]``.

    Rows are true classes, columns predicted ones; missing labels are left out.

    Example:
        >>> from mtl_runner import Task
        >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> confusion(logits, torch.tensor([0, 1, 1]), Task("a", "classification", size=2))
        tensor([1., 0., 1., 1.], dtype=torch.float64)
    """
    known = (target >= 0).flatten()
    cells = target.clamp(min=0).flatten() * task.size + output.argmax(1).flatten()
    return known.new_zeros(task.size**2, dtype=torch.float64).index_add(0, cells, known.double())


def _accuracy(sums: Tensor, task: TaskFields) -> Tensor:
    return sums.view(task.size, task.size).diagonal().sum() / sums.sum()


def _macro_f1(sums: Tensor, task: TaskFields) -> Tensor:
    matrix = sums.view(task.size, task.size)
    occurrences = matrix.sum(0) + matrix.sum(1)
    present = occurrences > 0
    f1 = 2 * matrix.diagonal() / occurrences.clamp(min=1)
    return (f1 * present).sum() / present.sum()


def _mean_recall(sums: Tensor, task: TaskFields) -> Tensor:
    matrix = sums.view(task.size, task.size)
    counts = matrix.sum(1)
    return (matrix.diagonal() / counts.clamp(min=1)).sum() / (counts > 0).sum()


def _mean_intersection_over_union(sums: Tensor, task: TaskFields) -> Tensor:
    matrix = sums.view(task.size, task.size)
    intersection = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - intersection
    present = union > 0
    return (intersection / union.clamp(min=1) * present).sum() / present.sum()


def _calibration_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the summed gap of accuracy and confidence per bin, then the number of labels."""
    known = (target >= 0).flatten().double()
    correct = (output.argmax(1).flatten() == target.clamp(min=0).flatten()).double()
    confidence = output.double().softmax(1).amax(1).flatten()
    # Bin m of M holds the confidences in ((m - 1) / M, m / M].
    bins = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    gaps = known.new_zeros(CALIBRATION_BINS).index_add(0, bins, (correct - confidence) * known)
    return torch.cat([gaps, known.sum().reshape(1)])


def _calibration_error(sums: Tensor, task: TaskFields) -> Tensor:
    return sums[:-1].abs().sum() / sums[-1]


def _log_loss_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    known = target >= 0
    errors = F.cross_entropy(output.double(), target.clamp(min=0), reduction="none")
    return pair(torch.where(known, errors, 0.0).sum(), known.sum())


ACCURACY = Metric("accuracy", True, confusion, _accuracy)
"""Share of entries whose largest logit is the true class."""
MACRO_F1 = Metric("f1", True, confusion, _macro_f1)
"""F1 of each class, averaged over the classes in the targets or the predictions."""
CALIBRATION_ERROR = Metric("ece", False, _calibration_sums, _calibration_error, in_delta_m=False)
"""Mean gap of confidence and accuracy over 15 bins of confidence (Guo et al., ICML 2017, eq. 3)."""
BALANCED_ACCURACY = Metric("balanced_accuracy", True, confusion, _mean_recall)
"""Recall of each class, averaged over the classes that occur in the targets."""
LOG_LOSS = Metric("log_loss", False, _log_loss_sums, ratio)
"""Mean of the negative logarithm of the true class's probability, without class weights."""
MEAN_IOU = Metric("miou", True, confusion, _mean_intersection_over_union)
"""Intersection over union, averaged over the classes in the targets or the predictions."""
PIXEL_ACCURACY = Metric("pixel_accuracy", True, confusion, _accuracy)
"""Share of correct pixels of a split; some published code averages over batches or images first."""
