"""The solutions of Helmholtz's and Poisson's equation satisfy them."""

from __future__ import annotations

import pytest

from mtl_runner.data import Helmholtz, PhysicsProblem, Poisson
from mtl_runner.errors import ConfigError
from tests.unit.data.physics.references import largest_error_of_rows, largest_residuals

SMALL = {"n_boundary": 40, "grid_lines": 9}


@pytest.mark.parametrize(
    "problem",
    [Helmholtz(**SMALL), Helmholtz(a1=2, a2=3, k=2.5, **SMALL), Poisson(a=3, **SMALL)],
)
def test_the_reference_satisfies_the_equation(problem: PhysicsProblem) -> None:
    """Breaks if errors are measured against something that is no solution."""
    assert largest_residuals(problem)["pde"] < 1e-10


@pytest.mark.parametrize("problem", [Helmholtz(a1=2, a2=3, **SMALL), Poisson(**SMALL)])
def test_the_boundary_is_zero(problem: PhysicsProblem) -> None:
    """Breaks if the boundary condition contradicts the solution."""
    assert problem.splits["train"].targets["u"].abs().max() < 1e-5
    assert largest_error_of_rows(problem) < 1e-5


def test_wrong_options_are_one_sentence() -> None:
    """Breaks if an impossible number trains something."""
    with pytest.raises(ConfigError, match=r"^data\.k must be a positive number; found 0\.$"):
        Helmholtz(k=0)
    # With half a wave more the solution would not be 0 on the boundary.
    for options, name in (({"a1": 0.5}, "a1"), ({"a2": 2.5}, "a2"), ({"a2": 0}, "a2")):
        sentence = rf"^data\.{name} must be a whole number of at least 1; found {options[name]}\.$"
        with pytest.raises(ConfigError, match=sentence):
            Helmholtz(**options)
    with pytest.raises(ConfigError, match=r"^data\.n_interior must be a whole number of at least"):
        Poisson(n_interior=0)
