"""What an evaluation measures of a task, batch by batch: sums that add up, rows that are collected, torchmetrics that are torchmetrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.tasks.metrics.base import Metric, OfBatch
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric
from mtl_runner.tasks.task import Task

Sums = dict[str, Tensor]


class TaskMeter:
    """Sums and rows of one task. Metrics with the same function of a batch share what it gives.

    :meth:`of_batch` is pure tensor code, so that ``torch.func.vmap`` can measure a stack of replicas; what it returns adds up.

    Args:
        task: The task, with a target.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        functions: dict[OfBatch, str] = {}
        self.keys: dict[
            str, str
        ] = {}  # of each metric, which of the measured vectors it is finished from
        self.sums: dict[str, OfBatch] = {}
        self.rows: dict[str, OfBatch] = {}
        for metric in task.all_metrics:
            if isinstance(metric, Metric):
                key = functions.setdefault(metric.of_batch, metric.name)
                self.keys[metric.name] = key
                (self.rows if metric.sums is None else self.sums)[key] = metric.of_batch
        self.torchmetrics = [
            metric for metric in task.all_metrics if isinstance(metric, TorchMetric)
        ]

    def of_batch(self, output: Tensor, target: Tensor) -> tuple[Sums, Sums]:
        """The sums of a batch, which are to be added up, and the rows that are to be put one after another."""
        sums = {key: function(output, target, self.task) for key, function in self.sums.items()}
        return sums, {
            key: function(output, target, self.task) for key, function in self.rows.items()
        }

    def numbers(
        self,
        sums: Mapping[str, Tensor],
        rows: Mapping[str, Tensor],
        torchmetrics: Mapping[str, Any],
    ) -> dict[str, Tensor]:
        """Every metric as a scalar tensor, in the task's order, from the sums and rows of all batches."""
        found = {}
        for metric in self.task.all_metrics:
            if isinstance(metric, Metric):
                key = self.keys[metric.name]
                found[metric.name] = metric.number(
                    sums[key] if key in sums else rows[key], self.task
                )
            else:
                found[metric.name] = metric.number(torchmetrics[metric.name])
        return found

    def begin(self, device: torch.device) -> dict[str, Any]:
        """Fresh copies of the torchmetrics."""
        return {metric.name: metric.begin(device) for metric in self.torchmetrics}

    def update_torchmetrics(
        self, torchmetrics: Mapping[str, Any], output: Tensor, target: Tensor
    ) -> None:
        """Tell the torchmetrics a batch."""
        if torchmetrics:
            predictions, labels = self.task.spec.predictions(output, target, self.task)
            if len(labels):
                for copy in torchmetrics.values():
                    copy.update(predictions, labels)


def can_vmap_metrics(tasks: Sequence[Task]) -> bool:
    """Whether all that is measured of the tasks is pure tensor code, so that replicas can be measured as one."""
    return not any(
        isinstance(metric, TorchMetric)
        for task in tasks
        if task.has_target
        for metric in task.all_metrics
    )
