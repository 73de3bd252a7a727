"""The table of houses, and how it is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_runner.data import Table
from mtl_runner.data.prepare import Prepared, prepare
from tests.unit.data.table.houses import ROWS


@pytest.fixture
def houses() -> pd.DataFrame:
    """Return numbers, categories, gaps, truth values, classes and labels, as people keep them."""
    rng = np.random.default_rng(0)
    area = rng.uniform(50, 250, ROWS)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "area": area,
            "age": np.where(rng.random(ROWS) < 0.2, np.nan, rng.integers(0, 90, ROWS)),
            "city": rng.choice(["Bonn", "Köln", "Aachen"], ROWS),
            "garden": rng.random(ROWS) < 0.5,
            "price": 1000 * area + rng.normal(0, 9000, ROWS),
            "state": rng.choice(["new", "used", "ruin"], ROWS),
            "rooms": rng.integers(1, 5, ROWS),
            "gas": rng.integers(0, 2, ROWS),
            "oil": rng.integers(0, 2, ROWS),
            "sun": rng.integers(0, 2, ROWS),
            "tags": rng.choice(["lift", "lift; view", "view;  quiet ;lift", "quiet"], ROWS),
        }
    )


@pytest.fixture
def warnings_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """Return what catches the warnings of the package, whose logger may keep them to itself."""
    logger = logging.getLogger("mtl_runner")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, "mtl_runner"):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def table(tmp_path: Path, houses: pd.DataFrame) -> Callable[..., Prepared]:
    """``table(targets, split=...)`` writes the houses, or another frame, and reads them."""

    def make(targets: Any, frame: pd.DataFrame = houses, **options: Any) -> Prepared:
        frame.to_csv(tmp_path / "houses.csv", index=False)
        return prepare(Table(str(tmp_path / "houses.csv"), targets, **options))

    return make
