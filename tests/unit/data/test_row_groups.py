"""Groups of rows reach the metrics that ask for them, and nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mtl_runner.data import Split
from mtl_runner.data.dataset import ROW_GROUPS
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.task import Task

ROWS = {"train": 4, "val": 3, "test": 2}


def dataset(**attributes: Any) -> Any:
    """Return a dataset of one classification."""
    splits = {
        name: Split(torch.zeros(rows, 1), {"click": torch.arange(rows) % 2})
        for name, rows in ROWS.items()
    }
    return SimpleNamespace(tasks=[Task("click", "classification")], splits=splits, **attributes)


GROUPS = {name: torch.arange(rows) for name, rows in ROWS.items()}


def test_groups_stand_beside_the_targets_if_a_metric_needs_them() -> None:
    """Breaks `gauc`, or costs every dataset memory; and the dataset itself must stay as it is."""
    data = dataset(row_groups=GROUPS)
    prepared = prepare(data, metrics={"click": ("gauc",)}, rows=2)
    for split in prepared.splits.values():
        assert isinstance(split, Split)
        assert split.targets[ROW_GROUPS].tolist() == [0, 1]
    assert list(data.splits["train"].targets) == ["click"]
    plain = prepare(data).splits["train"]
    assert isinstance(plain, Split)
    assert list(plain.targets) == ["click"]


def test_a_metric_within_groups_of_data_without_groups_is_refused() -> None:
    """Breaks the sentence that says how to name them."""
    with pytest.raises(
        ConfigError,
        match=r"^data\.metrics: gauc of task 'click' is measured within groups of rows, but the data have none; name a column, e\.g\. data=table data\.metric_group=user \(of a dataset of your own: its attribute `row_groups`\)\.$",
    ):
        prepare(dataset(), metrics={"click": ("auc", "gauc")})


def test_rows_that_are_read_one_by_one_have_no_groups() -> None:
    """Breaks the sentence for data that stay on the disk."""
    data = dataset(row_groups=GROUPS)
    data.splits = {
        name: [(torch.zeros(1), {"click": i % 2}) for i in range(rows)]
        for name, rows in ROWS.items()
    }
    with pytest.raises(
        ConfigError, match=r"groups of rows, which must be in memory; use data\.stream=false"
    ):
        prepare(data, metrics={"click": ("gauc",)})


@pytest.mark.parametrize(
    "groups",
    [{}, {**GROUPS, "val": torch.arange(2)}, {**GROUPS, "val": torch.zeros(3)}, {"train": [1]}],
)
def test_groups_that_are_none_are_refused(groups: Any) -> None:
    """Breaks the sentence about `row_groups` of another form."""
    with pytest.raises(
        DataError,
        match=r"^The dataset's `row_groups` must hold a tensor of \d whole numbers for the \w+ split, one per row\.$",
    ):
        prepare(dataset(row_groups=groups), metrics={"click": ("gauc",)})
