"""Points inside of boxes, on their sides and on grids."""

from __future__ import annotations

import torch

from mtl_runner.data import Box, Sides
from mtl_runner.data.physics.domain import grid


def drawn(draw: Box | Sides, n: int = 300) -> torch.Tensor:
    """Return points of one seed."""
    return draw(n, torch.Generator().manual_seed(0))


def test_a_box_is_filled_evenly() -> None:
    """Breaks if points leave the box, or leave a part of it empty."""
    points = drawn(Box((-1, 2), (3, 4)), 4000)
    low, high = torch.tensor([-1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert bool(((points >= low) & (points <= high)).all())
    shares = ((points - low) / (high - low) * 4).long().clamp(max=3)
    for column in shares.unbind(1):
        assert column.bincount(minlength=4).min() > 850


def test_every_side_gets_as_many_points() -> None:
    """Breaks if a condition holds on some of the sides only."""
    points = drawn(Sides((0, 0), (1, 2), across=(0, 1)))
    on_sides = [points[:, 0] == 0, points[:, 0] == 1, points[:, 1] == 0, points[:, 1] == 2]
    assert [int(side.sum()) for side in on_sides] == [75] * 4


def test_the_same_generator_draws_the_same_points() -> None:
    """Breaks if a run cannot be repeated."""
    box = Box((0, 0), (1, 1))
    assert torch.equal(drawn(box), drawn(box))
    assert box == Box((0, 0), (1, 1))


def test_a_grid_holds_its_corners() -> None:
    """Breaks if the solution is not judged up to the boundary."""
    points = grid((-1, 0), (1, 1), 5)
    assert points.shape == (25, 2)
    assert points.dtype == torch.float64
    assert [-1.0, 0.0] in points.tolist()
    assert [1.0, 1.0] in points.tolist()
