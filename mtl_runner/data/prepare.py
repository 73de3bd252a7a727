"""The checks that every dataset passes before training, and the one form it is brought into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import SPLITS, Dataset, Split
from mtl_runner.data.inputs import InputTensors, Shape
from mtl_runner.data.items.checked_split import checked_split
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.data.items.iterable_split import IterableSplit
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.data.row_groups import add_row_groups
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import check_task_names
from mtl_runner.tasks.task import Task

#: Rows as whole tensors, or read when they are needed.
AnySplit = Split | LoadedSplit


@dataclass
class Prepared:
    """A checked dataset, in the form that training relies on.

    Attributes:
        tasks: The tasks with their sizes and trivial predictors filled in.
        splits: The splits ``train``, ``val`` and ``test``; a missing label is NaN or -100.
        preprocessing: Fitted preprocessing as plain values for the checkpoint, if there is any.
        row_ids: From a split to the columns that identify its rows, such as the row of a table;
            None: their places in the split do.
    """

    tasks: list[Task]
    splits: dict[str, AnySplit]
    preprocessing: dict[str, Any] | None = None
    row_ids: Callable[[str], Mapping[str, Sequence[Any]]] | None = None


def prepare(
    dataset: Dataset,
    *,
    keep: Sequence[str] | None = None,
    terms: Mapping[str, Any] | None = None,
    metrics: Mapping[str, tuple[Any, ...]] | None = None,
    rows: int | None = None,
    loader: LoaderOptions | None = None,
) -> Prepared:
    """Check a dataset and bring it into the form that training relies on.

    The dataset itself is not changed.

    Args:
        dataset: Any object with ``tasks`` and ``splits``.
        keep: Names of the tasks to keep (``data.tasks``); None keeps all.
        terms: Loss terms by name (``data.losses``): the name of a task replaces the loss of that
            task, a new name adds a task.
        metrics: Metrics by task (``data.metrics``), the main one first, instead of those that the
            task records by default.
        rows: Number of rows to keep of each split (``+debug=true``); None keeps all.
        loader: How splits are read whose items are made one by one.

    Raises:
        DataError: If the data are not as described; it names the split, the task and both shapes.
        ConfigError: If an option names an unknown task, or the object is no dataset.

    Example:
        >>> from mtl_runner.data import ToyMixed
        >>> from mtl_runner.data.prepare import prepare
        >>> prepared = prepare(ToyMixed(n=50), keep=["label"], rows=10)
        >>> [task.name for task in prepared.tasks], len(prepared.splits["train"])
        (['label'], 10)
    """
    missing_attributes = [name for name in ("tasks", "splits") if not hasattr(dataset, name)]
    if missing_attributes:
        raise ConfigError(
            f"The dataset {type(dataset).__name__} has no attribute {missing_attributes[0]!r}; a dataset needs `tasks` and `splits`."
        )
    tasks = _with_metrics(_select(_checked_tasks(dataset), keep), metrics or {})
    if not isinstance(dataset.splits, Mapping):
        raise DataError(
            f"The dataset's `splits` are of type {type(dataset.splits).__name__}; they must be {{'train': Split(...), 'val': ..., 'test': ...}}."
        )
    splits: dict[str, AnySplit] = {}
    for name in SPLITS:
        if name not in dataset.splits:
            raise DataError(f"The dataset has no split {name!r}; it needs {', '.join(SPLITS)}.")
        split = checked_split(dataset.splits[name], name, tasks, loader)
        if isinstance(split, Split):
            _check_form(name, split)
        if len(split) == 0:
            raise DataError(f"The {name} split is empty; every split needs at least one row.")
        splits[name] = _clean(name, split, tasks) if isinstance(split, Split) else split
    _check_preprocessing(getattr(dataset, "preprocessing", None))
    _check_equal_shapes(splits)
    tasks = [_complete(task, splits) for task in tasks]
    splits = {
        name: split.with_tasks(tasks) if isinstance(split, LoadedSplit) else split
        for name, split in splits.items()
    }
    add_row_groups(dataset, tasks, splits)
    if rows is not None:
        splits = {name: split.head(rows) for name, split in splits.items()}
    if isinstance(splits["train"], ItemSplit):
        splits["train"].warn_of_own_randomness()
    if isinstance(splits["train"], IterableSplit):
        splits["train"].warn()
    return Prepared(
        _with_terms(tasks, dict(terms or {})),
        splits,
        getattr(dataset, "preprocessing", None),
        getattr(dataset, "row_ids", None),
    )


def _checked_tasks(dataset: Dataset) -> list[Task]:
    """Return the tasks of a dataset as a list.

    Raises:
        DataError: If they are something else.
    """
    try:
        tasks = list(dataset.tasks)
    except TypeError:
        tasks = [dataset.tasks]  # type: ignore[list-item]
    for task in tasks:
        if not isinstance(task, Task):
            raise DataError(
                f"The dataset's `tasks` must be a list of Task objects; found one of type {type(task).__name__}."
            )
    return tasks


def _check_form(name: str, split: Split) -> None:
    """Check that whatever a split holds is a tensor with rows.

    Raises:
        DataError: If it is something else.
    """
    for attribute in ("targets", "masks"):
        mapping = getattr(split, attribute)
        if not isinstance(mapping, Mapping):
            raise DataError(
                f"The {attribute} of the {name} split are of type {type(mapping).__name__}; they must be {{task: tensor}}."
            )
    inputs = split.inputs if isinstance(split.inputs, dict) else {"": split.inputs}
    if not inputs:
        raise DataError(f"The inputs of the {name} split are an empty dict; give at least one.")
    for key, tensor in (*inputs.items(), *split.targets.items(), *split.masks.items()):
        subject = f"{key!r} of the {name} split is" if key else f"inputs of the {name} split are"
        if not isinstance(tensor, Tensor):
            raise DataError(
                f"The {subject} of type {type(tensor).__name__}; it must be a tensor, e.g. torch.as_tensor(x)."
            )
        kind = (
            "of complex numbers"
            if tensor.is_complex()
            else "without rows"
            if tensor.dim() == 0
            else f"of layout {str(tensor.layout).removeprefix('torch.')}"
            if tensor.layout != torch.strided
            else "without data, on the device meta"
            if tensor.is_meta
            else ""
        )
        if kind:
            raise DataError(
                f"The {subject} a tensor {kind}; it must be an ordinary tensor of real numbers, one row per sample."
            )
    for task, mask in split.masks.items():
        if mask.dtype != torch.bool:
            raise DataError(
                f"The mask of {task!r} in the {name} split holds {str(mask.dtype).removeprefix('torch.')}; it must hold True where a label is known, e.g. mask.bool()."
            )


def _check_preprocessing(preprocessing: Any) -> None:
    if preprocessing is not None and not isinstance(preprocessing, Mapping):
        raise DataError(
            f"The dataset's `preprocessing` is of type {type(preprocessing).__name__}; it must be a dict of plain values, or None."
        )


def _select(tasks: list[Task], keep: Sequence[str] | None) -> list[Task]:
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"Two tasks are called {name!r}; every task needs a name of its own.")
    if not tasks:
        raise DataError("The dataset has no task; it needs at least one.")
    if keep is None:
        return tasks
    if isinstance(keep, str) or not isinstance(keep, Sequence):
        raise ConfigError(
            f"data.tasks must be a list of names, e.g. '[{names[0]}]'; found {keep!r}."
        )
    for name in keep:
        if list(keep).count(name) > 1:
            raise ConfigError(f"data.tasks names {name!r} twice; name every task once.")
        if name not in names:
            raise ConfigError(
                f"data.tasks names the unknown task {name!r}; {suggest(name, names)}."
            )
    if not keep:
        raise ConfigError(f"data.tasks is empty; name at least one of {', '.join(names)}.")
    return [task for task in tasks if task.name in keep]


def _with_metrics(tasks: list[Task], metrics: Mapping[str, tuple[Any, ...]]) -> list[Task]:
    check_task_names(metrics, tasks, "data.metrics")
    return [replace(task, metrics=metrics.get(task.name, task.metrics)) for task in tasks]


def _with_terms(tasks: list[Task], terms: dict[str, Any]) -> list[Task]:
    replaced = [replace(task, loss_term=terms.pop(task.name, task.loss_term)) for task in tasks]
    return replaced + [Task(name, "term", loss_term=term) for name, term in terms.items()]


def _clean(name: str, split: Split, tasks: list[Task]) -> Split:
    """Return a split in fixed form: finite inputs, targets of each task's type and shape."""
    _check_inputs(name, split)
    targets = {task.name: _target(name, split, task) for task in tasks if task.has_target}
    clean = Split(split.inputs, targets).apply(_default_precision)
    for task, target in clean.targets.items():
        if bool(target.isinf().any()):
            raise DataError(
                f"Task {task!r} holds a number in the {name} split that is infinite in {str(target.dtype).removeprefix('torch.')}; remove it, mark it missing (NaN), or use smaller units."
            )
    return clean


