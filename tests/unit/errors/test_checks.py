"""Checks of option values: what they take, what they refuse, and in which words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mtl_runner.errors import ConfigError, checks
from mtl_runner.tasks.task import Task

TASKS = [Task("a", size=1), Task("b", size=1)]
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: checks.whole(True, "k", 1), "k must be a whole number of at least 1; found True."),
    (lambda: checks.whole(1.0, "k"), "k must be a whole number; found 1.0."),
    (lambda: checks.whole(0, "k", 1), "k must be a whole number of at least 1; found 0."),
    (lambda: checks.positive(0, "k"), "k must be a positive number; found 0."),
    (lambda: checks.positive("1", "k"), "k must be a positive number; found '1'."),
    (lambda: checks.positive(math.inf, "k"), "k must be a positive number; found inf."),
    (lambda: checks.not_negative(-1, "k"), "k must be a number of at least 0; found -1."),
    (lambda: checks.not_negative(math.nan, "k"), "k must be a number of at least 0; found nan."),
    (lambda: checks.fraction(1, "k", one=False), "k must lie in [0, 1); found 1."),
    (lambda: checks.fraction(1.1, "k", one=True), "k must lie in [0, 1]; found 1.1."),
    (lambda: checks.fraction(False, "k", one=True), "k must lie in [0, 1]; found False."),
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
    """Breaks if a whole number where a number is wanted stays one, and a state cannot be compared."""
    assert checks.whole(3, "k", 3) == 3
    assert isinstance(checks.positive(2, "k"), float)
    assert isinstance(checks.not_negative(0, "k"), float)
    assert checks.fraction(0, "k", one=False) == 0.0
    assert checks.fraction(1, "k", one=True) == 1.0
    assert checks.flag(False, "k") is False
    assert checks.choice("a", "k", {"a": 1}) == "a"
    assert checks.learning_rate(None, "k") is None
    assert checks.per_task({"b": 2}, TASKS, 1.0, "k") == [1.0, 2.0]
    assert checks.per_task(3, TASKS, 1.0, "k") == [3.0, 3.0]
