"""The check of what a user gives as a split: it says what to give instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import Split
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.data.items.iterable_split import IterableSplit
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.errors import DataError
from mtl_runner.tasks.task import Task


def checked_split(
    split: Any, name: str, tasks: Sequence[Task], loader: LoaderOptions | None = None
) -> Split | LoadedSplit:
    """Return a split in one of the two forms that training knows.

    Args:
        split: What the user gave: a :class:`~mtl_runner.data.Split` of whole tensors, or a dataset
            with ``__len__`` and ``__getitem__``.
        name: Name of the split.
        tasks: The tasks.
        loader: How items are read that are made one by one.

    Raises:
        DataError: If it is something else; the text says what to give instead.

    Example:
        >>> import torch
        >>> split = checked_split([(torch.zeros(2), {"y": 1.0})], "train", [Task("y")])
        >>> type(split).__name__, len(split)
        ('ItemSplit', 1)
    """
    if isinstance(split, Split):
        return split
    if isinstance(split, LoadedSplit):
        return split.with_tasks(tasks, loader)
    if isinstance(split, DataLoader):
        raise DataError(
            f"The {name} split is a DataLoader; give the dataset in it (loader.dataset): batches, workers and order come from data.batch_size, data.loader and seed."
        )
    if isinstance(split, IterableDataset):
        return IterableSplit(split, name, tasks, loader)
    if isinstance(split, Iterator):
        raise DataError(
            f"The {name} split is a {type(split).__name__}, which can be read only once; give a list of items or a Dataset with __len__ and __getitem__."
        )
    if isinstance(split, Tensor | np.ndarray | np.generic):
        raise DataError(
            f"The {name} split is a {type(split).__name__}; a split needs inputs and targets: Split(inputs, {{task: targets}})."
        )
    if isinstance(split, tuple | dict) or type(split).__module__.split(".")[0] == "pandas":
        raise DataError(
            f"The {name} split is a {type(split).__name__}; write Split(inputs, {{task: targets}}) with tensors, or give a list of items (inputs, {{task: target}})."
        )
    if not hasattr(split, "__len__") or not hasattr(split, "__getitem__"):
        raise DataError(
            f"The {name} split is a {type(split).__name__}; it must be a Split of whole tensors, or a dataset with __len__ and __getitem__, such as a torch.utils.data.Dataset."
        )
    return ItemSplit(split, name, tasks, loader)
