"""The table of methods and laws is whole."""

from __future__ import annotations

import pytest

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.conform.laws import LAWS, METHODS, method_of
from mtl_runner.errors import ConfigError
from mtl_runner.update.aggregator_methods import METHODS as AGGREGATORS

PLAIN = ("mean", "sum")  # aggregators without a preset of their own


def test_every_method_is_one_of_mtl_run() -> None:
    """Breaks if a card is about a method that the runner does not know by this name."""
    names = {path.stem for path in (conf_directory() / "weighting").glob("*.yaml")}
    assert set(METHODS) - names == set(PLAIN)


@pytest.mark.parametrize("name", METHODS)
def test_laws_have_a_check_and_a_source(name: str) -> None:
    """Breaks if a method names a law that does not exist, or nobody knows whose law it is."""
    method = METHODS[name]
    assert method.laws
    assert method.paper
    assert set(method.laws) <= set(LAWS)
    if "total" in method.laws:
        assert "total" in method.settings
    if "balance" in method.laws or "formula" in method.laws:
        assert method.reference is not None
    if method.wants_rows:
        assert name in AGGREGATORS


def test_every_law_is_a_law_of_some_method() -> None:
    """Breaks if a check is never used."""
    used = {law for method in METHODS.values() for law in method.laws}
    assert used == set(LAWS)


def test_an_unknown_method_hears_of_the_nearest() -> None:
    """Breaks if a misspelt method is a KeyError."""
    with pytest.raises(
        ConfigError, match=r"--as mgd is no method whose laws are known; did you mean 'mgda'\?"
    ):
        method_of("mgd")
