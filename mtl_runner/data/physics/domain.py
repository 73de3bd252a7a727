"""Boxes in space and time: points inside, on their sides, and on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Draws points uniformly from a box.

    A side without length fixes its coordinate: ``Box((-1, 0), (1, 0))`` is the start, t = 0.

    Args:
        low: The lower corner.
        high: The upper corner.

    Example:
        >>> import torch
        >>> from mtl_runner.data import Box
        >>> points = Box((-1, 0), (1, 0))(4, torch.Generator().manual_seed(0))
        >>> tuple(points.shape), points[:, 1].tolist()
        ((4, 2), [0.0, 0.0, 0.0, 0.0])
    """

    low: Sequence[float]
    high: Sequence[float]

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """Return ``n`` points ``[n, d]``."""
        low, high = (torch.tensor([float(c) for c in corner]) for corner in (self.low, self.high))
        return low + (high - low) * torch.rand(n, len(low), generator=generator)


@dataclass(frozen=True)
class Sides:
    """Draws points from sides of a box, equally many from each.

    Args:
        low: The lower corner.
        high: The upper corner.
        across: The coordinates, by number, whose lowest and highest values are the sides.

    Example:
        >>> import torch
        >>> from mtl_runner.data import Sides
        >>> points = Sides((0, 0), (1, 1), across=(0,))(4, torch.Generator().manual_seed(0))
        >>> points[:, 0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    low: Sequence[float]
    high: Sequence[float]
    across: Sequence[int]

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """Return ``n`` points ``[n, d]``."""
        points = Box(self.low, self.high)(n, generator)
        ends = [(axis, corner) for axis in self.across for corner in (self.low, self.high)]
        for k, (axis, corner) in enumerate(ends):
            points[k :: len(ends), axis] = float(corner[axis])
        return points


def grid(low: Sequence[float], high: Sequence[float], lines: int) -> Tensor:
    """Return the points of a grid over a box, ``[lines ** d, d]``, in double precision.

    Args:
        low: The lower corner.
        high: The upper corner.
        lines: Number of points along each coordinate.

    Example:
        >>> grid((0, 0), (1, 1), 2).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    axes = [
        torch.linspace(float(a), float(b), lines, dtype=torch.float64)
        for a, b in zip(low, high, strict=True)
    ]
    return torch.cartesian_prod(*axes)
