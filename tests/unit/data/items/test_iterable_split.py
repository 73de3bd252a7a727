"""A split that can only be read from its beginning."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from mtl_runner import Task
from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.items.batch import Batch
from mtl_runner.data.items.iterable_split import IterableSplit
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import DataError


class Stream(IterableDataset[Any]):
    """Numbers with noise, shared out among workers; every third label is missing."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for i in range(first, self.n, step):
            noise = 0.1 * torch.rand(1)
            yield noise + i, {"y": float(i) if i % 3 else None}


class Streams:
    """A dataset of streams."""

    def __init__(self) -> None:
        self.tasks = [Task("y")]
        self.splits = {"train": Stream(50), "val": Stream(20), "test": Stream(20)}


def train_split(workers: int) -> IterableSplit:
    """Return the training split."""
    split = prepare(Streams(), loader=LoaderOptions(workers=workers)).splits["train"]
    assert isinstance(split, IterableSplit)
    return split


def batches(workers: int, first: int, count: int) -> list[Batch]:
    """Return some of the endless batches."""
    return list(islice(train_split(workers).training_batches(8, 0, first), count))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_batches_that_come_next(workers: int) -> None:
    """Breaks if a resume inside a pass begins at the beginning, or draws other noise."""
    expected = batches(workers, 0, 16)
    assert expected[0].split.inputs.shape == (8, 1)  # type: ignore[union-attr]
    for first in (3, 10):
        resumed = batches(workers, first, 4)
        for batch, same in zip(resumed, expected[first:], strict=False):
            assert torch.equal(batch.split.inputs, same.split.inputs)  # type: ignore[arg-type]


def test_passes_follow_one_another_with_other_noise() -> None:
    """Breaks if an endless stream ends, or repeats its augmentation."""
    both = batches(0, 0, 14)  # seven of each pass
    first, second = both[0].split.inputs, both[7].split.inputs
    assert torch.equal(first.floor(), second.floor())  # type: ignore[union-attr]
    assert not torch.equal(first, second)  # type: ignore[arg-type]
    assert [len(batch.split) for batch in both] == 2 * [8, 8, 8, 8, 8, 8, 2]


def test_sizes_and_missing_labels_are_read_off(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a stream needs more than a Task, or its limits are not told."""
    with caplog.at_level(logging.WARNING, logger="mtl_runner"):
        prepared = prepare(Streams())
    assert "whose order is its own" in caplog.text
    (task,) = prepared.tasks
    assert (task.size, task.missing) == (1, True)
    val = prepared.splits["val"]
    assert len(val) == 20
    assert sum(len(batch) for batch in val.batches(8)) == 20
    first = val.head(5).rows(slice(0, 5)).inputs
    assert first.floor().flatten().tolist() == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    known = prepared.splits["train"].rows(slice(0, 4)).targets["y"].isnan().flatten()
    assert known.tolist() == [True, False, False, True]


class Empty(IterableDataset[Any]):
    """Yields nothing."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Broken(IterableDataset[Any]):
    """Fails at its third item."""

    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(1), 0.0
        yield torch.zeros(1), 1.0
        raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (Empty(), "The train split is an IterableDataset that yields no item."),
        (
            Broken(),
            "Item 2 of the train split could not be made: OSError: the disk is gone",
        ),
    ],
)
def test_a_stream_that_yields_nothing_or_fails_is_told(dataset: Any, sentence: str) -> None:
    """Breaks if an empty stream hangs, or a failing one ends in a traceback."""
    with pytest.raises(DataError) as error:
        _ = IterableSplit(dataset, "train", [Task("y")]).targets
    assert str(error.value) == sentence