def _check_inputs(name: str, split: Split) -> None:
    inputs = InputTensors(split.inputs).tensors
    for key, tensor in inputs.items():
        subject = f"input {key!r} of the {name} split" if key else f"inputs of the {name} split"
        if len(tensor) != len(split):
            raise DataError(
                f"The {subject} {'has' if key else 'have'} {len(tensor)} rows, but the split has {len(split)}."
            )
        if not tensor.is_floating_point():
            continue
        finite = _default_precision(tensor).isfinite()  # 1e300 is infinite in single precision
        if not bool(finite.all()):
            row = int((~finite).flatten(1 if tensor.dim() > 1 else 0).nonzero()[0, 0])
            raise DataError(
                f"The {subject} {'holds' if key else 'hold'} NaN or infinity (first in row {row}); fill or drop such rows."
            )


def _target(name: str, split: Split, task: Task) -> Tensor:
    if task.name not in split.targets:
        raise DataError(
            f"The {name} split has no target for task {task.name!r}; {suggest(task.name, split.targets)}."
        )
    target = split.targets[task.name]
    if len(target) != len(split):
        raise DataError(
            f"Task {task.name!r} has {len(target)} targets in the {name} split, but its inputs have {len(split)} rows."
        )
    mask = split.masks.get(task.name)
    if mask is not None and len(mask) != len(target):
        raise DataError(
            f"Task {task.name!r} has a mask of {len(mask)} rows in the {name} split, but {len(target)} targets."
        )
    try:
        return task.spec.clean(target, mask, f"in the {name} split")
    except DataError as error:
        raise DataError(f"Task {task.name!r} {error}.") from None


