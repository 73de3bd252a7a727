"""Rows of a table that stay on the disk."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data import Split, Table
from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.data.table.stream import TableStream, _cut
from tests.support.lengths import long_but

pytest.importorskip("pyarrow", reason="tables on the disk need pyarrow")

ROWS = 500


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Parquet file with gaps, categories and two targets, in groups of 37 rows."""
    random = np.random.default_rng(0)
    x = random.normal(3, 2, ROWS)
    frame = pd.DataFrame(
        {
            "x": np.where(np.arange(ROWS) % 9 == 0, np.nan, x),
            "row": np.arange(ROWS, dtype=float) + 0.5,
            "city": random.choice(["Rome", "Bonn", "Oslo"], ROWS),
            "y": np.where(np.arange(ROWS) % 7 == 0, np.nan, 10 * x),
            "big": x > 3,
        }
    )
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    frame.to_parquet(path, row_group_size=37)
    return path


def prepared(file: Path, workers: int = 0, **options: Any) -> Prepared:
    """Return the dataset of the file, on the disk unless told otherwise."""
    options = {"stream": True, "shuffle_rows": 100, **options}
    table = Table(str(file), ["y", "big"], **options)
    return prepare(table, loader=LoaderOptions(workers=workers))


def train_split(file: Path, workers: int = 0) -> TableStream:
    """Return the training split."""
    split = prepared(file, workers).splits["train"]
    assert isinstance(split, TableStream)
    return split


@pytest.mark.parametrize("stream", [True, False])
def test_the_rows_of_a_split_are_known_by_their_place_in_the_table(
    file: Path, stream: bool
) -> None:
    """Breaks if predictions.csv gives an answer to another row of the table."""
    data = prepared(file, stream=stream, features=["x", "city"])
    assert data.row_ids is not None
    table = pd.read_parquet(file)
    for name, split in data.splits.items():
        ids = data.row_ids(name)
        assert list(ids) == ["row"]
        targets = torch.cat([batch.targets["y"] for batch in split.batches(64)]).flatten()
        y = table["y"].to_numpy()[list(ids["row"])]
        numbers = targets.numpy() * data.tasks[0].scale + data.tasks[0].offset
        np.testing.assert_allclose(numbers, y, rtol=1e-4, atol=1e-3)


def test_rows_on_the_disk_are_those_in_memory(file: Path) -> None:
    """Breaks if scaling, categories, missing labels or splits depend on where the rows lie."""
    on_disk, in_memory = prepared(file), prepared(file, stream=False)
    assert on_disk.preprocessing == in_memory.preprocessing
    for task, expected in zip(on_disk.tasks, in_memory.tasks, strict=True):
        assert (task.name, task.size, task.missing, task.classes) == (
            expected.name,
            expected.size,
            expected.missing,
            expected.classes,
        )
        assert task.offset == pytest.approx(expected.offset)
        assert task.trivial == pytest.approx(expected.trivial, abs=1e-6)
    for name, split in on_disk.splits.items():
        same = in_memory.splits[name]
        assert isinstance(same, Split)
        rows = torch.cat([batch.inputs for batch in split.batches(64)])  # type: ignore[misc]
        assert len(rows) == len(split) == len(same)
        # The splits hold the same rows; on the disk in the order of the file.
        order = torch.argsort(same.inputs[:, 2])  # type: ignore[index]
        assert torch.equal(rows, same.inputs[order])  # type: ignore[index]
        labels = split.targets["y"].nan_to_num(99)
        assert torch.equal(labels, same.targets["y"][order].nan_to_num(99))


def test_every_pass_holds_every_row_once_in_another_order(file: Path) -> None:
    """Breaks if rows are lost where one window ends and the next begins."""
    train = train_split(file)
    per_pass = -(-len(train) // 32)
    batches = list(islice(train.training_batches(32, seed=0, first=0), 2 * per_pass))
    sizes = [len(batch.split) for batch in batches]
    last_size = len(train) - 32 * (per_pass - 1)
    assert sizes == 2 * ([32] * (per_pass - 1) + [last_size])
    rows: list[Any] = [batch.split.inputs for batch in batches]
    orders = [torch.cat(rows[k : k + per_pass])[:, 2] for k in (0, per_pass)]
    assert torch.equal(orders[0].sort().values, orders[1].sort().values)
    assert not torch.equal(orders[0], orders[1])


@pytest.mark.parametrize("first", long_but([0, 10], [0, 1, 7, 10, 11, 25]))
def test_the_order_is_the_same_for_workers_and_after_a_resume(file: Path, first: int) -> None:
    """Breaks if a resumed run, or one with more workers, sees other batches."""
    expected = list(islice(train_split(file).training_batches(32, 4, 0), first, first + 5))
    resumed = list(islice(train_split(file, workers=1).training_batches(32, 4, first), 5))
    for batch, same in zip(resumed, expected, strict=True):
        assert torch.equal(batch.split.inputs, same.split.inputs)  # type: ignore[arg-type]
        assert batch.labelled == same.labelled


def test_some_rows_and_the_first_rows(file: Path) -> None:
    """Breaks if the rows that find the parameters, or those of debug=true, are others."""
    train = train_split(file)
    all_rows = torch.cat([batch.inputs for batch in train.batches(1000)])  # type: ignore[misc]
    assert torch.equal(train.rows(slice(3, 60)).inputs, all_rows[3:60])  # type: ignore[arg-type]
    two: Any = train.rows(torch.tensor([100, 2])).inputs
    assert torch.equal(two, all_rows[[100, 2]])
    head = train.head(50)
    assert len(head) == 50
    assert torch.equal(next(head.batches(50)).inputs, all_rows[:50])  # type: ignore[arg-type]


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    size=st.integers(1, 9),
    data=st.data(),
)
def test_cutting_windows_keeps_the_rows(sizes: list[int], size: int, data: st.DataObject) -> None:
    """Breaks if a batch is cut at the end of a window instead of at its size."""
    total = sum(sizes)
    drop = data.draw(st.integers(0, sizes[0] - 1))
    ends = np.cumsum(sizes)
    windows = [
        Split(torch.arange(end - n, end), {"y": torch.arange(end - n, end)})
        for n, end in zip(sizes, ends, strict=True)
    ]
    batches = list(_cut(iter(windows), size, drop))
    rows = torch.cat([batch.inputs for batch in batches])  # type: ignore[misc]
    assert rows.tolist() == list(range(drop, total))
    assert all(len(batch) == size for batch in batches[:-1])
    assert rows.tolist() == torch.cat([batch.targets["y"] for batch in batches]).tolist()
