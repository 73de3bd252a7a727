"""The data of a stack: in memory once where replicas share it, and never mixed up where not."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import Split
from mtl_runner.train.stack.stacked_split import StackedSplit, slice_rows
from tests.support.builders import assert_same_bits, make_split, make_tasks

TASKS = make_tasks(a="regression", b="classification")


def test_equal_splits_are_in_memory_once() -> None:
    """Breaks if a sweep over the seed of training takes the memory of many data sets."""
    splits = [make_split(TASKS, seed=3) for _ in range(4)]
    stacked = StackedSplit(splits)
    assert stacked.shared
    assert stacked.inputs is splits[0].inputs
    assert stacked.rows == len(splits[0])


def test_splits_that_differ_in_a_target_alone_are_not_shared() -> None:
    """Breaks if replicas with other noise in their targets train on the first one's."""
    first, second = (make_split(TASKS, seed=3) for _ in range(2))
    second.targets["a"] += 1.0
    assert not StackedSplit([first, second]).shared


def test_every_replica_gathers_its_own_rows() -> None:
    """Breaks if a replica trains on the rows, or on the data, of another one."""
    rows = torch.tensor([[4, 0], [1, 3], [2, 2]])
    split_of_all = make_split(TASKS, seed=0)
    for splits in ([split_of_all] * 3, [make_split(TASKS, seed=seed) for seed in range(3)]):
        stacked = StackedSplit(splits)
        assert stacked.shared == (splits[1] is split_of_all)
        inputs, targets = stacked.gather(rows)
        for k, split in enumerate(splits):
            assert_same_bits(inputs[k], split.inputs[rows[k]])
            assert_same_bits(targets["b"][k], split.targets["b"][rows[k]])


def test_inputs_of_several_parts_stay_apart() -> None:
    """Breaks if inputs that are a dictionary cannot be stacked or sliced."""
    splits = [
        Split({"x": torch.full((3, 2), float(k)), "z": torch.full((3, 1), -float(k))}, {})
        for k in range(2)
    ]
    inputs, _ = StackedSplit(splits).gather(torch.tensor([[0, 1, 2], [0, 1, 2]]))
    first_two = slice_rows(inputs, slice(0, 2))
    assert first_two["x"][1].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert first_two["z"][1].tolist() == [[-1.0], [-1.0]]


def test_the_size_of_a_row_is_that_of_one_replica() -> None:
    """Breaks if blocks of gathered batches are larger or smaller than they may be."""
    zeros, ones = (Split(torch.full((5, 3), x), {"a": torch.zeros(5, 1)}) for x in (0.0, 1.0))
    assert StackedSplit([zeros, zeros]).row_bytes == 4 * 4
    assert StackedSplit([zeros, ones]).row_bytes == 4 * 4