def _default_precision(tensor: Tensor) -> Tensor:
    """Return floats in the model's precision; NumPy's default is double, PyTorch's is not."""
    tensor = tensor.detach()
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _check_equal_shapes(splits: Mapping[str, AnySplit]) -> None:
    """Check that the inputs of every split fit the model that is made for the training split."""
    train_shape = splits["train"].shape
    for name, split in splits.items():
        shape = split.shape
        if isinstance(train_shape, dict) != isinstance(shape, dict) or (
            isinstance(train_shape, dict) and set(train_shape) != set(shape)
        ):
            raise DataError(
                f"The inputs of the {name} split are {_described(shape)}, those of the train split {_described(train_shape)}; they must be alike."
            )
        if isinstance(train_shape, tuple) and isinstance(shape, tuple) and train_shape != shape:
            raise DataError(
                f"The inputs of the {name} split have shape {(len(split), *shape)}, those of the train split {(len(splits['train']), *train_shape)}; all but the rows must be equal."
            )


def _described(shape: Shape) -> str:
    return f"a dict of {', '.join(map(repr, shape))}" if isinstance(shape, dict) else "a tensor"


def _complete(task: Task, splits: Mapping[str, AnySplit]) -> Task:
    """Return the task with its size, its trivial predictor and ``missing``, read off the data."""
    if not task.has_target:
        return task
    targets = {name: split.targets[task.name] for name, split in splits.items()}
    for name, target in targets.items():
        if not bool(task.labelled(target).any()):
            raise DataError(
                f"Task {task.name!r} has no label in the {name} split; every split needs some."
            )
    try:
        size = task.spec.size(targets, task)
    except (ConfigError, DataError) as error:
        raise type(error)(f"Task {task.name!r} {error}.") from None
    missing = any(not bool(task.known(target).all()) for target in targets.values()) or any(
        isinstance(split, LoadedSplit) and not split.labels_are_complete(task.name)
        for split in splits.values()
    )
    task = replace(task, size=size, missing=missing, places=task.spec.places(targets["train"]))
    return with_trivial(task, targets["train"])


def with_trivial(task: Task, target: Tensor) -> Task:
    """Return a task with its trivial predictor.

    Args:
        task: The task, with its size and places.
        target: The target of the training split.

    Example:
        >>> with_trivial(Task("depth", size=1), torch.tensor([[1.0], [3.0]])).trivial
        (2.0,)
    """
    trivial = task.spec.trivial(target, task)
    return replace(task, trivial=tuple(trivial.nan_to_num(0.0).tolist()))
