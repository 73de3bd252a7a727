"""Aggregators by name and random gradients for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import Aggregation
from tests.support.builders import make_terms


def tasks_of(count: int) -> list[Task]:
    """Return so many tasks, called a, b, c, ...; their losses do not matter here."""
    return make_terms(**{"abcdefgh"[i]: lambda p: p.sum() for i in range(count)})


def aggregation_of(name: str, count: int = 3, seed: int = 0, **options: Any) -> Aggregation:
    """Return an aggregator by name for so many tasks."""
    return Aggregation(name, options, tasks_of(count), seed)


def shortest_by_scipy(rows: Tensor) -> Tensor:
    """Return the shortest vector in the convex hull of the rows ``[k, P]``, in float64.

    It is found by SciPy's non-negative least squares, on the rows themselves: min over v >= 0 of
    ||sum of v_t u_t||^2 + (1 - b'v)^2, with rows u of norm 1 and b the relative inverse norms.
    """
    matrix = rows.double().numpy()
    norms = np.linalg.norm(matrix, axis=1)
    relative = norms.min() / norms
    system = np.vstack([(matrix / norms[:, None]).T, relative])
    solution, _ = nnls(system, np.append(np.zeros(len(system) - 1), 1.0))
    weights = relative * solution
    return torch.from_numpy(weights / weights.sum() @ matrix)


def random_rows(
    count: int, width: int = 6, seed: int = 0, dtype: torch.dtype | None = None
) -> Tensor:
    """Return gradients of different sizes, at least two of which conflict."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, width, generator=generator, dtype=dtype) * torch.linspace(
        1, 3, count, dtype=dtype
    ).unsqueeze(1)
    rows[1] -= 0.8 * rows[0]
    return rows
