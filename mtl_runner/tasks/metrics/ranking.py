"""Areas under curves: how well scores rank the rows with a label above those without. Exact, so the rows are collected.

Rows are ``[N, 2 * K]``: K scores, then the K labels (0, 1, NaN where missing) that they are for. Of several columns the mean over
those that hold both labels counts; without any the number is undefined.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric


def area_under_roc(scores: Tensor, labels: Tensor) -> Tensor:
    """The probability that a row with the label scores higher than one without; a tie counts half. Scores and labels are ``[N]``."""
    positives, negatives = scores[labels > 0.5], scores[labels < 0.5].sort().values
    below = torch.searchsorted(negatives, positives, right=False).double().sum()
    not_above = torch.searchsorted(negatives, positives, right=True).double().sum()
    return (below + not_above) / 2 / (len(positives) * len(negatives))


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean of the precision over the recall, step by step as thresholds fall (scikit-learn's definition, no interpolation)."""
    ordered, order = scores.sort(descending=True, stable=True)
    hits = labels[order].double().cumsum(0)
    # Rows with equal scores fall under one threshold: only the last of them is a point of the curve.
    last = torch.ones_like(ordered, dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    precision = hits[last] / (torch.arange(1, len(ordered) + 1, device=ordered.device)[last])
    gained = torch.diff(hits[last], prepend=hits.new_zeros(1)) / hits[-1]
    return (gained * precision).sum()


def _mean_over_columns(
    area: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, TaskFields], Tensor]:
    def finish(rows: Tensor, task: TaskFields) -> Tensor:
        areas = []
        for scores, labels in zip(*(half.unbind(1) for half in rows.chunk(2, dim=1)), strict=True):
            known = ~labels.isnan()
            scores, labels = scores[known], labels[known]
            if bool((labels > 0.5).any()) and bool((labels < 0.5).any()):
                areas.append(area(scores, labels))
        return torch.stack(areas).mean() if areas else rows.new_tensor(torch.nan)

    return finish


def _class_rows(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Of two classes the difference of the logits, for the second one; of more each class's probability, against all others."""
    places = output.movedim(1, -1).reshape(-1, task.size).double()
    true = target.flatten()
    if task.size == 2:
        scores, labels = (places[:, 1] - places[:, 0]).unsqueeze(1), (true == 1).unsqueeze(1)
    else:
        scores = places.softmax(1)
        labels = true.unsqueeze(1) == torch.arange(task.size, device=true.device)
    return torch.cat([scores, torch.where((true >= 0).unsqueeze(1), labels.double(), torch.nan)], 1)


def _label_rows(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    places = (tensor.movedim(1, -1).reshape(-1, task.size).double() for tensor in (output, target))
    return torch.cat(list(places), 1)


CLASS_AUC = Metric("auc", True, collects=_class_rows, finish=_mean_over_columns(area_under_roc))
"""Area under the ROC curve; of more than two classes one against the others, averaged over the classes."""
CLASS_AVERAGE_PRECISION = Metric(
    "average_precision", True, collects=_class_rows, finish=_mean_over_columns(average_precision)
)
"""Area under the precision-recall curve, likewise."""
LABEL_AUC = Metric("auc", True, collects=_label_rows, finish=_mean_over_columns(area_under_roc))
"""Area under the ROC curve of each label, averaged over the labels."""
LABEL_AVERAGE_PRECISION = Metric(
    "average_precision", True, collects=_label_rows, finish=_mean_over_columns(average_precision)
)
"""Area under the precision-recall curve of each label, likewise."""
