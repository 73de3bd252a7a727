"""An equation as a dataset: rows, loss terms with points of their own, and grids."""

from __future__ import annotations

import torch

from mtl_runner.data import Helmholtz, KleinGordon, Poisson
from mtl_runner.data.dataset import Split
from mtl_runner.models import PinnMLP


def test_the_same_seed_gives_the_same_rows() -> None:
    """Breaks if two runs of one config train on other rows."""
    first, again, of_seed_one = (
        Poisson(n_boundary=20, grid_lines=5, seed=seed).splits["train"].inputs for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, of_seed_one)  # type: ignore[arg-type]


def test_the_grids_are_no_rows_of_training() -> None:
    """Breaks if validation and test are not whole grids with the solution."""
    data = Helmholtz(n_boundary=20, grid_lines=11)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 20,
        "val": 36,
        "test": 121,
    }


def test_terms_of_equal_problems_are_equal() -> None:
    """Breaks if runs of one sweep do not stack because every dataset makes terms of its own."""
    first, second, with_fewer = (
        KleinGordon(n_initial=8, grid_lines=5, n_interior=n) for n in (9, 9, 8)
    )
    assert first.tasks == second.tasks
    assert repr(first.tasks) == repr(second.tasks)
    assert first.tasks != with_fewer.tasks


def test_a_term_is_the_mean_square_of_its_residual() -> None:
    """Breaks if a loss term is a sum, or looks at other points than it is given."""
    data = Poisson(n_boundary=8, grid_lines=5)
    model, points = PinnMLP(data.tasks, (2,), hidden=(4,)), torch.rand(7, 2)
    term = data.tasks[1].loss_term
    assert term is not None
    residual = data.equation.residual("pde", model, points)
    assert torch.equal(term(model, Split(points, {})), residual.square().mean())
