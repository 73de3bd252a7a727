"""The form of an item: inputs and targets by name, as tensors, from what a dataset returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl_runner.errors import DataError, suggest
from mtl_runner.tasks.task import Task

#: Names of an item's inputs and targets where the item is a dict of these two.
INPUTS, TARGETS = "inputs", "targets"


@dataclass
class Item:
    """One row of a split.

    Attributes:
        inputs: The inputs by name; a single one has the name ``""``.
        targets: One target per task; None where the label is missing.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor | None]


def read_item(item: Any, tasks: Sequence[Task], subject: str) -> Item:
    """Return an item in one form.

    A dataset may return any of

    - ``(inputs, {task: target})``, or ``(inputs, target)`` where there is one task;
    - ``{"inputs": inputs, "targets": {task: target}}``;
    - a dict in which the targets have the names of the tasks; all its other entries are inputs.

    Args:
        item: What the dataset returned.
        tasks: The tasks.
        subject: What the item is called in errors: ``"Item 3 of the train split"``.

    Raises:
        DataError: If the item has another form; the text says which ones there are.

    Example:
        >>> item = {"image": np.zeros((2, 2)), "age": 7, "sort": None}
        >>> tasks = [Task("age"), Task("sort", "classification")]
        >>> form = read_item(item, tasks, "Item 0 of the train split")
        >>> form.inputs[""].shape, form.targets
        (torch.Size([2, 2]), {'age': tensor(7), 'sort': None})
    """
    names = [task.name for task in tasks if task.has_target]
    inputs, targets = _parts(item, names, subject)
    if not isinstance(targets, Mapping):
        if len(names) != 1:
            raise DataError(
                f"{subject} has a {type(targets).__name__} as its targets; with several tasks they must be a dict {{{', '.join(f'{name!r}: ...' for name in names)}}}."
            )
        targets = {names[0]: targets}
    missing = [name for name in names if name not in targets]
    if missing:
        raise DataError(
            f"{subject} has no target for task {missing[0]!r}; {suggest(missing[0], list(targets))} (None is a missing label)."
        )
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    if not named:
        raise DataError(f"{subject} has no inputs; give at least one beside its targets.")
    return Item(
        {
            str(name): _tensor(value, f"{subject}: input{_named(name)}")
            for name, value in named.items()
        },
        {name: _target(targets[name], f"{subject}: the target of task {name!r}") for name in names},
    )


def _parts(item: Any, names: Sequence[str], subject: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        if set(item) == {INPUTS, TARGETS}:
            return item[INPUTS], item[TARGETS]
        inputs = {key: value for key, value in item.items() if key not in names}
        single = len(inputs) == 1
        return (
            next(iter(inputs.values())) if single else inputs,
            {name: item[name] for name in names if name in item},
        )
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    form = f"a {type(item).__name__}"
    if isinstance(item, tuple | list):
        form += f" of {len(item)}"
    raise DataError(
        f"{subject} is {form}; it must be (inputs, {{task: target}}), or a dict that holds the targets under the names of the tasks."
    )


def _named(name: object) -> str:
    return f" {name!r}" if name else ""


def _target(value: Any, subject: str) -> Tensor | None:
    return None if value is None else _tensor(value, subject)


def _tensor(value: Any, subject: str) -> Tensor:
    """Return a value as a tensor, floats in the model's precision."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biuf":
            raise DataError(
                f"{subject} is an array of {value.dtype}; it must hold numbers, such as class indices."
            )
        if value.dtype in (np.uint16, np.uint32, np.uint64):  # few operations of torch know these
            value = value.astype(np.int64)
        # A copy: what the dataset returns may be a part of a file that cannot be written to.
        value = torch.tensor(value)
    elif isinstance(value, bool | int | float) or (
        isinstance(value, list) and all(isinstance(entry, bool | int | float) for entry in value)
    ):
        value = torch.tensor(value)
    if not isinstance(value, Tensor):
        raise DataError(
            f"{subject} is a {type(value).__name__}; it must be a tensor, a NumPy array or a number{_hint(value)}."
        )
    tensor: Tensor = value.detach()
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _hint(value: Any) -> str:
    if type(value).__module__.startswith("PIL."):
        return " (for a picture: numpy.asarray(image), or a transform that ends in a tensor)"
    return " (a class by its index, from 0)" if isinstance(value, str) else ""
