"""Checks of option values: what they take, what they refuse, and in which words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from mtl_runner.errors import ConfigError, checks
from mtl_runner.errors.checks import learning_rate, per_task, positive
from mtl_runner.tasks.task import Task

TASKS = [Task("a", size=1), Task("b", size=1)]
WRONG: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: checks.whole_number(True, "k", 1),
        "k must be a whole number of at least 1; found True.",
    ),
    (lambda: checks.whole_number(1.0, "k"), "k must be a whole number; found 1.0."),
    (lambda: checks.whole_number(0, "k", 1), "k must be a whole number of at least 1; found 0."),
    (
        lambda: checks.whole_number(2**64, "k"),
        f"k must be a whole number below 2**63; found {2**64}.",
    ),
    (lambda: checks.mapping(3, "k", "{a: b}"), "k must be a mapping {a: b}; found 3."),
    (lambda: checks.positive(0, "k"), "k must be a positive number; found 0."),
    (lambda: checks.positive("1", "k"), "k must be a positive number; found '1'."),
    (lambda: checks.positive(math.inf, "k"), "k must be a positive number; found inf."),
    (lambda: checks.not_negative(-1, "k"), "k must be a number of at least 0; found -1."),
    (lambda: checks.not_negative(math.nan, "k"), "k must be a number of at least 0; found nan."),
    (lambda: checks.fraction(1, "k", one_allowed=False), "k must lie in [0, 1); found 1."),
    (lambda: checks.fraction(1.1, "k", one_allowed=True), "k must lie in [0, 1]; found 1.1."),
    (lambda: checks.fraction(False, "k", one_allowed=True), "k must lie in [0, 1]; found False."),
    (lambda: checks.flag(1, "k"), "k must be true or false; found 1."),
    (lambda: checks.choice("c", "k", ("a", "b")), "k='c' is unknown; allowed: a, b."),
    (
        lambda: checks.check_task_names(["c"], TASKS, "k"),
        "k names the unknown task 'c'; allowed: a, b.",
    ),
    (lambda: checks.learning_rate(0, "k"), "k must be positive or null; found 0."),
]


@pytest.mark.parametrize(("check", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_wrong_value_is_one_sentence(check: Callable[[], Any], sentence: str) -> None:
    """Breaks if a mistake is accepted, or worded without the key, the rule or the value."""
    with pytest.raises(ConfigError) as error:
        check()
    assert str(error.value) == sentence


def test_right_values_come_back_in_their_type() -> None:
    """Breaks if an option that is a number stays an ``int``, so that saved states differ."""
    assert checks.whole_number(3, "k", 3) == 3
    assert isinstance(checks.positive(2, "k"), float)
    assert isinstance(checks.not_negative(0, "k"), float)
    assert checks.fraction(0, "k", one_allowed=False) == 0.0
    assert checks.fraction(1, "k", one_allowed=True) == 1.0
    assert checks.flag(False, "k") is False
    assert checks.mapping(None, "k", "{a: b}") == {}
    assert checks.mapping({"a": 1}, "k", "{a: b}") == {"a": 1}
    assert checks.choice("a", "k", {"a": 1}) == "a"
    assert checks.learning_rate(None, "k") is None
    assert checks.per_task({"b": 2}, TASKS, 1.0, "k") == [1.0, 2.0]
    assert checks.per_task(3, TASKS, 1.0, "k") == [3.0, 3.0]


# A number per task, positive numbers and learning rates

TWO_TASKS = [Task("a"), Task("b", "classification", size=2)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, [3.0, 3.0]),
        (-0.5, [-0.5, -0.5]),
        ({}, [7.0, 7.0]),
        ({"b": 2}, [7.0, 2.0]),
        ({"b": 2, "a": 1}, [1.0, 2.0]),
    ],
)
def test_a_number_is_for_all_and_a_mapping_for_those_it_names(
    value: Any, expected: list[float]
) -> None:
    """Breaks if an option per task forgets a task or its default."""
    numbers = per_task(value, TWO_TASKS, 7.0, "key")
    assert numbers == expected
    assert all(type(number) is float for number in numbers)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "key must be a number or {task: number}; found True."),
        ("1", "key must be a number or {task: number}; found '1'."),
        (None, "key must be a number or {task: number}; found None."),
        ([1, 2], "key must be a number or {task: number}; found [1, 2]."),
        ({"c": 1}, "key names the unknown task 'c'; allowed: a, b."),
        ({"a": "x"}, "key.a must be a number; found 'x'."),
        ({"a": None}, "key.a must be a number; found None."),
        ({"b": False}, "key.b must be a number; found False."),
    ],
)
def test_what_is_no_number_per_task_is_said(value: Any, words: str) -> None:
    """Breaks if a wrong option per task is accepted, or named without its key."""
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        per_task(value, TWO_TASKS, 0.0, "key")


@pytest.mark.parametrize("value", [1, 0.5, 1e300])
def test_positive_numbers_come_back_as_floats(value: float) -> None:
    """Breaks if a whole number is refused where a positive number is asked for."""
    assert positive(value, "key") == float(value)
    assert type(positive(value, "key")) is float


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, True, "1", None])
def test_what_is_not_positive_is_said(value: Any) -> None:
    """Breaks if a factor of zero, infinity or NaN goes through."""
    with pytest.raises(
        ConfigError, match=f"^key must be a positive number; found {re.escape(repr(value))}\\.$"
    ):
        positive(value, "key")


def test_a_learning_rate_is_positive_or_the_optimizers() -> None:
    """Breaks if null is not kept apart from a number, or a rate that cannot train is accepted."""
    assert learning_rate(None, "key") is None
    assert learning_rate(1, "key") == 1.0
    assert type(learning_rate(1, "key")) is float
    for value in (0, -0.1, math.nan, True, "1", [0.1]):
        with pytest.raises(ConfigError, match=r"^key must be positive or null; found .*\.$"):
            learning_rate(value, "key")


def test_an_infinite_learning_rate_is_refused() -> None:
    """Breaks if the first step makes every sigma NaN instead of the option being named."""
    with pytest.raises(ConfigError, match="key must be positive or null"):
        learning_rate(math.inf, "key")
