"""Measuring a task over the batches of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.tasks.metrics.base import BatchFunction, Metric, with_groups
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric
from mtl_runner.tasks.task import Task

Sums = dict[str, Tensor]


class TaskMeter:
    """All metrics of one task, measured batch by batch.

    Metrics with the same function of a batch share its result. :meth:`measure_batch` is pure tensor
    code, so that ``torch.func.vmap`` can measure a stack of replicas.

    Args:
        task: The task; it must have a target.

    Example:
        >>> meter = TaskMeter(Task("price", size=1, metrics=("rmse", "mae")))
        >>> first, _ = meter.measure_batch(torch.tensor([[1.0]]), torch.tensor([[4.0]]))
        >>> second, _ = meter.measure_batch(torch.tensor([[2.0]]), torch.tensor([[2.0]]))
        >>> sums = {key: first[key] + second[key] for key in first}
        >>> {name: value.item() for name, value in meter.compute(sums, {}, {}).items()}["mae"]
        1.5
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        # Which measured vector each metric is computed from: the name of the first that needs it.
        self.keys: dict[str, str] = {}
        self.sums: dict[str, BatchFunction] = {}
        self.rows: dict[str, BatchFunction] = {}
        self.grouped: set[str] = set()
        functions: dict[tuple[BatchFunction, bool], str] = {}
        for metric in task.all_metrics:
            if isinstance(metric, Metric):
                key = functions.setdefault((metric.batch_function, metric.grouped), metric.name)
                self.keys[metric.name] = key
                (self.rows if metric.sums is None else self.sums)[key] = metric.batch_function
                if metric.grouped:
                    self.grouped.add(key)
        self.torchmetrics = [
            metric for metric in task.all_metrics if isinstance(metric, TorchMetric)
        ]

    def measure_batch(
        self, output: Tensor, target: Tensor, groups: Tensor | None = None
    ) -> tuple[Sums, Sums]:
        """Measure one batch.

        Args:
            output: The model's output, ``[N, size, ...]``.
            target: The target, in training units.
            groups: The group of every sample, ``[N]``, for metrics that compare within groups;
                None: all belong to one.

        Returns:
            The sums, which the caller adds up over batches, and the rows, which the caller
            concatenates.
        """
        sums = {key: function(output, target, self.task) for key, function in self.sums.items()}
        rows = {key: function(output, target, self.task) for key, function in self.rows.items()}
        rows |= {key: with_groups(rows[key], groups, len(output)) for key in self.grouped}
        return sums, rows

    def compute(
        self,
        sums: Mapping[str, Tensor],
        rows: Mapping[str, Tensor],
        torchmetrics: Mapping[str, Any],
    ) -> dict[str, Tensor]:
        """Return every metric as a scalar tensor, in the task's order.

        Args:
            sums: The sums of :meth:`measure_batch`, added up over all batches.
            rows: The rows of :meth:`measure_batch`, concatenated over all batches.
            torchmetrics: The torchmetrics that were updated with all batches, by name.
        """
        values = {}
        for metric in self.task.all_metrics:
            if isinstance(metric, Metric):
                key = self.keys[metric.name]
                measured = sums[key] if key in sums else rows[key]
                values[metric.name] = metric.compute(measured, self.task)
            else:
                values[metric.name] = metric.compute(torchmetrics[metric.name])
        return values

    def fresh_torchmetrics(self, device: torch.device) -> dict[str, Any]:
        """Return copies of the torchmetrics on a device, for one evaluation."""
        return {metric.name: metric.fresh_copy(device) for metric in self.torchmetrics}

    def update_torchmetrics(
        self, torchmetrics: Mapping[str, Any], output: Tensor, target: Tensor
    ) -> None:
        """Update torchmetrics with the labelled rows of a batch."""
        if torchmetrics:
            predictions, labels = self.task.spec.predictions(output, target, self.task)
            if len(labels):
                for torchmetric in torchmetrics.values():
                    torchmetric.update(predictions, labels)


def metrics_can_be_vmapped(tasks: Sequence[Task]) -> bool:
    """Return whether all metrics of the tasks are pure tensor code.

    If so, a stack of replicas is measured in one call; a torchmetric keeps state and cannot be.
    """
    return not any(
        isinstance(metric, TorchMetric)
        for task in tasks
        if task.has_target
        for metric in task.all_metrics
    )
