"""A split that is not in memory: its batches are made when they are needed, maybe by workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors, Shape
from mtl_runner.data.items.batch import Batch
from mtl_runner.data.items.loading import make_loader
from mtl_runner.gradients.part import WHOLE, Part
from mtl_runner.tasks.task import Task


class LoadedSplit(ABC):
    """The rows of one split, read when they are needed.

    The order of the rows and whatever is drawn at random in making them are functions of the seed
    and the pass, so the batches are the same for any number of workers and after a resume.

    Args:
        name: Name of the split.
        tasks: The tasks.
        options: Options of the loader.
        device: The device on which batches are needed.

    Attributes:
        name: Name of the split.
        tasks: The tasks.
        options: Options of the loader.
        device: The device on which batches are needed.
    """

    def __init__(
        self,
        name: str,
        tasks: Sequence[Task],
        options: LoaderOptions | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.name, self.tasks = name, list(tasks)
        self.options = options or LoaderOptions()
        self.device = device or torch.device("cpu")
        self._loaders: dict[tuple[int, Part], Any] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @cached_property
    @abstractmethod
    def targets(self) -> dict[str, Tensor]:
        """The cleaned labels that are known before the training, by task, on the CPU.

        They are all labels of the split, or a part of them where all would take too much memory.
        """

    @abstractmethod
    def with_tasks(
        self, tasks: Sequence[Task], options: LoaderOptions | None = None
    ) -> LoadedSplit:
        """Return the split with the tasks as they are known now.

        Args:
            tasks: The tasks.
            options: Options of the loader; None: as they are.
        """

    @abstractmethod
    def head(self, rows: int) -> LoadedSplit:
        """Return the split of the first rows."""

    @abstractmethod
    def rows(self, index: Tensor | slice) -> Split:
        """Return some rows, made in this process."""

    @abstractmethod
    def training_batches(
        self, batch_size: int, seed: int, first: int, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """Yield endless batches of shuffled passes over the rows, on the device.

        Args:
            batch_size: Rows per batch; the last batch of a pass may be smaller.
            seed: Seed of the order and of whatever is drawn at random.
            first: Number of the first batch, counted from the beginning of the first pass.
            part: The part of each batch that is wanted; a
                :class:`~mtl_runner.data.dataset.StandIn` where it has no row.
        """

    @abstractmethod
    def open(self, size: int, part: Part = WHOLE) -> Any:
        """Return the loader of :meth:`batches`, whose workers stay for the next time.

        Workers are copies of this process; they should be made before those of the training.
        """

    @abstractmethod
    def batches(self, size: int, part: Part = WHOLE) -> Iterator[Split]:
        """Yield all rows in order, ``size`` at a time; the last batch may be smaller.

        Args:
            size: Rows at a time.
            part: The part of each batch that is wanted; a batch of which it has no row is left
                out.
        """

    def to(self, device: torch.device) -> LoadedSplit:
        """Return the split with its batches on another device."""
        split = self.with_tasks(self.tasks)
        split.device = device
        return split

    def close(self) -> None:
        """End the workers."""
        self._loaders.clear()

    @cached_property
    def example(self) -> Split:
        """The first row, made once; it is looked at for shapes."""
        return self.rows(slice(0, 1))

    @property
    def shape(self) -> Shape:
        """The shape of one row of the inputs; of each input by name where there are several."""
        return InputTensors(self.example.inputs).shape

    @property
    def numbers_per_row(self) -> int:
        """How many numbers the inputs of a row have."""
        return InputTensors(self.example.inputs).numbers_per_row

    def labels_are_complete(self, task: str) -> bool:
        """Return whether :attr:`targets` holds the label of every row."""
        return len(self.targets[task]) == len(self)

    def on_device(self, split: Split) -> Split:
        """Return rows on the device of the split."""
        return split.apply(lambda tensor: tensor.to(self.device, non_blocking=tensor.is_pinned()))

    def make_loader(self, reader: Any, places: Any) -> Any:
        """Return a loader of a reader's batches with the options of the split."""
        pin = self.options.pin_memory
        pinned = self.device.type == "cuda" if pin == "auto" else bool(pin)
        return make_loader(reader, places, self.options, pinned)

    def keep_what_is_known(self, split: LoadedSplit) -> None:
        """Give another split of the same rows the example and the labels that have been read."""
        for attribute in ("example", "targets"):
            if attribute in vars(self):
                vars(split)[attribute] = vars(self)[attribute]
