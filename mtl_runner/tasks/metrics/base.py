"""The form of a metric: a function of one batch, and a function of all batches together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.fields import TaskFields

# (output, target, task) of one batch -> sums or rows
BatchFunction = Callable[[Tensor, Tensor, Any], Tensor]
# (sums or rows of all batches, task) -> the value
Finish = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model's answers for a task are.

    A metric is computed in two steps, so that a split can be evaluated in batches of any size:

    1. A function of one batch. Most metrics use ``sums``: it returns a vector, and the vectors of
       all batches (and replicas, and processes) are added. A metric that is no function of sums,
       such as the area under a curve, uses ``collects`` instead: it returns one row per sample,
       and the rows of all batches are concatenated.
    2. ``finish`` turns the sums or rows of all batches into the value.

    Both are plain tensor functions and run on the device of the outputs. To use a metric, name it
    in a task (``Task("price", metrics=("rmse", my_metric))``) or in the config
    (``data.metrics={price: [rmse, {_target_: my_module.my_metric}]}``, where ``my_metric`` is a
    function that returns the metric). A ``torchmetrics.Metric`` can be used in the same places.

    Args:
        name: Name of the column of ``metrics.csv``.
        higher_is_better: Whether a higher value is better; None if nobody knows. Then the metric
            can be neither the monitor nor the first metric of a task.
        sums: ``(output, target, task) -> Tensor [k]`` in float64 for one batch, in which missing
            labels count nothing. Outputs and targets are in training units; multiply errors by
            ``task.scale`` for the target's own units. Metrics with the same function share it.
        finish: ``(sums or rows of all batches, task) -> Tensor []``; NaN means undefined.
        collects: Instead of ``sums``: ``(output, target, task) -> Tensor [N, k]`` for one batch,
            NaN where a label is missing.
        in_delta_m: Whether relative differences of the metric make sense, so that it counts in
            delta-m. Set it to False where the value can be near 0 or negative.
        grouped: Whether the rows are compared within groups, such as the rows of one user. Each row
            that ``finish`` gets then ends in the number of its group, -1 for none, which the
            dataset gives (``data.metric_group`` of a table).

    Raises:
        ConfigError: If ``finish`` is missing, or not exactly one of ``sums`` and ``collects`` is
            given.

    Example:
        The mean signed error:

        >>> def signed_sums(output, target, task):
        ...     known = ~target.isnan()
        ...     errors = torch.where(known, output - target, 0.0).double() * task.scale
        ...     return torch.stack([errors.sum(), known.sum()])
        >>> bias = Metric("bias", None, signed_sums, lambda sums, task: sums[0] / sums[1])

        It is recorded for a task that names it:

        >>> from mtl_runner import Task
        >>> task = Task("price", size=1, scale=10.0, metrics=("rmse", bias))
        >>> output, target = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)
        >>> bias.compute_batch(output, target, task)
        tensor(15., dtype=torch.float64)

        Sums of batches add up to those of the split:

        >>> parts = [signed_sums(output[i:i+1], target[i:i+1], task) for i in range(2)]
        >>> bias.compute(parts[0] + parts[1], task)
        tensor(15., dtype=torch.float64)

        A median needs all rows:

        >>> median = Metric(
        ...     "median_error",
        ...     higher_is_better=False,
        ...     collects=lambda output, target, task: (output - target).abs() * task.scale,
        ...     finish=lambda rows, task: rows.nanmedian(),
        ... )
        >>> median.compute_batch(output, target, task)
        tensor(10.)
    """

    name: str
    higher_is_better: bool | None
    sums: BatchFunction | None = None
    finish: Finish | None = None
    collects: BatchFunction | None = None
    in_delta_m: bool = True
    grouped: bool = False

    def __post_init__(self) -> None:
        if (self.sums is None) == (self.collects is None) or self.finish is None:
            raise ConfigError(
                f"The metric {self.name!r} needs `finish` and either `sums` (a vector that adds up over batches) or `collects` (rows)."
            )
        if self.grouped and self.collects is None:
            raise ConfigError(
                f"The metric {self.name!r} is grouped and needs `collects` (rows); sums over a batch cannot tell groups apart."
            )

    @property
    def batch_function(self) -> BatchFunction:
        """The function of one batch: ``sums`` or ``collects``."""
        function = self.sums or self.collects
        assert function is not None
        return function

    def compute(self, measured: Tensor, task: TaskFields | None) -> Tensor:
        """Return the value.

        Args:
            measured: The sums, or the rows, of all batches.
            task: The task that is measured.
        """
        assert self.finish is not None
        return self.finish(measured, task)

    def compute_batch(self, output: Tensor, target: Tensor, task: TaskFields | None) -> Tensor:
        """Return the value for a single batch.

        Args:
            output: The model's output, ``[N, size, ...]``.
            target: The target, in training units.
            task: The task that is measured.
        """
        rows = self.batch_function(output, target, task)
        return self.compute(with_groups(rows, None, len(output)) if self.grouped else rows, task)


def with_groups(rows: Tensor, groups: Tensor | None, samples: int) -> Tensor:
    """Return the rows of a grouped metric with the number of each one's group as the last column.

    Args:
        rows: The rows, sample by sample, ``[N * rows of a sample, k]``.
        groups: The group of every sample, ``[N]``; None: all belong to one.
        samples: The number of samples N.

    Example:
        >>> with_groups(torch.tensor([[0.5], [0.7]]), torch.tensor([3, 4]), 2)
        tensor([[0.5000, 3.0000],
                [0.7000, 4.0000]])
    """
    numbers = rows.new_zeros(samples) if groups is None else groups.to(rows.dtype)
    repeated = numbers.repeat_interleave(len(rows) // max(samples, 1))
    return torch.cat([rows, repeated.unsqueeze(1)], 1)


def ratio(sums: Tensor, task: TaskFields) -> Tensor:
    """Return the first sum over the second; 0/0 is NaN, which means undefined.

    It is the ``finish`` of every metric that is a mean.

    Example:
        >>> ratio(torch.tensor([3.0, 2.0]), None)
        tensor(1.5000)
    """
    return sums[0] / sums[1]


def pair(total: Tensor, count: Tensor) -> Tensor:
    """Return a total and a count as one float64 vector, the ``sums`` of a mean."""
    return torch.stack([total.double(), count.double()])
