"""A table of houses, and what the tests of this room ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import pytest
import torch

from mtl_runner.data.prepare import Prepared
from mtl_runner.data.table.columns import Features

ROWS = 100
SPLITS = ("train", "val", "test")
IDS_ONLY = {"features": ["id"], "scale_features": False}


def of_all_splits(prepared: Prepared, task: str | None = None) -> torch.Tensor:
    """Return the inputs, or the targets of a task, of all splits."""
    parts = [prepared.splits[name] for name in SPLITS]
    return torch.cat([part.targets[task] if task else part.inputs for part in parts])


def features_of(
    frame: pd.DataFrame, names: list[str], scale: bool = True, max_categories: int = 100
) -> Features:
    """Return feature columns fitted on a table."""
    return Features.fit(frame, names, scale=scale, max_categories=max_categories)


def row_ids(prepared: Prepared) -> dict[str, list[int]]:
    """Return the rows of each split, read off an unscaled feature ``id`` (see ``IDS_ONLY``)."""
    return {name: sorted(prepared.splits[name].inputs[:, 0].int().tolist()) for name in SPLITS}


@contextmanager
def fails(error: type[Exception], *parts: str) -> Iterator[None]:
    """Expect an error whose sentence is one line and holds all the parts."""
    with pytest.raises(error) as raised:
        yield
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert all(part in sentence for part in parts), sentence
