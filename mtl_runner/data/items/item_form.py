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
NUMBERS = (bool, int, float)


@dataclass(slots=True)
class Item:
    """One row of a split.

    Attributes:
        inputs: The inputs by name; a single one has the name ``""``.
        targets: One target per task, a number as it is, for a tensor of all numbers of a batch is
            made at once; None where the label is missing.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor | float | None]


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
        (torch.Size([2, 2]), {'age': 7, 'sort': None})
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
        {str(name): _tensor(value, subject, "input", name) for name, value in named.items()},
        {
            name: target
            if (target := targets[name]) is None or type(target) in NUMBERS
            else _tensor(target, subject, "the target of task", name)
            for name in names
        },
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


def _tensor(value: Any, subject: str, part: str, name: object) -> Tensor:
    """Return a value as a tensor, floats in the model's precision.

    Args:
        value: The value.
        subject: What the item is called in errors.
        part: What the value is in the item, and ...
        name: ... its name. The words are put together only for an error: this runs for every item.
    """
    if isinstance(value, Tensor):
        return _floats_as_default(value)
    if type(value) in NUMBERS:  # not a number of NumPy, which is a float in double precision
        return torch.tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biuf":
            raise DataError(
                f"{_words(subject, part, name)} is an array of {value.dtype}; it must hold numbers, such as class indices."
            )
        if value.dtype in (np.uint16, np.uint32, np.uint64):  # few operations of torch know these
            value = value.astype(np.int64)
        # A copy: what the dataset returns may be a part of a file that cannot be written to.
        return _floats_as_default(torch.tensor(value))
    if isinstance(value, NUMBERS) or (
        isinstance(value, list) and all(isinstance(entry, NUMBERS) for entry in value)
    ):
        return torch.tensor(value)
    raise DataError(
        f"{_words(subject, part, name)} is a {type(value).__name__}; it must be a tensor, a NumPy array or a number{_hint(value)}."
    )


def _words(subject: str, part: str, name: object) -> str:
    return f"{subject}: {part}{f' {name!r}' if name else ''}"


def _floats_as_default(tensor: Tensor) -> Tensor:
    """Return a tensor without a graph, floats in the model's precision."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _hint(value: Any) -> str:
    if type(value).__module__.startswith("PIL."):
        return " (for a picture: numpy.asarray(image), or a transform that ends in a tensor)"
    return " (a class by its index, from 0)" if isinstance(value, str) else ""
