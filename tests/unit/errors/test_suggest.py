"""The end of a sentence about an unknown name."""

from __future__ import annotations

from mtl_runner.errors import suggest


def test_the_nearest_name_comes_first_and_all_are_listed() -> None:
    """Breaks if a typing mistake is not answered with the name that was meant."""
    assert suggest("digt", ["ink", "digit"]) == "did you mean 'digit'? allowed: digit, ink"
    assert suggest("xyz", ["ink", "digit"]) == "allowed: digit, ink"
    assert suggest("xyz", []) == "allowed: none"
