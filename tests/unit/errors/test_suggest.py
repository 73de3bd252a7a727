"""The end of a sentence about an unknown name."""

from __future__ import annotations

from mtl_runner.errors import suggest


def test_the_nearest_name_comes_first_and_all_are_listed() -> None:
    """Breaks if a typing mistake is not answered with the name that was meant."""
    assert suggest("digt", ["ink", "digit"]) == "did you mean 'digit'? allowed: digit, ink"
    assert suggest("xyz", ["ink", "digit"]) == "allowed: digit, ink"
    assert suggest("xyz", []) == "allowed: none"


def test_hundreds_of_names_are_counted() -> None:
    """Breaks if the near names scroll away above thirty thousand characters."""
    names = [f"net{number}" for number in range(300)]
    assert suggest("net7x", names) == (
        "did you mean 'net7' or 'net97' or 'net87'? 300 names are allowed, net0, net1, net10, ... among them"
    )
    assert suggest("other", names) == "300 names are allowed, net0, net1, net10, ... among them"
