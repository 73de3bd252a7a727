"""The protocol of a dataset, its splits, and the helper that cuts rows into splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mtl_runner.data.inputs import Inputs, InputTensors, Shape
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.gradients.part import Part
from mtl_runner.tasks.task import Task

SPLITS = ("train", "val", "test")
#: Among the targets of a prepared split: the group of each row, ``[N]``, for metrics within groups.
ROW_GROUPS = "row/groups"


@dataclass
class Split:
    """The rows of one split: inputs, and one target per task.

    A target is ``[N]`` or ``[N, size]`` floats for a regression, ``[N]`` class indices for a
    classification, ``[N, labels]`` zeros and ones for multilabel. A missing label is NaN or -100,
    or a place where the task's mask is False: whatever stands there is never looked at.

    Args:
        inputs: A tensor ``[N, ...]``, or a dict of them.
        targets: One target per task, by the task's name.
        masks: True where a label is known, by the task's name; of the target's shape, or ``[N]``.
        points: Of a batch: the points of the loss terms that have some of their own, by the term's
            name. They are no rows: some rows of the batch come with all of them.

    Example:
        >>> import torch
        >>> from mtl_runner.data import Split
        >>> split = Split(torch.zeros(5, 3), {"y": torch.arange(5.0)})
        >>> len(split), split.rows(slice(1, 3)).targets["y"]
        (5, tensor([1., 2.]))
        >>> [len(batch) for batch in split.batches(2)]
        [2, 2, 1]
    """

    inputs: Inputs
    targets: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    points: dict[str, Inputs] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(InputTensors(self.inputs))

    @property
    def shape(self) -> Shape:
        """The shape of one row of the inputs; of each input by name where there are several."""
        return InputTensors(self.inputs).shape

    @property
    def numbers_per_row(self) -> int:
        """How many numbers the inputs of a row have."""
        return InputTensors(self.inputs).numbers_per_row

    def to(self, device: torch.device) -> Split:
        """Return the split on another device."""
        return self.apply(lambda tensor: tensor.to(device))

    def head(self, rows: int) -> Split:
        """Return the split of the first rows."""
        return self.rows(slice(0, rows))

    def rows(self, index: Tensor | slice) -> Split:
        """Return some rows of the split; a slice costs no copy."""
        return self._mapped(lambda tensor: tensor[index], self.points)

    def batches(self, size: int) -> Iterator[Split]:
        """Yield consecutive slices of ``size`` rows, without a copy; the last may be shorter."""
        if self.masks:  # not in training: there the masks have become missing labels
            yield from (self.rows(slice(at, at + size)) for at in range(0, len(self), size))
            return
        inputs = InputTensors(self.inputs)
        input_slices = zip(
            *(torch.split(tensor, size) for tensor in inputs.tensors.values()), strict=True
        )
        target_slices = [torch.split(target, size) for target in self.targets.values()]
        for tensors, *targets in zip(input_slices, *target_slices, strict=True):
            yield Split(
                inputs.with_tensors(dict(zip(inputs.tensors, tensors, strict=True))),
                dict(zip(self.targets, targets, strict=True)),
                points=self.points,
            )

    def apply(self, function: Callable[[Tensor], Tensor]) -> Split:
        """Return the split with a function applied to every tensor, also of points."""
        points = {term: InputTensors(p).map(function) for term, p in self.points.items()}
        return self._mapped(function, points)

    def _mapped(self, function: Callable[[Tensor], Tensor], points: dict[str, Inputs]) -> Split:
        """Return the split with a function applied to its rows, and with some points."""
        targets, masks = (
            {name: function(tensor) for name, tensor in tensors.items()}
            for tensors in (self.targets, self.masks)
        )
        return Split(InputTensors(self.inputs).map(function), targets, masks, points)


@dataclass
class StandIn(Split):
    """A row for a process that has none in a batch: it goes through the model and counts nothing.

    So every process makes the same calls, whatever its rows.

    Example:
        >>> split = Split(torch.arange(2), {})
        >>> [type(rows_of_part(split, Part(number, 3))).__name__ for number in range(3)]
        ['StandIn', 'Split', 'Split']
    """


@dataclass(frozen=True)
class BatchGroup:
    """The independent batches of one step, for an update that takes several.

    Attributes:
        first: The batch whose losses are recorded, and from which the heads learn.
        extra: The other batches.

    Example:
        >>> batches = [Split(torch.zeros(rows, 3), {}) for rows in (2, 2, 1)]
        >>> len(BatchGroup(batches[0], tuple(batches[1:])).extra)
        2
    """

    first: Split
    extra: tuple[Split, ...]


def rows_of_part(batch: Split, part: Part) -> Split:
    """Return the rows of a batch that one of several processes takes.

    Args:
        batch: The rows of the batch, of all processes.
        part: The part of them.

    Returns:
        The rows; the first row of the batch as a :class:`StandIn` for none.
    """
    rows = batch.rows(part.slice_of(len(batch)))
    return rows if len(rows) else as_stand_in(batch.rows(slice(0, 1)))


def as_stand_in(row: Split) -> StandIn:
    """Return a row as one that counts nothing."""
    return StandIn(row.inputs, row.targets, row.masks, row.points)


@runtime_checkable
class Dataset(Protocol):
    """Any object with tasks and splits.

    Attributes:
        tasks: The tasks, in order.
        splits: The splits ``train``, ``val`` and ``test``.

    Example:
        >>> from mtl_runner.data import Dataset, ToyRegression
        >>> isinstance(ToyRegression(), Dataset)
        True
    """

    tasks: list[Task]
    splits: dict[str, Split]


def random_splits(
    inputs: Inputs,
    targets: Mapping[str, Tensor],
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> dict[str, Split]:
    """Shuffle the rows and cut them into the splits train, val and test.

    Args:
        inputs: A tensor ``[N, ...]``, or a dict of them.
        targets: One target per task, by the task's name, each of N rows.
        val: Fraction of the rows for validation.
        test: Fraction of the rows for the test split.
        seed: Seed of the shuffle; nothing else decides it.

    Returns:
        The splits by name, which share no row.

    Raises:
        ConfigError: If the fractions leave no training part.
        DataError: If a split would be empty, or a target has another number of rows.

    Example:
        >>> import torch
        >>> from mtl_runner.data import random_splits
        >>> splits = random_splits(torch.zeros(20, 3), {"y": torch.zeros(20)}, val=0.2, test=0.3)
        >>> {name: len(split) for name, split in splits.items()}
        {'val': 4, 'test': 6, 'train': 10}
    """
    all_rows = Split(inputs, dict(targets))
    for name, target in targets.items():
        if len(target) != len(all_rows):
            raise DataError(
                f"Task {name!r} has {len(target)} targets, but the inputs have {len(all_rows)} rows."
            )
    order = torch.randperm(len(all_rows), generator=torch.Generator().manual_seed(seed))
    slices = split_slices(len(all_rows), val, test)
    return {name: all_rows.rows(order[rows]) for name, rows in slices.items()}


def split_slices(rows: int, val: float, test: float) -> dict[str, slice]:
    """Return where val, test and train lie among shuffled rows, in this order.

    Train stands last, so that a dataset that draws its splits in this order draws the same
    validation and test rows whatever the size of train.

    Args:
        rows: Number of rows.
        val: Fraction of the rows for validation.
        test: Fraction of the rows for the test split.

    Raises:
        ConfigError: If the fractions leave no training part.
        DataError: If a split would be empty.

    Example:
        >>> from mtl_runner.data.dataset import split_slices
        >>> split_slices(10, val=0.2, test=0.1)["test"]
        slice(2, 3, None)
    """
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
