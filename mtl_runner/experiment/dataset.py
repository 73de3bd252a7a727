"""The dataset of a config: built, checked, on its device, with its trivial predictors' losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mtl_runner.config.instantiate import (
    make,
    make_function,
    takes,
)
from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import Split
from mtl_runner.data.prepare import AnySplit, Prepared, prepare
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import mapping, whole_number
from mtl_runner.experiment.forward import doubled
from mtl_runner.tasks.metrics.base import Metric
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric, is_torchmetric
from mtl_runner.tasks.task import AnyMetric, Task

# A trivial predictor with a loss this small has nothing left to predict.
CONSTANT = 1e-12


#: Datasets that were built before, by their config, number of rows and device.
Datasets = dict[str, Prepared]


def data_on(
    device: torch.device,
    node: Mapping[str, Any],
    rows: int | None,
    datasets: Datasets | None,
    loader: LoaderOptions,
) -> Prepared:
    """Return a dataset on a device: one that was built before, or a new one."""
    key = f"{node} {rows} {device}"
    if datasets is not None and key in datasets:
        return datasets[key]
    data = build_data(node, rows, loader)
    data.splits = {name: split.to(device) for name, split in data.splits.items()}
    if datasets is not None and is_built_in(node):
        datasets[key] = data
    return data


def is_built_in(node: Mapping[str, Any]) -> bool:
    """Return whether a dataset is one of this package, so that its config says all about it.

    Example:
        >>> is_built_in({"_target_": "my_package.MyData"})
        False
    """
    return str(node.get("_target_")).startswith("mtl_runner.")


def build_data(
    node: Mapping[str, Any], rows: int | None = None, loader: LoaderOptions | None = None
) -> Prepared:
    """Return the dataset of the config's ``data`` node, checked.

    Args:
        node: The ``data`` node.
        rows: Number of rows to keep of each split; None: all.
        loader: How splits are read whose items are made one by one.

    Raises:
        ConfigError: If an option of the node does not fit.
        DataError: If the dataset is not as it must be.
    """
    # Keys of the node that the dataset's class does not take.
    runner_keys = ("batch_size", "steps_per_epoch", "loader", "tasks", "losses", "metrics")
    arguments = {key: value for key, value in node.items() if key not in runner_keys}
    terms = {}
    for name, term in mapping(node.get("losses"), "data.losses", "{name: loss}").items():
        terms[name] = make_function(term, f"data.losses.{name}", arguments=2)
        if not callable(terms[name]):
            raise ConfigError(
                f"data.losses.{name} must be a callable of (outputs, targets) or (model, batch); {type(terms[name]).__name__} is not."
            )
    metrics = {
        str(name): make_metrics(listed, f"data.metrics.{name}")
        for name, listed in mapping(
            node.get("metrics"), "data.metrics", "{task: [metric, ...]}"
        ).items()
    }
    if is_built_in(node) and "seed" in node:
        whole_number(node["seed"], "data.seed", 0)
    dataset = make(arguments, "data", other_keys={key: node.get(key) for key in runner_keys})
    return prepare(
        dataset,
        keep=node.get("tasks"),
        terms=terms,
        metrics=metrics,
        rows=rows,
        loader=loader,
    )


def make_metrics(listed: Any, key: str) -> tuple[str | AnyMetric, ...]:
    """Return a task's metrics from its entry of ``data.metrics``.

    Args:
        listed: Names of metrics of the task's kind, or nodes with a ``_target_`` that makes a
            metric or a torchmetric.
        key: The config key, for messages.

    Raises:
        ConfigError: If it is no list, or a target makes something else.

    Example:
        >>> make_metrics(["rmse", "mae"], "data.metrics.y1")
        ('rmse', 'mae')
    """
    if isinstance(listed, str | Mapping) or not isinstance(listed, Sequence) or not listed:
        raise ConfigError(
            f"{key} must be a list, e.g. [accuracy, {{_target_: my_module.my_metric}}]; found {listed!r}."
        )
    return tuple(entry if isinstance(entry, str) else _made_metric(entry, key) for entry in listed)


def _made_metric(node: Any, key: str) -> AnyMetric:
    name = str(node.get("name", "")) if isinstance(node, Mapping) else ""
    # A name that the target does not take is given to the metric afterwards.
    rename = bool(name) and not takes(node, "name")
    if rename:
        node = {option: value for option, value in node.items() if option != "name"}
    metric = make(node, key)
    if isinstance(metric, Metric):
        return replace(metric, name=name) if rename else metric
    if is_torchmetric(metric):
        return TorchMetric(metric, name)
    raise ConfigError(
        f"{key}: {node['_target_']} made a {type(metric).__name__}; it must make a Metric or a torchmetrics.Metric."
    )


def in_double_precision(splits: Mapping[str, AnySplit]) -> dict[str, AnySplit]:
    """Return the splits that are whole tensors, with numbers in double precision."""
    whole_tensors = {name: split for name, split in splits.items() if isinstance(split, Split)}
    return {name: split.apply(doubled) for name, split in whole_tensors.items()}


def trivial_losses(tasks: list[Task], split: AnySplit) -> list[float | None]:
    """Return the standard loss of the trivial predictor on a split, per task.

    Args:
        tasks: The tasks, in order.
        split: The rows.

    Returns:
        One loss per task; None where there is nothing to compare with: loss terms, replaced losses,
        constant targets.
    """
    losses: list[float | None] = []
    for task in tasks:
        if not task.has_target or task.loss_term is not None:
            losses.append(None)
            continue
        target = split.targets[task.name]
        loss = float(task.loss({task.name: task.trivial_output(target)}, {task.name: target}))
        losses.append(loss if loss > CONSTANT else None)
    return losses
