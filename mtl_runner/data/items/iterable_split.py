"""A split that can only be read from its beginning: an ``IterableDataset``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import Split, rows_of_part
from mtl_runner.data.items.batch import Batch, FailedBatch, ItemReader
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.data.items.loading import take_batch, take_batches
from mtl_runner.data.items.randomness import keep_random_states, seed_item
from mtl_runner.errors import DataError
from mtl_runner.gradients.part import WHOLE, Part
from mtl_runner.tasks.task import Task

log = logging.getLogger("mtl_runner")

SAMPLE = 4096  # items of an endless split that are looked at for sizes, labels and shapes
LABEL_BATCH = 256


class IterableReader(IterableDataset[Any]):
    """Cuts the items of an ``IterableDataset`` into batches, in a worker or in the main process.

    Args:
        dataset: The user's dataset. Where there are several workers it shares its items out among
            them, as torch asks of such a dataset (``torch.utils.data.get_worker_info``).
        reader: Makes batches of items.
        batch_size: Items per batch.
        endless: Whether a new pass begins where one ends.
        first: Number of the worker's first batches that are left out.
    """

    def __init__(
        self, dataset: Any, reader: ItemReader, batch_size: int, endless: bool, first: int = 0
    ) -> None:
        self.dataset, self.reader, self.batch_size = dataset, reader, batch_size
        self.endless, self.first = endless, first

    def __iter__(self) -> Iterator[Batch | FailedBatch]:
        worker = get_worker_info()
        identity = 0 if worker is None else worker.id
        number = taken = 0
        while True:
            if hasattr(self.dataset, "set_epoch"):
                self.dataset.set_epoch(number)
            items = iter(self.dataset)
            index = 0
            while True:
                with keep_random_states():  # the steps of the main process draw from them, too
                    raw, failure = self._next(items, identity, number, index)
                    index += len(raw)
                    batch: Batch | FailedBatch | None = failure
                    if failure is None and raw and taken >= self.first:
                        batch = self.reader.batch_of(raw, index - len(raw))
                if batch is not None:
                    yield batch
                if failure is not None:
                    return
                taken += bool(raw)
                if len(raw) < self.batch_size:
                    break
            if not index:
                sentence = (
                    f"The {self.reader.split} split is an IterableDataset that yields no item."
                )
                yield FailedBatch(sentence, sentence)
                return
            if not self.endless:
                return
            number += 1

    def _next(
        self, items: Iterator[Any], identity: int, number: int, index: int
    ) -> tuple[list[Any], FailedBatch | None]:
        """Return the next items, fewer at the end of a pass, or why they could not be made.

        Args:
            items: The iterator of the pass.
            identity: Number of the worker.
            number: Number of the pass.
            index: Number of the next item in the pass.
        """
        raw: list[Any] = []
        for k in range(self.batch_size):
            seed_item(f"{self.reader.seed} worker {identity}", number, index + k)
            try:
                raw.append(next(items))
            except StopIteration:
                break
            except Exception as error:
                return [], FailedBatch.of(
                    f"Item {index + k} of the {self.reader.split} split", error
                )
        return raw, None


class IterableSplit(LoadedSplit):
    """A split whose rows come from an ``IterableDataset``, in its own order.

    Batches are the same only for the same number of workers, and a resumed run reads again what it
    has seen.

    Args:
        dataset: The dataset. Its items have one of the forms of
            :func:`~mtl_runner.data.items.item_form.read_item`.
        name: Name of the split. Of ``train`` the first :data:`SAMPLE` items are looked at before
            the training; it needs no end. The others are read to their ends.
        tasks: The tasks.
        options: Options of the loader.
        device: The device on which batches are needed.

    Example:
        >>> class Numbers(IterableDataset):
        ...     def __iter__(self):
        ...         return ((torch.ones(1), {"y": float(i)}) for i in range(5))
        >>> split = IterableSplit(Numbers(), "val", [Task("y")])
        >>> len(split), [len(batch) for batch in split.batches(2)]
        (5, [2, 2, 1])
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        tasks: Sequence[Task],
        options: LoaderOptions | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(name, tasks, options, device)
        self.dataset = dataset

    @cached_property
    def first_rows(self) -> Split:
        """The first rows with their inputs: as many as a batch of any size needs."""
        return self._read(islice(self._whole(LABEL_BATCH, self._reader(0)), SAMPLE // LABEL_BATCH))

    @cached_property
    def known_rows(self) -> int:
        """How many rows have been looked at."""
        return len(next(iter(self.targets.values())))

    def __len__(self) -> int:
        return self.known_rows

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """The labels of all rows; of ``train`` those of its first :data:`SAMPLE` rows."""
        reader = ItemReader(self.dataset, self.tasks, self.name, seed=0, only_targets=True)
        batches = self._whole(LABEL_BATCH, reader)
        if self.name == "train":
            batches = islice(batches, SAMPLE // LABEL_BATCH)
        rows = self._read(batches)
        for task in self.tasks:
            if task.has_target and task.name not in rows.targets:
                raise DataError(
                    f"Task {task.name!r} has no label in the {self.name} split; every split needs some."
                )
        return rows.targets

    def labels_are_complete(self, task: str) -> bool:
        """Return whether :attr:`targets` holds the label of every row."""
        return self.name != "train" and super().labels_are_complete(task)

    def with_tasks(
        self, tasks: Sequence[Task], options: LoaderOptions | None = None
    ) -> IterableSplit:
        """Return the split with the tasks as they are known now, and with other options."""
        split = IterableSplit(self.dataset, self.name, tasks, options or self.options, self.device)
        self.keep_what_is_known(split)
        return split

    def head(self, rows: int) -> LoadedSplit:
        """Return the split of the first rows (at most those that have been looked at)."""
        from mtl_runner.data.items.item_split import ItemSplit

        first: Any = list(islice(iter(self.dataset), rows))
        return ItemSplit(first, self.name, self.tasks, self.options, self.device)

    def rows(self, index: Tensor | slice) -> Split:
        """Return some of the first rows."""
        rows = self.first_rows.rows(index)
        blanks = self.blanks()
        for name, blank in blanks.items():
            if name not in rows.targets:
                rows.targets[name] = blank.expand(len(rows), *blank.shape[1:])
        return self.on_device(rows)

    def open(self, size: int, part: Part = WHOLE) -> Any:  # noqa: ARG002
        """Return the loader of :meth:`batches`, whose workers stay for the next time.

        Every part reads all items: nobody can leave out items of such a dataset.
        """
        key = (size, WHOLE)
        if key not in self._loaders:
            items = IterableReader(self.dataset, self._reader(0), size, endless=False)
            self._loaders[key] = self.make_loader(items, None)
            if self.options.workers and self.options.persistent:
                iter(self._loaders[key])
        return self._loaders[key]

    def batches(self, size: int, part: Part = WHOLE) -> Iterator[Split]:
        """Yield all rows, ``size`` at a time; the last batch of a worker may be smaller.

        Args:
            size: Rows at a time.
            part: The part of each batch that is wanted.
        """
        for batch in take_batches(self.open(size)):
            rows = batch.split.rows(part.slice_of(len(batch.split)))
            if len(rows):
                yield self.on_device(rows)

    def training_batches(
        self, batch_size: int, seed: int, first: int, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """Yield endless batches in the order of the dataset, on the device.

        Args:
            batch_size: Rows per batch; the last batch of a pass may be smaller.
            seed: Seed of whatever is drawn at random.
            first: Number of the first batch, counted from the beginning of the first pass.
            part: The part of each batch that is wanted.
        """
        workers = max(1, self.options.workers)
        # Batches come from the workers in turn, beginning with the first.
        items = IterableReader(
            self.dataset, self._reader(seed), batch_size, endless=True, first=first // workers
        )
        loaded = take_batches(self.make_loader(items, None))
        for batch in islice(loaded, first % workers, None):
            split = self.on_device(batch.split)
            yield Batch(split if part.is_all else rows_of_part(split, part), batch.labelled)

    def warn(self) -> None:
        """Say what cannot be promised."""
        log.warning(
            "The train split is an IterableDataset, whose order is its own: batches are the same only for the same number of data.loader.workers, and a resumed run reads again what it has seen; a dataset with __len__ and __getitem__ has neither limit."
        )

    def blanks(self) -> dict[str, Tensor]:
        """Return a cleaned target ``[1, ...]`` without a label, per task."""
        nothing = torch.zeros(1, dtype=torch.bool)
        return {
            task.name: task.spec.clean(self.targets[task.name][:1], nothing, "")
            for task in self.tasks
            if task.has_target
        }

    def _reader(self, seed: int) -> ItemReader:
        return ItemReader(self.dataset, self.tasks, self.name, seed, self.blanks())

    def _whole(self, size: int, reader: ItemReader) -> Iterator[Batch]:
        """Yield the batches of one pass, made in this process."""
        for batch in IterableReader(self.dataset, reader, size, endless=False):
            yield take_batch(batch)

    def _read(self, batches: Iterator[Batch]) -> Split:
        """Return the rows of some batches; a target without any label is left out."""
        parts = [batch.split for batch in batches]
        inputs = [part.inputs for part in parts]
        if isinstance(inputs[0], dict):
            named: list[Any] = inputs
            joined: Any = {name: torch.cat([part[name] for part in named]) for name in inputs[0]}
        else:
            joined = torch.cat(cast("list[Tensor]", inputs))
        targets = {}
        for task in self.tasks:
            known = [part.targets[task.name] for part in parts if task.name in part.targets]
            if known:
                nothing = torch.zeros(1, dtype=torch.bool)
                blank = task.spec.clean(known[0][:1], nothing, "")
                targets[task.name] = torch.cat(
                    [
                        part.targets.get(task.name, blank.expand(len(part), *blank.shape[1:]))
                        for part in parts
                    ]
                )
        return Split(joined, targets)
