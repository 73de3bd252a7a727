"""The solution of the Klein-Gordon equation satisfies it, and every condition."""

from __future__ import annotations

import pytest

from mtl_runner.data import KleinGordon
from mtl_runner.errors import ConfigError
from tests.unit.data.physics.references import largest_error_of_rows, largest_residuals

PROBLEM = KleinGordon(n_initial=40, grid_lines=9)


def test_the_reference_satisfies_equation_and_conditions() -> None:
    """Breaks if the source, the boundary or the initial velocity belong to another solution."""
    residuals = largest_residuals(PROBLEM)
    assert set(residuals) == {"pde", "boundary", "velocity"}
    assert max(residuals.values()) < 1e-10


def test_the_rows_are_the_start() -> None:
    """Breaks if the initial condition is not u(x, 0) = x."""
    train = PROBLEM.splits["train"]
    assert bool((train.inputs[:, 1] == 0).all())  # type: ignore[call-overload]
    assert largest_error_of_rows(PROBLEM) < 1e-6


def test_wrong_options_are_one_sentence() -> None:
    """Breaks if an impossible number trains something."""
    with pytest.raises(ConfigError, match=r"^data\.n_initial must be a whole number of at least"):
        KleinGordon(n_initial=0)
