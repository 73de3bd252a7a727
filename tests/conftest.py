"""Shared by all tests: one thread, and double precision where a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def float64() -> Iterator[None]:
    """Everything made in the test is float64, so that a tolerance speaks of the mathematics."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def shared_data() -> Path:
    """Real data to develop against; not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real data (../shared/data) is not on this machine")
    return SHARED_DATA
