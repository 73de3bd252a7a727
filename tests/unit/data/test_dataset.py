"""A split is rows of inputs and targets, and rows are cut into splits at random."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_runner.data import Split, random_splits
from mtl_runner.data.dataset import split_slices
from mtl_runner.errors import DataError


def test_random_splits_are_disjoint_complete_and_seeded():
    """Breaks the helper that a user's dataset cuts its rows with."""
    x = torch.arange(40.0)[:, None]
    splits = random_splits(x, {"y": x * 2}, val=0.25, test=0.1, seed=3)
    rows = {name: split.inputs[:, 0].tolist() for name, split in splits.items()}
    assert {name: len(numbers) for name, numbers in rows.items()} == {
        "train": 26,
        "val": 10,
        "test": 4,
    }
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(40))
    assert all(torch.equal(split.targets["y"], 2 * split.inputs) for split in splits.values())
    assert random_splits(x, {}, 0.25, 0.1, seed=3)["val"].inputs[:, 0].tolist() == rows["val"]
    assert random_splits(x, {}, 0.25, 0.1, seed=4)["val"].inputs[:, 0].tolist() != rows["val"]


def split_of(rows: int, **masks: Tensor) -> Split:
    """Return a split whose inputs and targets say which row they are."""
    x = torch.arange(rows * 3.0).reshape(rows, 3)
    return Split(x, {"y": torch.arange(rows)}, masks)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_batches_of_a_split_are_its_rows_in_order(masked: bool, named: bool) -> None:
    """Breaks the evaluation in slices: of tensors, of dicts of tensors, or with masks."""
    split = split_of(8, **({"y": torch.arange(8) % 2 == 0} if masked else {}))
    batches = list(
        Split({"x": split.inputs} if named else split.inputs, split.targets, split.masks).batches(3)
    )
    assert [len(batch) for batch in batches] == [3, 3, 2]
    inputs = [
        batch.inputs["x"] if isinstance(batch.inputs, dict) else batch.inputs for batch in batches
    ]
    assert torch.equal(torch.cat(inputs), split.inputs)
    assert torch.equal(torch.cat([batch.targets["y"] for batch in batches]), split.targets["y"])
    for name, mask in split.masks.items():
        assert torch.equal(torch.cat([batch.masks[name] for batch in batches]), mask)


def test_rows_of_a_split_keep_inputs_targets_and_masks_together() -> None:
    """Breaks shuffling.

    A row's target or mask would be that of another row; a slice must not copy.
    """
    split = split_of(6, y=torch.arange(6) > 2)
    shuffled = split.rows(torch.tensor([5, 0, 3]))
    assert shuffled.inputs[:, 0].tolist() == [15, 0, 9]
    assert shuffled.targets["y"].tolist() == [5, 0, 3]
    assert shuffled.masks["y"].tolist() == [True, False, True]
    assert split.rows(slice(2, 5)).inputs.data_ptr() == split.inputs[2:].data_ptr()


def test_a_target_of_another_length_is_refused_before_the_rows_are_shuffled() -> None:
    """Breaks the sentence for a user's dataset whose targets do not fit its inputs."""
    with pytest.raises(DataError, match=r"^Task 'y' has 3 targets, but the inputs have 4 rows\.$"):
        random_splits(torch.zeros(4, 1), {"y": torch.zeros(3)})


def test_slices_of_the_splits_cover_all_rows_once_with_train_last() -> None:
    """Breaks datasets that draw their splits in this order.

    Train's size must not move the others.
    """
    slices = split_slices(21, val=0.1, test=0.3)
    assert list(slices) == ["val", "test", "train"]
    assert [row for part in slices.values() for row in range(21)[part]] == list(range(21))
    assert [part.stop - part.start for part in slices.values()] == [2, 6, 13]
