"""What a dataset is, and the checks every dataset passes before training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mtl_runner.data.inputs import Inputs, InputTensors
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import check_task_names
from mtl_runner.tasks.task import Task

SPLITS = ("train", "val", "test")


@dataclass
class Split:
    """One split: inputs ``[N, ...]`` (a tensor or a dict of them) and one target per task.

    Targets: ``[N]`` or ``[N, size]`` floats for regression, ``[N]`` class indices, ``[N, labels]`` zeros and ones for
    multilabel. Missing labels are NaN or ``-100``; or give ``masks`` (True where a label is known), and whatever stands at
    the other places is never looked at.
    """

    inputs: Inputs
    targets: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(InputTensors(self.inputs))

    def to(self, device: torch.device) -> Split:
        """The split on another device."""
        return self.apply(lambda tensor: tensor.to(device))

    def rows(self, index: Tensor | slice) -> Split:
        """Some rows of the split; a slice costs no copy."""
        return self.apply(lambda tensor: tensor[index])

    def batches(self, size: int) -> Iterator[Split]:
        """Consecutive slices of ``size`` rows, without a copy."""
        if self.masks:  # not in training: there the masks have become missing labels
            yield from (self.rows(slice(at, at + size)) for at in range(0, len(self), size))
            return
        targets = [torch.split(t, size) for t in self.targets.values()]
        whole = InputTensors(self.inputs)
        parts = zip(*(torch.split(tensor, size) for tensor in whole.tensors.values()), strict=True)
        inputs: Iterable[Inputs] = (
            whole.with_tensors(dict(zip(whole.tensors, part, strict=True))) for part in parts
        )
        names = list(self.targets)
        for part, *labels in zip(inputs, *targets, strict=True):
            yield Split(part, dict(zip(names, labels, strict=True)))

    def apply(self, function: Any) -> Split:
        """The split with a function applied to every tensor."""
        changed = InputTensors(self.inputs).map(function)
        targets, masks = (
            {k: function(v) for k, v in tensors.items()} for tensors in (self.targets, self.masks)
        )
        return Split(changed, targets, masks)


@runtime_checkable
class Dataset(Protocol):
    """Any object with the tasks, in order, and the splits ``train``, ``val`` and ``test``."""

    tasks: list[Task]
    splits: dict[str, Split]


def random_splits(
    inputs: Inputs,
    targets: Mapping[str, Tensor],
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> dict[str, Split]:
    """Shuffle the rows with ``seed`` and cut them into train, val and test by fractions.

    Raises ``DataError`` if a split would be empty.
    """
    whole = Split(inputs, dict(targets))
    for name, target in targets.items():
        if len(target) != len(whole):
            raise DataError(
                f"Task {name!r} has {len(target)} targets, but the inputs have {len(whole)} rows."
            )
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    return {name: whole.rows(order[rows]) for name, rows in cut(len(whole), val, test).items()}


def cut(rows: int, val: float, test: float) -> dict[str, slice]:
    """Where train, val and test lie in ``rows`` shuffled rows."""
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise ConfigError(
            f"data.split fractions must lie between 0 and 1 and leave a training part; found val={val}, test={test}."
        )
    n_val, n_test = round(rows * val), round(rows * test)
    slices = {
        "val": slice(0, n_val),
        "test": slice(n_val, n_val + n_test),
        "train": slice(n_val + n_test, rows),
    }
    for name, part in slices.items():
        if part.stop <= part.start:
            raise DataError(
                f"The {name} split of {rows} rows would be empty with val={val} and test={test}; give it a larger fraction."
            )
    return slices


@dataclass
class Prepared:
    """A checked dataset: tasks with their sizes and trivial predictors filled in, targets in one fixed form."""

    tasks: list[Task]
    splits: dict[str, Split]
    preprocessing: dict[str, Any] | None = None


def prepare(
    dataset: Dataset,
    *,
    keep: Sequence[str] | None = None,
    terms: Mapping[str, Any] | None = None,
    metrics: Mapping[str, tuple[Any, ...]] | None = None,
    rows: int | None = None,
) -> Prepared:
    """Check a dataset and bring it into the form that training relies on.

    Args:
        dataset: any object with ``tasks`` and ``splits``.
        keep: names of the tasks to keep (``data.tasks``); None keeps all.
        terms: loss terms (``data.losses``): a known name replaces that task's loss, a new one adds a task.
        metrics: the metrics of a task (``data.metrics``) instead of those that it records by default, the main one first.
        rows: keep only the first rows of each split (``+debug=true``).

    Raises ``DataError`` or ``ConfigError`` with the name of the split, the task and both shapes.
    """
    missing = [name for name in ("tasks", "splits") if not hasattr(dataset, name)]
    if missing:
        raise ConfigError(
            f"The dataset {type(dataset).__name__} has no attribute {missing[0]!r}; a dataset needs `tasks` and `splits`."
        )
    tasks = _with_metrics(_select(list(dataset.tasks), keep), metrics or {})
    for name in SPLITS:
        if name not in dataset.splits:
            raise DataError(f"The dataset has no split {name!r}; it needs {', '.join(SPLITS)}.")
        if len(dataset.splits[name]) == 0:
            raise DataError(f"The {name} split is empty; every split needs at least one row.")
    splits = {name: _clean(name, dataset.splits[name], tasks) for name in SPLITS}
    _same_shapes(splits)
    tasks = [_complete(task, splits) for task in tasks]
    if rows is not None:
        splits = {name: split.rows(slice(0, rows)) for name, split in splits.items()}
    return Prepared(
        _with_terms(tasks, dict(terms or {})), splits, getattr(dataset, "preprocessing", None)
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
    for name in keep:
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
    """One split in fixed form: float inputs without NaN, and for each task a target of the right type and shape."""
    inputs = InputTensors(split.inputs).tensors
    for key, tensor in (*inputs.items(), *split.targets.items(), *split.masks.items()):
        if not isinstance(tensor, Tensor):
            what = f"{key!r} of the {name} split" if key else f"inputs of the {name} split"
            raise DataError(
                f"The {what} is a {type(tensor).__name__}; it must be a tensor, e.g. torch.as_tensor(x)."
            )
    for key, tensor in inputs.items():
        where = f"input {key!r} of the {name} split" if key else f"inputs of the {name} split"
        if len(tensor) != len(split):
            raise DataError(f"The {where} have {len(tensor)} rows, but the split has {len(split)}.")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            row = int((~tensor.isfinite()).flatten(1 if tensor.dim() > 1 else 0).nonzero()[0, 0])
            raise DataError(
                f"The {where} hold NaN or infinity (first in row {row}); fill or drop such rows."
            )
    targets = {}
    for task in tasks:
        if not task.has_target:
            continue
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
        targets[task.name] = _clean_target(name, target, mask, task)
    return Split(split.inputs, targets).apply(_default_precision)


def _default_precision(tensor: Tensor) -> Tensor:
    """Double to the model's precision; NumPy's default is not PyTorch's."""
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _same_shapes(splits: dict[str, Split]) -> None:
    """Every split's inputs fit the model that is made for the training split's."""
    train = splits["train"].inputs
    for name, split in splits.items():
        if (
            isinstance(train, Tensor)
            and isinstance(split.inputs, Tensor)
            and train.shape[1:] != split.inputs.shape[1:]
        ):
            raise DataError(
                f"The inputs of the {name} split have shape {tuple(split.inputs.shape)}, those of the train split {tuple(train.shape)}; all but the rows must be equal."
            )


def _clean_target(split: str, target: Tensor, mask: Tensor | None, task: Task) -> Tensor:
    try:
        return task.spec.clean(target, mask, f"in the {split} split")
    except DataError as error:
        raise DataError(f"Task {task.name!r} {error}.") from None


def _complete(task: Task, splits: dict[str, Split]) -> Task:
    """The task with its size, its trivial predictor and whether labels are missing, read off the data."""
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
    missing = any(not bool(task.known(target).all()) for target in targets.values())
    task = replace(task, size=size, missing=missing, places=task.spec.places(targets["train"]))
    trivial = task.spec.trivial(targets["train"], task)
    return replace(task, trivial=tuple(trivial.nan_to_num(0.0).tolist()))
