"""The end of a sentence about an unknown name."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("name", "meant"),
    [("EW", "fixed"), ("UW", "uncertainty"), ("RLW", "random"), ("stl", "single_task")],
)
def test_a_method_is_found_by_the_name_that_others_have_for_it(name: str, meant: str) -> None:
    """Breaks if somebody who knows LibMTL's names reads a list of forty."""
    names = ["fixed", "random", "single_task", "uncertainty"]
    assert suggest(name, names).startswith(f"did you mean {meant!r}? allowed: ")
    assert suggest(name, ["other"]) == "allowed: other"
