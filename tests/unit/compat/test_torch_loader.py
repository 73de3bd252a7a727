"""Ends of loaders."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from mtl_runner.compat.torch_loader import end_workers


def test_the_workers_of_a_loader_end() -> None:
    """Breaks if torch calls the end of its workers by another name, or a worker goes on."""
    iterator = iter(DataLoader(torch.arange(64), num_workers=1))  # type: ignore[arg-type]
    next(iterator)
    (worker,) = iterator._workers  # type: ignore[attr-defined]
    end_workers(iterator)
    worker.join(10)
    assert not worker.is_alive()
    end_workers(iterator)
