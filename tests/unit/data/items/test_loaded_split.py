"""Splits that are not in memory."""

from __future__ import annotations

import torch

from mtl_runner import Task
from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.data.items.loaded_split import LoadedSplit

ITEMS = [({"left": torch.zeros(2), "right": torch.zeros(3, 4)}, {"y": float(i)}) for i in range(6)]


def test_shapes_are_those_of_a_row() -> None:
    """Breaks if a model is built for other inputs than the items have."""
    split = ItemSplit(ITEMS, "train", [Task("y")])
    assert split.shape == {"left": (2,), "right": (3, 4)}
    assert split.numbers_per_row == 14
    assert split.labels_are_complete("y")


def test_a_split_on_another_device_keeps_what_has_been_read() -> None:
    """Breaks if all labels are read twice, or batches come from the old device."""
    split: LoadedSplit = ItemSplit(ITEMS, "train", [Task("y", size=1)])
    targets = split.targets
    moved = split.to(torch.device("meta"))
    assert moved.targets is targets
    (batch,) = moved.batches(10)
    assert batch.targets["y"].device.type == "meta"
    helped = split.with_tasks([Task("y", size=1)], LoaderOptions(workers=3))
    assert (helped.options.workers, split.options.workers) == (3, 0)


def test_closed_workers_come_back() -> None:
    """Breaks if an evaluation after the end of the training finds no loader."""
    split = ItemSplit(ITEMS, "val", [Task("y", size=1)], LoaderOptions(workers=1))
    assert len(list(split.batches(4))) == 2
    split.close()
    assert len(list(split.batches(4))) == 2
