"""A batch as a worker makes it: items stacked, checked and cleaned, or the reason why not."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.items.item_form import NUMBERS, Item, read_item
from mtl_runner.data.items.randomness import keep_random_states, seed_item
from mtl_runner.errors import DataError, MtlError
from mtl_runner.tasks.task import Task

#: Pass and index of an item.
Place = tuple[int, int]


@dataclass
class FailedBatch:
    """Why an item could not be made: it travels from the worker like a batch.

    Attributes:
        sentence: What is wrong, for the user.
        trace: The traceback in the worker.
    """

    sentence: str
    trace: str

    @classmethod
    def of(cls, subject: str, error: Exception) -> FailedBatch:
        """Return the failure of an item that a dataset could not make.

        Args:
            subject: What the item is called: ``"Item 3 of the train split"``.
            error: The error.
        """
        reason = (
            f": {error}"
            if isinstance(error, MtlError)
            else f" could not be made: {type(error).__name__}: {_one_line(error)}"
        )
        return cls(f"{subject}{reason}", "".join(traceback.format_exception(error)))


@dataclass
class Batch:
    """A batch on its way from a worker to the device.

    Attributes:
        split: Its rows.
        labelled: Whether it has a label for each task, in the order of the tasks.
    """

    split: Split
    labelled: tuple[bool, ...]

    def pin_memory(self) -> Batch:
        """Return the batch in memory from which a GPU can copy by itself (asked by torch)."""
        return Batch(self.split.apply(Tensor.pin_memory), self.labelled)


class ItemReader(torch.utils.data.Dataset[Any]):
    """Makes whole batches of a dataset's items, in a worker or in the main process.

    Args:
        dataset: The user's dataset.
        tasks: The tasks.
        split: Name of the split, for errors and for the items' randomness.
        seed: Seed of the items' randomness.
        blanks: A cleaned target ``[1, ...]`` without a label, per task, for a batch that has none;
            a task that is not among them has no target in such a batch.
        only_targets: Whether to leave the inputs out: a batch has inputs ``[N, 0]`` then.

    Example:
        >>> items = [(torch.zeros(3), {"a": 1.0}), (torch.ones(3), {"a": None})]
        >>> batch = ItemReader(items, [Task("a")], "train", seed=0).__getitems__([(0, 1), (0, 0)])
        >>> batch.split.targets["a"].flatten(), batch.labelled
        (tensor([nan, 1.]), (True,))
    """

    def __init__(
        self,
        dataset: Any,
        tasks: Sequence[Task],
        split: str,
        seed: int,
        blanks: Mapping[str, Tensor] | None = None,
        only_targets: bool = False,
    ) -> None:
        self.dataset, self.tasks, self.split = dataset, list(tasks), split
        self.seed, self.only_targets = f"{split} {seed}", only_targets
        self.blanks = dict(blanks or {})

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, places: Sequence[Place]) -> Batch | FailedBatch:
        """Return the batch of some items (see :meth:`__getitems__`)."""
        return self.__getitems__(places)

    def __getitems__(self, places: Sequence[Place]) -> Batch | FailedBatch:
        """Return the batch of some items, or why it could not be made.

        Args:
            places: Pass and index of each item.
        """
        # In the main process the steps draw from the same states.
        with keep_random_states():
            try:
                return self._batch([self._item(place) for place in places], places)
            except _ItemError as error:
                return error.failure
            except MtlError as error:
                return FailedBatch(str(error), "".join(traceback.format_exception(error)))

    def batch_of(self, items: Sequence[Any], first: int) -> Batch | FailedBatch:
        """Return the batch of some items that have been made, or why there is none.

        Args:
            items: What the dataset returned.
            first: Number of the first of them, for errors.
        """
        places = [(0, first + k) for k in range(len(items))]
        try:
            return self._batch(
                [
                    read_item(item, self.tasks, f"Item {index} of the {self.split} split")
                    for item, (_, index) in zip(items, places, strict=True)
                ],
                places,
            )
        except MtlError as error:
            return FailedBatch(str(error), "".join(traceback.format_exception(error)))

    def _item(self, place: Place) -> Item:
        subject = f"Item {place[1]} of the {self.split} split"
        seed_item(self.seed, *place)
        try:
            item = self.dataset[place[1]]
        except Exception as error:
            raise _ItemError(FailedBatch.of(subject, error)) from error
        return read_item(item, self.tasks, subject)

    def _batch(self, items: Sequence[Item], places: Sequence[Place]) -> Batch:
        inputs = {} if self.only_targets else self._inputs(items, places)
        targets: dict[str, Tensor] = {}
        labelled = []
        for task in self.tasks:
            if task.has_target:
                values = [item.targets[task.name] for item in items]
                target = self._target(task, values, places)
                if target is not None:
                    targets[task.name] = target
            labelled.append(
                not task.has_target
                or (task.name in targets and bool(task.labelled(targets[task.name]).any()))
            )
        rows = torch.zeros(len(items), 0)
        return Batch(
            Split(rows if self.only_targets else inputs.get("", inputs), targets), tuple(labelled)
        )

    def _inputs(self, items: Sequence[Item], places: Sequence[Place]) -> dict[str, Tensor]:
        first = items[0].inputs
        for item, place in zip(items, places, strict=True):
            if item.inputs.keys() != first.keys():
                raise DataError(
                    f"Item {place[1]} of the {self.split} split has the inputs {_listed(item.inputs)}, item {places[0][1]} has {_listed(first)}; all items must have the same."
                )
        stacked = {
            name: self._stack(
                [item.inputs[name] for item in items],
                places,
                f"input {name!r}" if name else "inputs",
            )
            for name in first
        }
        for name, tensor in stacked.items():
            # A sum is finite only if all numbers are, and is taken ten times as fast.
            if (
                tensor.is_floating_point()
                and not bool(tensor.sum().isfinite())
                and not bool(tensor.isfinite().all())
            ):
                row = int((~tensor.isfinite()).flatten(1).any(1).nonzero()[0, 0])
                subject = f" {name!r}" if name else "s"
                raise DataError(
                    f"Item {places[row][1]} of the {self.split} split has NaN or infinity in its input{subject}; fill such numbers, or leave the item out."
                )
        return stacked

    def _target(
        self, task: Task, values: Sequence[Tensor | float | None], places: Sequence[Place]
    ) -> Tensor | None:
        """Return the cleaned target of a batch; None if it has no label and no blank is known."""
        known = [value for value in values if value is not None]
        if not known:
            blank = self.blanks.get(task.name)
            return None if blank is None else blank.expand(len(values), *blank.shape[1:]).clone()
        kind = type(known[0])
        if len(known) == len(values) and kind in NUMBERS and all(type(v) is kind for v in known):
            target = torch.tensor(known)
        else:
            target = self._stack(_of_one_type(values), places, f"a target of task {task.name!r}")
        mask = None
        if len(known) < len(values):
            mask = torch.tensor([value is not None for value in values])
        range_end = f" to {places[-1][1]}" if len(places) > 1 else ""
        location = f"in the {self.split} split, among the items {places[0][1]}{range_end}"
        try:
            target = task.spec.clean(target, mask, location)
            if task.size:  # else the size is just being read off
                task.spec.size({self.split: target, "train": target}, task)
        except MtlError as error:
            raise DataError(f"Task {task.name!r} {error}.") from None
        return target

    def _stack(self, tensors: Sequence[Tensor], places: Sequence[Place], subject: str) -> Tensor:
        first = tensors[0]
        for tensor, place in zip(tensors, places, strict=True):
            if tensor.shape != first.shape:
                raise DataError(
                    f"Item {place[1]} of the {self.split} split has {subject} of shape {tuple(tensor.shape)}, item {places[0][1]} of shape {tuple(first.shape)}; bring all items into one shape, by a resize, a crop or padding."
                )
        return torch.stack(list(tensors))


def _of_one_type(values: Sequence[Tensor | float | None]) -> list[Tensor]:
    """Return targets as tensors of one type, with zeros where there is none.

    Args:
        values: The targets; at least one is there.
    """
    tensors = [None if value is None else torch.as_tensor(value) for value in values]
    known = [tensor for tensor in tensors if tensor is not None]
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in known))
    if dtype.is_floating_point:  # NaN may stand among classes
        dtype = torch.get_default_dtype()
    example = known[0].to(dtype)
    return [torch.zeros_like(example) if tensor is None else tensor.to(dtype) for tensor in tensors]


class _ItemError(Exception):
    """Carries the failure of an item to where its batch is made."""

    def __init__(self, failure: FailedBatch) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


def identity(batch: Any) -> Any:
    """Return a batch as it is: the reader has stacked it already."""
    return batch


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "without a text"
