"""Kovasznay's flow satisfies the equations of Navier and Stokes."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.data import Kovasznay
from mtl_runner.errors import ConfigError
from tests.unit.data.physics.references import largest_error_of_rows, largest_residuals

SMALL = {"n_boundary": 40, "grid_lines": 9}


@pytest.mark.parametrize("reynolds", [20.0, 40.0])
def test_the_reference_satisfies_the_three_equations(reynolds: float) -> None:
    """Breaks if a sign, a derivative or the Reynolds number is wrong in one of them."""
    residuals = largest_residuals(Kovasznay(reynolds=reynolds, **SMALL))
    assert set(residuals) == {"momentum_x", "momentum_y", "continuity"}
    assert max(residuals.values()) < 1e-11


def test_the_pressure_is_known_where_the_flow_leaves() -> None:
    """Breaks if the pressure has labels that the problem does not give."""
    train = Kovasznay(**SMALL).splits["train"]
    known = ~train.targets["p"][:, 0].isnan()
    assert isinstance(train.inputs, torch.Tensor)
    assert torch.equal(known, train.inputs[:, 0] == 1.0)
    assert int(known.sum()) == 10
    assert largest_error_of_rows(Kovasznay(**SMALL)) < 1e-5


def test_wrong_options_are_one_sentence() -> None:
    """Breaks if an impossible number trains something."""
    with pytest.raises(
        ConfigError, match=r"^data\.reynolds must be a positive number; found -1\.$"
    ):
        Kovasznay(reynolds=-1)
