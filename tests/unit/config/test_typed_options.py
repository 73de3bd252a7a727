"""Options compared with the types that a class declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from mtl_runner.config.instantiate import make
from mtl_runner.config.typed_options import check_types
from mtl_runner.errors import ConfigError


class Declared:
    """A class with options of all sorts."""

    def __init__(
        self,
        number: float = 1.0,
        count: int | None = None,
        flag: bool = False,
        word: str = "a",
        numbers: Sequence[float] = (),
        named: Mapping[str, float] | None = None,
        either: float | Mapping[str, float] = 1.0,
        anything: Any = None,
        infinite: float = float("inf"),
    ) -> None: ...


Declared.__module__ = "mtl_runner.declared"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("number", 1), ("number", -1.5), ("count", None), ("count", 3), ("flag", True)],
        *[("word", ""), ("numbers", [1, 2.0]), ("numbers", []), ("named", {"a": 1})],
        *[("either", {}), ("either", 2), ("anything", object()), ("number", torch.ones(()))],
        *[("undeclared", 3), ("infinite", Declared.__init__.__defaults__[-1])],
    ],
)
def test_a_value_of_the_declared_type_passes(option: str, value: object) -> None:
    """Breaks if a whole number is refused as a number, or what a node has made as an option."""
    check_types(Declared, {option: value}, "k")


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("number", True, "a finite number; found True."),
        ("number", float("nan"), "a finite number; found nan."),
        ("number", "1", "a finite number; found '1'."),
        ("count", 1.0, "a whole number (below 2**63) or null; found 1.0."),
        ("count", False, "a whole number (below 2**63) or null; found False."),
        ("count", 2**63, f"a whole number (below 2**63) or null; found {2**63}."),
        ("flag", 1, "true or false; found 1."),
        ("word", 3, "a text; found 3."),
        ("numbers", "12", "a list whose entries are each a finite number; found '12'."),
        ("numbers", ["a"], "a list whose entries are each a finite number; found ['a']."),
        (
            "named",
            {"a": True},
            "a mapping whose values are each a finite number or null; found {'a': True}.",
        ),
        (
            "either",
            [1],
            "a finite number or a mapping whose values are each a finite number; found [1].",
        ),
        ("infinite", float("-inf"), "a finite number; found -inf."),
    ],
)
def test_another_type_is_one_sentence(option: str, value: object, rule: str) -> None:
    """Breaks if ``true`` counts as 1, or a text ends in an error of arithmetic."""
    with pytest.raises(ConfigError) as error:
        check_types(Declared, {option: value}, "k")
    assert str(error.value) == f"k.{option} must be {rule}"


def test_the_hints_of_a_users_class_bind_nobody() -> None:
    """Breaks if a class whose hints are not kept to cannot be used any more."""

    class Loose:
        def __init__(self, count: int = 3) -> None: ...

    Loose.__module__ = "my_module"
    check_types(Loose, {"count": "three"}, "k")


@pytest.mark.parametrize("option", ["lr", "eps", "weight_decay"])
@pytest.mark.parametrize("value", [True, float("inf"), float("nan"), "x", [0.1], None])
def test_an_optimizer_takes_finite_numbers(option: str, value: object) -> None:
    """Breaks if ``optimizer.eps=inf`` trains nothing without a word."""
    node = {"_target_": "torch.optim.Adam", option: value}
    with pytest.raises(ConfigError, match=rf"^optimizer\.{option} must be a finite number; found"):
        make(node, "optimizer", params=[torch.nn.Parameter(torch.zeros(2))])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("mtl_runner.weighting.NotThere", "mtl_runner.weighting has no 'NotThere'"),
        ("mtl_runner.weighting.Fixd", "mtl_runner.weighting has no 'Fixd'; did you mean 'Fixed'?"),
        ("mtl_runner.nowhere.Fixed", "mtl_runner has no 'nowhere'"),
        ("nowhere.Thing", "No module named 'nowhere'"),
    ],
)
def test_a_target_that_is_not_there_is_looked_for_where_it_should_be(
    path: str, reason: str
) -> None:
    """Breaks if a misspelt class is called a module."""
    with pytest.raises(ConfigError) as error:
        make({"_target_": path}, "k")
    assert str(error.value) == f"k._target_={path!r} cannot be imported ({reason})."
