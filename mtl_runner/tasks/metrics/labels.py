"""Metrics of sets of labels.

Outputs are logits ``[N, size, ...]``. Targets are zeros and ones of the same shape, NaN where a
label is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import BatchFunction, Metric, pair, ratio

# True positives, predicted labels, true labels, and whether any label is known: each [N].
Counts = tuple[Tensor, Tensor, Tensor, Tensor]


def _counts(output: Tensor, target: Tensor) -> Counts:
    """Return, per row, the numbers of true positives, of predicted and of true labels.

    The fourth vector is 1 for rows with any known label, else 0.
    """
    known = ~target.isnan()
    predicted = ((output > 0) & known).double()
    true = ((target > 0.5) & known).double()
    return (predicted * true).sum(1), predicted.sum(1), true.sum(1), known.any(1).double()


def _row_mean(quotient: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> BatchFunction:
    """Return the ``sums`` of the mean over rows of a quotient of counts.

    The quotient is 0 where its denominator is 0, as with scikit-learn's ``zero_division=0``.

    Args:
        quotient: Numerator and denominator from the numbers of true positives, of predicted and of
            true labels, each ``[N]``.
    """

    def sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        hits, predicted, true, known = _counts(output, target)
        numerator, denominator = quotient(hits, predicted, true)
        return pair((numerator / denominator.clamp(min=1) * known).sum(), known.sum())

    return sums


def _micro_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    hits, predicted, true, known = _counts(output, target)
    return torch.stack([2 * hits.sum(), predicted.sum() + true.sum(), known.sum()])


def _micro_f1(sums: Tensor, task: TaskFields) -> Tensor:
    return torch.where(sums[2] > 0, sums[0] / sums[1].clamp(min=1), torch.nan)


def _top_miss_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the number of rows whose highest-ranked label is wrong, and that of all rows."""
    known = ~target.isnan()
    top = torch.where(known, output, -torch.inf).argmax(1, keepdim=True)
    hit = (target.gather(1, top) > 0.5).squeeze(1)
    rows = known.any(1).double()
    return pair(((~hit) * rows).sum(), rows.sum())


def _log_loss_sums(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    known = ~target.isnan()
    errors = F.binary_cross_entropy_with_logits(
        output.double(), torch.where(known, target, 0.0).double(), reduction="none"
    )
    return pair(torch.where(known, errors, 0.0).sum(), known.sum())


ROW_F1 = Metric(
    "f1", True, _row_mean(lambda hits, predicted, true: (2 * hits, predicted + true)), ratio
)
"""Mean over rows of the harmonic mean of precision and recall."""
ROW_ACCURACY = Metric(
    "accuracy",
    True,
    _row_mean(lambda hits, predicted, true: (hits, predicted + true - hits)),
    ratio,
)
"""Mean over rows of the Jaccard index of predicted and true labels."""
ROW_PRECISION = Metric(
    "precision", True, _row_mean(lambda hits, predicted, true: (hits, predicted)), ratio
)
"""Mean over rows of the share of predicted labels that are true."""
ROW_RECALL = Metric("recall", True, _row_mean(lambda hits, predicted, true: (hits, true)), ratio)
"""Mean over rows of the share of true labels that are predicted."""
ONE_ERROR = Metric("one_error", False, _top_miss_sums, ratio, in_delta_m=False)
"""Share of rows whose highest-ranked known label is not true."""
MICRO_F1 = Metric("micro_f1", True, _micro_sums, _micro_f1, in_delta_m=False)
"""F1 over all known labels of all rows together, so that frequent labels weigh most."""
LOG_LOSS = Metric("log_loss", False, _log_loss_sums, ratio)
"""Mean binary cross entropy over all known labels."""
