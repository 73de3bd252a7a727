"""A split that is read item by item: any map-style dataset, with workers if wanted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import Split, as_stand_in
from mtl_runner.data.inputs import InputTensors
from mtl_runner.data.items.batch import Batch, ItemReader
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.data.items.loading import Passes, take_batch, take_batches
from mtl_runner.errors import DataError
from mtl_runner.gradients.part import WHOLE, Part
from mtl_runner.tasks.task import Task

log = logging.getLogger("mtl_runner")

LABEL_BATCH = 256  # items at once where only their labels are read
LABEL_NUMBERS = 2**24  # of targets with many numbers per item, as many numbers are kept ...
SMALL_TARGET = 64  # ... than this; a smaller target is kept of every item


class ItemSplit(LoadedSplit):
    """A split whose rows are the items of a map-style dataset.

    Args:
        dataset: An object with ``__len__`` and ``__getitem__(index)``, whose items are of one of
            the forms of :func:`~mtl_runner.data.items.item_form.read_item`. A method ``targets()``
            that returns ``{task: all targets}`` spares a reading of all items before the training.
        name: Name of the split.
        tasks: The tasks.
        options: Options of the loader.
        device: The device on which batches are needed.
        indices: Indices of the items that belong to the split; None: all.

    Attributes:
        name: Name of the split.

    Raises:
        DataError: If an item cannot be made, or has another form than the first one.

    Example:
        >>> items = [(torch.tensor([float(i)]), {"y": float(i)}) for i in range(5)]
        >>> split = ItemSplit(items, "val", [Task("y")])
        >>> len(split), split.shape, split.targets["y"].flatten()
        (5, (1,), tensor([0., 1., 2., 3., 4.]))
        >>> [batch.inputs.flatten().tolist() for batch in split.batches(2)]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        tasks: Sequence[Task],
        options: LoaderOptions | None = None,
        device: torch.device | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__(name, tasks, options, device)
        self.dataset = dataset
        self.indices = range(len(dataset)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """The labels that are known before the training, by task, in the order of the items.

        It is every label of tasks with few numbers per item; of others (maps) as many items as
        :data:`LABEL_NUMBERS` allows, spread over the split.
        """
        given = self._given_targets()
        to_read = [task for task in self.tasks if task.has_target and task.name not in given]
        return given | (self._read_targets(to_read) if to_read else {})

    def with_tasks(self, tasks: Sequence[Task], options: LoaderOptions | None = None) -> ItemSplit:
        """Return the split with the tasks as they are known now, and the labels read so far."""
        split = ItemSplit(
            self.dataset, self.name, tasks, options or self.options, self.device, self.indices
        )
        self.keep_what_is_known(split)
        return split

    def head(self, rows: int) -> ItemSplit:
        """Return the split of the first rows."""
        return ItemSplit(
            self.dataset, self.name, self.tasks, self.options, self.device, self.indices[:rows]
        )

    def rows(self, index: Tensor | slice) -> Split:
        """Return some rows, made in this process."""
        rows = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        batch = self._reader(0)[[(0, self.indices[i]) for i in rows]]
        return self.on_device(take_batch(batch).split)

    def batches(self, size: int, part: Part = WHOLE) -> Iterator[Split]:
        """Yield all rows in order, ``size`` at a time; the last batch may be smaller.

        Args:
            size: Rows at a time.
            part: The part of each batch that is wanted; a batch of which it has no row is left
                out.
        """
        for batch in take_batches(self.open(size, part)):
            yield self.on_device(batch.split)

    def open(self, size: int, part: Part = WHOLE) -> Any:
        """Return the loader of :meth:`batches`, whose workers stay for the next time.

        Workers are copies of this process; they should be made before those of the training.
        """
        key = (size, part)
        if key not in self._loaders:
            batches = (self.indices[start : start + size] for start in range(0, len(self), size))
            places = [
                [(0, index) for index in indices]
                for batch in batches
                if (indices := batch[part.slice_of(len(batch))])
            ]
            self._loaders[key] = self.make_loader(self._reader(0), places)
            if self.options.workers and self.options.persistent:
                iter(self._loaders[key])
        return self._loaders[key]

    def training_batches(
        self, batch_size: int, seed: int, first: int, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """Yield endless batches of shuffled passes over the rows, on the device.

        Args:
            batch_size: Rows per batch; the last batch of a pass may be smaller.
            seed: Seed of the order and of the items' randomness.
            first: Number of the first batch, counted from the beginning of the first pass.
            part: The part of each batch that is wanted, and made.
        """
        passes = Passes(self.indices, batch_size, seed, first, part)
        loaded = take_batches(self.make_loader(self._reader(seed), passes))
        for number, batch in enumerate(loaded, first):
            split = self.on_device(batch.split)
            yield replace(batch, split=as_stand_in(split) if passes.is_empty(number) else split)

    def warn_of_own_randomness(self) -> None:
        """Warn if an item that is made twice, from the same random states, is not the same."""
        first, second = self.rows(slice(0, 1)), self.rows(slice(0, 1))
        tensors = zip(
            InputTensors(first.inputs).tensors.values(),
            InputTensors(second.inputs).tensors.values(),
            strict=True,
        )
        if not all(torch.equal(a, b) for a, b in tensors):
            log.warning(
                "An item of the %s split comes out differently each time, whatever the seed: something draws from a random generator of its own (albumentations does), so this run cannot be repeated or resumed exactly.",
                self.name,
            )

    def _reader(self, seed: int, **options: Any) -> ItemReader:
        blanks = {} if options else self._blanks
        return ItemReader(self.dataset, self.tasks, self.name, seed, blanks, **options)

    @cached_property
    def _blanks(self) -> dict[str, Tensor]:
        """A cleaned target ``[1, ...]`` without a label, per task whose targets are known."""
        if "targets" not in vars(self):
            return {}
        nothing = torch.zeros(1, dtype=torch.bool)
        return {
            task.name: task.spec.clean(self.targets[task.name][:1], nothing, "")
            for task in self.tasks
            if task.has_target
        }

    def _given_targets(self) -> dict[str, Tensor]:
        """Return what the dataset's method ``targets()`` knows, cleaned."""
        method = getattr(self.dataset, "targets", None)
        if not callable(method):
            return {}
        given = method()
        if not isinstance(given, Mapping):
            raise DataError(
                f"The method targets() of the {self.name} split returned a {type(given).__name__}; it must return {{task: all targets}}."
            )
        targets = {}
        for task in self.tasks:
            if task.has_target and task.name in given:
                target = torch.as_tensor(given[task.name])
                if len(target) != len(self.dataset):
                    raise DataError(
                        f"Task {task.name!r} has {len(target)} targets in targets() of the {self.name} split, which has {len(self.dataset)} items."
                    )
                if target.is_floating_point():
                    target = target.to(torch.get_default_dtype())
                if len(self) < len(target):
                    target = target[torch.tensor(list(self.indices))]
                try:
                    targets[task.name] = task.spec.clean(target, None, f"in the {self.name} split")
                except DataError as error:
                    raise DataError(f"Task {task.name!r} {error}.") from None
        return targets

    def _read_targets(self, tasks: Sequence[Task]) -> dict[str, Tensor]:
        """Return the labels of some tasks, read from the items themselves."""
        reader = self._label_reader(tasks)
        sample = take_batch(reader[[(0, self.indices[0])]]).split.targets
        sizes = {
            task.name: sample[task.name].numel() if task.name in sample else 1 for task in tasks
        }
        large = {name for name, size in sizes.items() if size > SMALL_TARGET}
        kept = {
            name: max(1, min(len(self), LABEL_NUMBERS // size if name in large else len(self)))
            for name, size in sizes.items()
        }
        positions = torch.linspace(0, len(self) - 1, max(kept.values())).round().long().tolist()
        if len(positions) > LABEL_BATCH:
            log.info(
                "Reading the labels of %d %s items, once; a method targets() of the dataset that returns {task: all targets} would save this.",
                len(positions),
                self.name,
            )
        places = [
            [(0, self.indices[i]) for i in positions[start : start + LABEL_BATCH]]
            for start in range(0, len(positions), LABEL_BATCH)
        ]
        parts: dict[str, list[Tensor | int]] = {task.name: [] for task in tasks}
        for batch in take_batches(self.make_loader(reader, places)):
            for name, part in parts.items():
                part.append(batch.split.targets.get(name, len(batch.split)))
        return {
            name: self._joined(name, part)[_spread(len(positions), kept[name])]
            for name, part in parts.items()
        }

    def _label_reader(self, tasks: Sequence[Task]) -> ItemReader:
        unsized = [replace(task, size=0) for task in tasks]
        return ItemReader(self.dataset, unsized, self.name, seed=0, only_targets=True)

    def _joined(self, name: str, parts: Sequence[Tensor | int]) -> Tensor:
        """Return one tensor of the parts; a number stands for so many rows without a label."""
        example = next((part for part in parts if isinstance(part, Tensor)), None)
        if example is None:
            raise DataError(
                f"Task {name!r} has no label in the {self.name} split; every split needs some."
            )
        task = next(task for task in self.tasks if task.name == name)
        blank = task.spec.clean(example[:1], torch.zeros(1, dtype=torch.bool), "")
        return torch.cat(
            [
                part if isinstance(part, Tensor) else blank.expand(part, *blank.shape[1:])
                for part in parts
            ]
        )


def _spread(rows: int, kept: int) -> Tensor | slice:
    """Return which of some rows are kept, spread evenly."""
    return slice(None) if kept >= rows else torch.linspace(0, rows - 1, kept).round().long()
