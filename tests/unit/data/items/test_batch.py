"""Batches as a worker makes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtl_runner import Task
from mtl_runner.data.items.batch import Batch, FailedBatch, ItemReader
from mtl_runner.errors import ConfigError

Y = [Task("y")]


def failure(items: list[Any], tasks: list[Task] = Y) -> str:
    """Return the sentence of the failure of a batch of all items."""
    reader = ItemReader(items, tasks, "train", seed=0)
    batch = reader[[(0, index) for index in range(len(items))]]
    assert isinstance(batch, FailedBatch)
    assert "Traceback" in batch.trace or "Error" in batch.trace
    return batch.sentence


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        (
            [(torch.zeros(3, 4), 1.0), (torch.zeros(3, 5), 1.0)],
            "Item 1 of the train split has inputs of shape (3, 5), item 0 of shape (3, 4); bring all items into one shape, by a resize, a crop or padding.",
        ),
        (
            [({"a": torch.zeros(2)}, 1.0), ({"b": torch.zeros(2)}, 1.0)],
            "Item 1 of the train split has the inputs 'b', item 0 has 'a'; all items must have the same.",
        ),
        (
            [(torch.zeros(2), 1.0), (torch.tensor([0.0, torch.nan]), 1.0)],
            "Item 1 of the train split has NaN or infinity in its inputs; fill such numbers, or leave the item out.",
        ),
        (
            [(torch.zeros(2), torch.zeros(2)), (torch.zeros(2), torch.zeros(3))],
            "Item 1 of the train split has a target of task 'y' of shape (3,), item 0 of shape (2,); bring all items into one shape, by a resize, a crop or padding.",
        ),
        (
            [(torch.zeros(2), float("inf"))],
            "Task 'y' has an infinite target in the train split, among the items 0; remove it or mark it missing (NaN).",
        ),
    ],
)
def test_a_wrong_item_is_named(items: list[Any], sentence: str) -> None:
    """Breaks if one bad item among many cannot be found."""
    assert failure(items) == sentence


def test_a_class_beyond_the_last_is_named() -> None:
    """Breaks if a wrong class index reaches the loss, which fails without a name."""
    task = Task("c", "classification", size=3)
    items = [(torch.zeros(2), 1), (torch.zeros(2), 3)]
    assert (
        failure(items, [task])
        == "Task 'c' has 3 classes, but the train split holds class 3 (they count from 0)."
    )


def test_an_error_of_the_dataset_is_one_sentence() -> None:
    """Breaks if a transform that fails ends in a traceback of a worker."""

    class Broken:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            raise FileNotFoundError(2, "No such file\nor directory", "a.png")

    batch = ItemReader(Broken(), Y, "val", seed=0)[[(0, 0)]]
    assert isinstance(batch, FailedBatch)
    assert (
        batch.sentence
        == "Item 0 of the val split could not be made: FileNotFoundError: [Errno 2] No such file or directory: 'a.png'"
    )

    class Ours(Broken):
        def __getitem__(self, index: int) -> Any:
            raise ConfigError("data.size must be positive.")

    batch = ItemReader(Ours(), Y, "val", seed=0)[[(0, 0)]]
    assert isinstance(batch, FailedBatch)
    assert batch.sentence == "Item 0 of the val split: data.size must be positive."


def test_missing_labels_are_marked_for_every_kind() -> None:
    """Breaks if None is another number than a missing label, also where a batch has none."""
    tasks = [Task("y", size=1), Task("c", "classification", size=3)]
    items = [
        (torch.zeros(2), {"y": 1.0, "c": 2}),
        (torch.zeros(2), {"y": None, "c": None}),
    ]
    blanks = {"y": torch.full((1, 1), torch.nan), "c": torch.tensor([-100])}
    reader = ItemReader(items, tasks, "train", seed=0, blanks=blanks)
    both, neither = reader[[(0, 0), (0, 1)]], reader[[(0, 1)]]
    assert isinstance(both, Batch)
    assert isinstance(neither, Batch)
    assert both.labelled == (True, True)
    assert torch.equal(both.split.targets["c"], torch.tensor([2, -100]))
    assert both.split.targets["y"].isnan().flatten().tolist() == [False, True]
    assert neither.labelled == (False, False)
    assert neither.split.targets["y"].shape == (1, 1)
    assert neither.split.targets["c"].tolist() == [-100]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("mark", [-100, torch.nan])
def test_a_batch_may_have_items_without_a_label_and_pixels_without_one(
    dtype: torch.dtype, mark: float
) -> None:
    """Breaks if an item without a map makes classes of the ignored pixels of the other items."""
    task = Task("road", "classification", size=3)
    full, some = torch.tensor([[0, 1]], dtype=dtype), torch.tensor([[2, mark]])
    items = [(torch.zeros(2), {"road": road}) for road in (full, some, None)]
    reader = ItemReader(items, [task], "train", seed=0)
    batch = reader[[(0, 0), (0, 1), (0, 2)]]
    assert isinstance(batch, Batch), batch.sentence
    assert batch.split.targets["road"].tolist() == [[[0, 1]], [[2, -100]], [[-100, -100]]]
    assert batch.labelled == (True,)
