"""Metrics as tensor functions: computed on the device, without a host synchronisation, equal to scikit-learn's.

Every function takes the outputs ``[N, size]``, the target (``[N, size]``, or ``[N]`` of class indices) and the task, ignores
missing labels, and returns a scalar tensor. Regression metrics are in the target's own units. NaN means "undefined".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mtl_runner.tasks.task import Task

CALIBRATION_BINS = 15


def _errors(output: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Signed errors in the target's units (0 where the label is missing) and the mask of the known entries."""
    known = ~target.isnan()
    return torch.where(known, output - target, 0.0).double() * task.scale, known


def rmse(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """Root of the mean squared error over samples and outputs."""
    error, known = _errors(output, target, task)
    return (error.square().sum() / known.sum()).sqrt()


def mae(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """Mean absolute error over samples and outputs."""
    error, known = _errors(output, target, task)
    return error.abs().sum() / known.sum()


def r2(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """Explained share of the variance, outputs weighted by their variance (scikit-learn's ``variance_weighted``); of a constant target -inf."""
    error, known = _errors(output, target, task)
    value = torch.where(known, target, 0.0).double() * task.scale
    mean = value.sum(0) / known.sum(0).clamp(min=1)
    spread = torch.where(known, value - mean, 0.0).square().sum()
    return 1 - error.square().sum() / spread


def rrmse(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """RMSE relative to that of the trivial predictor (the training split's mean, for L1 its median); 1 is as good as it."""
    error, known = _errors(output, target, task)
    trivial = torch.tensor(task.trivial, dtype=torch.float64, device=target.device)
    trivial = trivial.view(task.size, *(1,) * len(task.places)) if task.places else trivial.view(target.shape[1:])
    baseline = torch.where(known, target - trivial, 0.0).double() * task.scale
    return (error.square().sum() / baseline.square().sum()).sqrt()


def _known_classes(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flat predictions, targets (0 where missing) and the mask of the known ones as numbers."""
    known = (target >= 0).flatten().double()
    return output.argmax(1).flatten(), target.clamp(min=0).flatten(), known


def accuracy(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Share of samples whose largest logit is the true class."""
    predicted, true, known = _known_classes(output, target)
    return ((predicted == true) * known).sum() / known.sum()


def macro_f1(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """F1 of each class, averaged over the classes that occur in the targets or the predictions."""
    predicted, true, known = _known_classes(output, target)
    size = task.size
    empty = torch.zeros(size * size, dtype=torch.float64, device=output.device)
    confusion = empty.index_add(0, true * size + predicted, known).view(size, size)
    occurrences = confusion.sum(0) + confusion.sum(1)
    present = occurrences > 0
    f1 = 2 * confusion.diagonal() / occurrences.clamp(min=1)
    return (f1 * present).sum() / present.sum()


def expected_calibration_error(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Mean gap between confidence and accuracy over 15 equal bins of confidence (Guo et al., ICML 2017, eq. 3)."""
    predicted, true, known = _known_classes(output, target)
    confidence = output.double().softmax(1).amax(1).flatten()
    bins = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1  # bin m is ((m-1)/M, m/M]
    gap = ((predicted == true).double() - confidence) * known
    per_bin = torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=output.device).index_add(0, bins, gap)
    return per_bin.abs().sum() / known.sum()


def _label_counts(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per sample: true positives, predicted labels, true labels; and the mask of the samples with any known label."""
    known = ~target.isnan()
    predicted = ((output > 0) & known).double()
    true = ((target > 0.5) & known).double()
    return (predicted * true).sum(1), predicted.sum(1), true.sum(1), known.any(1).double()


def _example_mean(numerator: Tensor, denominator: Tensor, known: Tensor) -> Tensor:
    """Mean over samples of numerator / denominator; 0 where the denominator is 0, as scikit-learn's ``zero_division=0``."""
    return (numerator / denominator.clamp(min=1) * known).sum() / known.sum()


def example_accuracy(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Mean over samples of the Jaccard index of predicted and true labels."""
    both, predicted, true, known = _label_counts(output, target)
    return _example_mean(both, predicted + true - both, known)


def example_precision(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Mean over samples of the share of predicted labels that are true."""
    both, predicted, _, known = _label_counts(output, target)
    return _example_mean(both, predicted, known)


def example_recall(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Mean over samples of the share of true labels that are predicted."""
    both, _, true, known = _label_counts(output, target)
    return _example_mean(both, true, known)


def example_f1(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Mean over samples of the harmonic mean of precision and recall."""
    both, predicted, true, known = _label_counts(output, target)
    return _example_mean(2 * both, predicted + true, known)


def micro_f1(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """F1 of all decisions together: every known label of every sample counts once, so that frequent labels weigh most."""
    both, predicted, true, known = _label_counts(output, target)
    f1 = 2 * both.sum() / (predicted.sum() + true.sum()).clamp(min=1)
    return torch.where(known.any(), f1, torch.nan)


def one_error(output: Tensor, target: Tensor, task: Task) -> Tensor:  # noqa: ARG001
    """Share of samples whose highest-ranked known label is not true."""
    known = ~target.isnan()
    top = torch.where(known, output, -torch.inf).argmax(1, keepdim=True)
    hit = (target.gather(1, top) > 0.5).squeeze(1)
    rows = known.any(1).double()
    return ((~hit) * rows).sum() / rows.sum()
