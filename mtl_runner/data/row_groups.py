"""Groups of rows for metrics that compare within groups, such as the area under a user's curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.dataset import ROW_GROUPS, Split
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.metrics.base import Metric
from mtl_runner.tasks.task import Task


def add_row_groups(dataset: Any, tasks: Sequence[Task], splits: Mapping[str, Any]) -> None:
    """Put the groups of a dataset's rows beside its targets, if a metric asks for them.

    Args:
        dataset: The dataset; its attribute ``row_groups``, ``{split: [N]}``, holds the number of
            each row's group, -1 for none.
        tasks: The tasks with their metrics.
        splits: The prepared splits, which are changed.

    Raises:
        ConfigError: If a metric compares within groups and the dataset has none, or its rows are
            read one by one.
        DataError: If the groups of a split are no whole numbers, one per row.

    Example:
        >>> from types import SimpleNamespace
        >>> split = Split(torch.zeros(2, 1), {"click": torch.tensor([0, 1])})
        >>> dataset = SimpleNamespace(row_groups={"train": torch.tensor([5, 5])})
        >>> tasks = [Task("click", "classification", size=2, metrics=("gauc",))]
        >>> add_row_groups(dataset, tasks, {"train": split})
        >>> sorted(split.targets)
        ['click', 'row/groups']
    """
    grouped = [
        (task.name, metric.name)
        for task in tasks
        for metric in (task.all_metrics if task.has_target else ())
        if isinstance(metric, Metric) and metric.grouped
    ]
    if not grouped:
        return
    task_name, metric_name = grouped[0]
    groups = getattr(dataset, "row_groups", None)
    if not isinstance(groups, Mapping):
        raise ConfigError(
            f"data.metrics: {metric_name} of task {task_name!r} is measured within groups of rows, but the data have none; name a column, e.g. data=table data.metric_group=user (of a dataset of your own: its attribute `row_groups`)."
        )
    for name, split in splits.items():
        if not isinstance(split, Split):
            raise ConfigError(
                f"data.metrics: {metric_name} of task {task_name!r} is measured within groups of rows, which must be in memory; use data.stream=false, or another metric."
            )
        numbers = groups.get(name)
        if (
            not isinstance(numbers, Tensor)
            or numbers.is_floating_point()
            or numbers.shape != (len(split),)
        ):
            raise DataError(
                f"The dataset's `row_groups` must hold a tensor of {len(split)} whole numbers for the {name} split, one per row."
            )
        split.targets[ROW_GROUPS] = numbers.to(torch.int64)
