"""Keys that users may add without a ``+``."""

from __future__ import annotations

import pytest

from mtl_runner.config.open_keys import override_or_add


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("weighting.weights.y1=2", "++weighting.weights.y1=2"),
        ("optimizer.eps=1e-7", "++optimizer.eps=1e-7"),
        ("weighting=dwa", "weighting=dwa"),
        ("seed=3", "seed=3"),
        ("study=fair", "+study=fair"),
        ("search=optuna", "+search=optuna"),
        ("probe=weighting", "+probe=weighting"),
        ("hydra.run.dir=a", "hydra.run.dir=a"),
        ("+data.x=1", "+data.x=1"),
        ("~data.x", "~data.x"),
    ],
)
def test_only_keys_below_a_group_are_added(argument: str, expected: str) -> None:
    """Breaks if a misspelt top-level key is added without a word, or an option needs a ``+``."""
    assert override_or_add(argument) == expected
