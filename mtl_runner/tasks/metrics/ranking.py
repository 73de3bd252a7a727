"""Areas under curves: how well scores rank the samples with a label above those without it.

They are exact, so all rows of a split are collected. A row holds K scores, then K labels (0, 1, NaN
where missing): ``[N, 2 * K]``. The value is the mean over the columns that contain both labels; if
there is none, it is undefined.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric


def area_under_roc(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the area under the ROC curve.

    It is the probability that a sample with the label has a higher score than one without; a tie
    counts half.

    Args:
        scores: The scores, ``[N]``.
        labels: 1 with the label, 0 without, ``[N]``.

    Example:
        >>> area_under_roc(torch.tensor([0.9, 0.4, 0.5]), torch.tensor([1.0, 1.0, 0.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    positives, negatives = scores[labels > 0.5], scores[labels < 0.5].sort().values
    below = torch.searchsorted(negatives, positives, right=False).double().sum()
    not_above = torch.searchsorted(negatives, positives, right=True).double().sum()
    return (below + not_above) / 2 / (len(positives) * len(negatives))


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the area under the precision-recall curve, without interpolation.

    It is scikit-learn's definition: the precision at every threshold, weighted by the gain of recall.

    Args:
        scores: The scores, ``[N]``.
        labels: 1 with the label, 0 without, ``[N]``.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.4, 0.5]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(1., dtype=torch.float64)
    """
    ordered, order = scores.sort(descending=True, stable=True)
    hits = labels[order].double().cumsum(0)
    # Equal scores share a threshold: only the final one of them is a point of the curve.
    is_point = torch.ones_like(ordered, dtype=torch.bool)
    is_point[:-1] = ordered[1:] != ordered[:-1]
    ranks = torch.arange(1, len(ordered) + 1, device=ordered.device)
    precision = hits[is_point] / ranks[is_point]
    recall_gain = torch.diff(hits[is_point], prepend=hits.new_zeros(1)) / hits[-1]
    return (recall_gain * precision).sum()


def area_within_groups(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    r"""Return the area under the ROC curve within groups, their mean weighted by rows (GAUC).

    .. math:: \frac{\sum_g n_g \mathrm{AUC}_g}{\sum_g n_g}

    over the groups g of :math:`n_g` rows that contain both labels (Zhu et al., KDD 2017, eq. 18):
    whether rows of one user are ranked rightly, whatever separates users. It is undefined if no
    group contains both.

    Args:
        scores: The scores, ``[N]``.
        labels: 1 with the label, 0 without, ``[N]``.
        groups: The number of each row's group, ``[N]``.

    Example:
        >>> scores = torch.tensor([0.9, 0.4, 0.5, 0.1])
        >>> labels, groups = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([7, 7, 8, 8])
        >>> area_within_groups(scores, labels, groups)
        tensor(0.5000, dtype=torch.float64)
    """
    order = scores.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    scores, labels, groups = scores[order], (labels[order] > 0.5).double(), groups[order]
    is_new = torch.ones_like(labels, dtype=torch.bool)
    is_new[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    ties = is_new.cumsum(0) - 1
    sizes = torch.bincount(ties)
    # Equal scores of a group share the mean of their ranks, so that a tie counts half.
    ranks = (sizes.cumsum(0) - (sizes - 1) / 2.0)[ties]
    group = torch.zeros_like(ties)
    group[1:] = (groups[1:] != groups[:-1]).cumsum(0)
    rows = torch.bincount(group)
    ranks = ranks - (rows.cumsum(0) - rows)[group]
    zeros = labels.new_zeros(len(rows))
    positives = zeros.index_add(0, group, labels)
    negatives = rows - positives
    above = zeros.index_add(0, group, ranks * labels) - positives * (positives + 1) / 2
    both = (positives > 0) & (negatives > 0)
    areas = above[both] / (positives * negatives)[both]
    mean: Tensor = (areas * rows[both]).sum() / rows[both].sum()
    return mean


def _mean_within_groups(rows: Tensor, task: TaskFields) -> Tensor:
    """Return the mean over the columns of the area within groups; the last column is the group."""
    of_a_group = rows[:, -1] >= 0
    rows, groups = rows[of_a_group, :-1], rows[of_a_group, -1]

    def within_groups(scores: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        return area_within_groups(scores, labels, groups[known])

    return _mean_of_areas(rows, within_groups)


def _mean_over_columns(
    area: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, TaskFields], Tensor]:
    """Return a ``finish`` that averages an area over the columns that contain both labels."""

    def finish(rows: Tensor, task: TaskFields) -> Tensor:
        return _mean_of_areas(rows, lambda scores, labels, known: area(scores, labels))

    return finish


def _mean_of_areas(rows: Tensor, area: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Return the mean of an area of (scores, labels, known rows) over the columns."""
    areas = []
    for scores, labels in zip(*(half.unbind(1) for half in rows.chunk(2, dim=1)), strict=True):
        known = ~labels.isnan()
        scores, labels = scores[known], labels[known]
        if bool((labels > 0.5).any()) and bool((labels < 0.5).any()):
            areas.append(area(scores, labels, known))
    if not areas:
        return rows.new_tensor(torch.nan)
    values = torch.stack(areas)
    return values[~values.isnan()].mean()


def _class_rows(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return scores and labels of classes.

    Two classes have one column: the difference of the logits is the score of the second class. More
    classes have one column each: its probability is the score against all others.
    """
    logits = output.movedim(1, -1).reshape(-1, task.size).double()
    true = target.flatten()
    if task.size == 2:
        scores, labels = (logits[:, 1] - logits[:, 0]).unsqueeze(1), (true == 1).unsqueeze(1)
    else:
        scores = logits.softmax(1)
        labels = true.unsqueeze(1) == torch.arange(task.size, device=true.device)
    return torch.cat([scores, torch.where((true >= 0).unsqueeze(1), labels.double(), torch.nan)], 1)


def _label_rows(output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
    """Return the logits and the labels of every label, one column each."""
    columns = [tensor.movedim(1, -1).reshape(-1, task.size).double() for tensor in (output, target)]
    return torch.cat(columns, 1)


CLASS_AUC = Metric("auc", True, collects=_class_rows, finish=_mean_over_columns(area_under_roc))
"""Area under the ROC curve; for more than two classes the mean of one class against the others."""
CLASS_AVERAGE_PRECISION = Metric(
    "average_precision", True, collects=_class_rows, finish=_mean_over_columns(average_precision)
)
"""Area under the precision-recall curve; for more than two classes the mean over the classes."""
LABEL_AUC = Metric("auc", True, collects=_label_rows, finish=_mean_over_columns(area_under_roc))
"""Area under the ROC curve of each label, averaged over the labels."""
LABEL_AVERAGE_PRECISION = Metric(
    "average_precision", True, collects=_label_rows, finish=_mean_over_columns(average_precision)
)
"""Area under the precision-recall curve of each label, averaged over the labels."""
CLASS_GAUC = Metric("gauc", True, collects=_class_rows, finish=_mean_within_groups, grouped=True)
"""Area under the ROC curve within groups of rows, weighted by rows; classes as for ``auc``."""
LABEL_GAUC = Metric("gauc", True, collects=_label_rows, finish=_mean_within_groups, grouped=True)
"""Area under the ROC curve within groups of rows, weighted by rows, averaged over the labels."""
