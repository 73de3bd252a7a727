"""What a metric is: sums that add up over batches and a finish, or rows that are collected and a finish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.fields import TaskFields

OfBatch = Callable[
    [Tensor, Tensor, Any], Tensor
]  # output, target and task of a batch -> sums, or rows
Finish = Callable[[Tensor, Any], Tensor]  # sums or rows of all batches, and the task -> the number


@dataclass(frozen=True)
class Metric:
    """A number that says how good the answers of a task are.

    Most metrics add up: ``sums`` makes a vector of a batch, the vectors of all batches (and replicas, and processes) are
    added, and ``finish`` makes the number. What is no sum, such as the area under a curve, ``collects`` rows instead, which are
    put one after another.

    Args:
        name: The column of ``metrics.csv``.
        higher_is_better: The direction; None: not known, and then the metric cannot be a monitor.
        sums: ``(output, target, task) -> Tensor [k]`` in float64, of one batch. Missing labels count nothing. Metrics with the
            same function share its sums.
        finish: ``(sums or rows, task) -> Tensor []``, of all batches. NaN means "undefined".
        collects: Instead of sums: ``(output, target, task) -> Tensor [N, k]``, what is kept of each row, NaN where a label is
            missing.
        in_delta_m: Whether a relative difference of it means something; not where it can be near 0 or negative.

    Raises:
        ConfigError: If not exactly one of ``sums`` and ``collects`` is given.

    Example:
        >>> bias = Metric(
        ...     "bias",
        ...     higher_is_better=None,
        ...     sums=lambda output, target, task: torch.stack([(output - target).double().sum(), torch.tensor(len(target))]),
        ...     finish=lambda sums, task: sums[0] / sums[1],
        ... )
        >>> bias.of(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]), None)
        tensor(1.5000, dtype=torch.float64)
    """

    name: str
    higher_is_better: bool | None
    sums: OfBatch | None = None
    finish: Finish | None = None
    collects: OfBatch | None = None
    in_delta_m: bool = True

    def __post_init__(self) -> None:
        if (self.sums is None) == (self.collects is None) or self.finish is None:
            raise ConfigError(
                f"The metric {self.name!r} needs `finish` and either `sums` (a vector that adds up over batches) or `collects` (rows)."
            )

    @property
    def of_batch(self) -> OfBatch:
        """What is measured of a batch."""
        measured = self.sums or self.collects
        assert measured is not None
        return measured

    def number(self, measured: Tensor, task: TaskFields | None) -> Tensor:
        """The number from the sums, or the rows, of all batches."""
        assert self.finish is not None
        return self.finish(measured, task)

    def of(self, output: Tensor, target: Tensor, task: TaskFields | None) -> Tensor:
        """The number of one batch."""
        return self.number(self.of_batch(output, target, task), task)


def ratio(sums: Tensor, task: TaskFields) -> Tensor:
    """The first sum over the second, the finish of every mean; 0/0 is NaN: undefined."""
    return sums[0] / sums[1]


def pair(total: Tensor, count: Tensor) -> Tensor:
    """Two sums as one vector."""
    return torch.stack([total.double(), count.double()])
