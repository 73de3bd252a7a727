"""The check of what a user gives as a split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from mtl_runner import Task
from mtl_runner.data import Split
from mtl_runner.data.items.checked_split import checked_split
from mtl_runner.errors import DataError

ITEMS = [(torch.zeros(2), {"y": 1.0})] * 3


class Stream(IterableDataset[Any]):
    """A dataset without indices."""


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (
            DataLoader(ITEMS),  # type: ignore[arg-type]
            "The train split is a DataLoader; give the dataset in it (loader.dataset): batches, workers and order come from data.batch_size, data.loader and seed.",
        ),
        (
            iter(ITEMS),
            "The train split is a list_iterator, which can be read only once; give a list of items or a Dataset with __len__ and __getitem__.",
        ),
        (
            (item for item in ITEMS),
            "The train split is a generator, which can be read only once; give a list of items or a Dataset with __len__ and __getitem__.",
        ),
        (
            np.zeros((3, 2)),
            "The train split is a ndarray; a split needs inputs and targets: Split(inputs, {task: targets}).",
        ),
        (
            torch.zeros(3, 2),
            "The train split is a Tensor; a split needs inputs and targets: Split(inputs, {task: targets}).",
        ),
        (
            (torch.zeros(3, 2), {"y": torch.zeros(3)}),
            "The train split is a tuple; write Split(inputs, {task: targets}) with tensors, or give a list of items (inputs, {task: target}).",
        ),
        (
            pd.DataFrame({"y": [1.0]}),
            "The train split is a DataFrame; write Split(inputs, {task: targets}) with tensors, or give a list of items (inputs, {task: target}).",
        ),
        (
            7,
            "The train split is a int; it must be a Split of whole tensors, or a dataset with __len__ and __getitem__, such as a torch.utils.data.Dataset.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_a_split_gets_a_sentence(split: Any, sentence: str) -> None:
    """Breaks if the first mistake of every PyTorch user ends in an AttributeError."""
    with pytest.raises(DataError) as error:
        checked_split(split, "train", [Task("y")])
    assert str(error.value) == sentence


@pytest.mark.parametrize("split", [ITEMS, TensorDataset(torch.zeros(3, 2), torch.ones(3))])
def test_lists_and_datasets_are_splits(split: Any) -> None:
    """Breaks if a list of items or torch's own datasets are refused."""
    checked = checked_split(split, "train", [Task("y")])
    assert len(checked) == 3
    assert checked.targets["y"].flatten().tolist() == [1.0, 1.0, 1.0]


def test_a_split_of_tensors_stays_itself() -> None:
    """Breaks if the fast form is read item by item."""
    split = Split(torch.zeros(3, 2), {"y": torch.zeros(3)})
    assert checked_split(split, "train", [Task("y")]) is split
