"""Numbers per task, and noise scales between training units and the target's."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import learning_rate, per_task, positive
from mtl_runner.tasks.noise import log_variance, log_variances, sigma_of
from mtl_runner.tasks.task import Task
from tests.support.builders import KINDS, QUICK, make_tasks, near

pytestmark = pytest.mark.usefixtures("float64")

TWO = make_tasks(a="regression", b="classification")


# A number per task


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
    found = per_task(value, TWO, 7.0, "key")
    assert found == expected
    assert all(type(number) is float for number in found)


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
        per_task(value, TWO, 0.0, "key")


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


# Noise scales


@QUICK
@given(sigma=st.floats(-6, 6).map(lambda exponent: 10.0**exponent), scale=st.floats(1e-3, 1e3))
@pytest.mark.parametrize("kind", KINDS)
def test_a_sigma_and_its_log_variance_are_inverses(kind: str, sigma: float, scale: float) -> None:
    """Breaks if a frozen sigma is reported as another one."""
    task = Task("a", kind, size=1, offset=2.0, scale=scale)
    assert sigma_of(task, log_variance(task, sigma)) == pytest.approx(sigma, rel=1e-12)


@QUICK
@given(s=st.floats(-10, 10), scale=st.floats(1e-2, 1e2))
def test_sigma_has_the_unit_of_numbers_only(s: float, scale: float) -> None:
    """Breaks if a Laplace scale is a root, or a temperature is multiplied by a target's unit."""
    expected = {
        "regression": scale * math.exp(s / 2),
        "regression_l1": scale * math.exp(s),
        "classification": math.exp(s / 2),
        "multilabel": math.exp(s / 2),
    }
    for kind, sigma in expected.items():
        task = Task("a", kind, size=1, offset=2.0, scale=scale)
        assert sigma_of(task, s) == pytest.approx(sigma, rel=1e-12)
        assert (task.has_noise_scale, task.spec.noise.form == "laplace") == (
            kind.startswith("regression"),
            kind == "regression_l1",
        )


def test_every_task_has_a_parameter_of_its_own() -> None:
    """Breaks if tasks share a tensor, on whose one Adam clock an idle task's sigma would move."""
    found = log_variances(TWO, [0.5, -0.5], {"b": 3.0}, "key")
    assert [p.dim() for p in found] == [0, 0]
    assert [p.requires_grad for p in found] == [True, False]
    near(torch.stack(list(found)), torch.tensor([0.5, 2 * math.log(3.0)]), 1e-15)
    assert all(p.dtype == torch.float64 for p in found)


@pytest.mark.parametrize(
    ("frozen", "words"),
    [
        ({"c": 1.0}, "key names the unknown task 'c'; allowed: a, b."),
        ({"a": 0}, "key.a must be a positive sigma; found 0.0."),
        ({"b": -3.0}, "key.b must be a positive sigma; found -3.0."),
        (0.0, "key.a must be a positive sigma; found 0.0."),
        (False, "key.a must be a number; found False."),
        ({"a": "one"}, "key.a must be a number; found 'one'."),
    ],
)
def test_a_wrong_frozen_sigma_is_said(frozen: Any, words: str) -> None:
    """Breaks if a sigma of 0 becomes a log-variance of minus infinity."""
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        log_variances(TWO, [0.0, 0.0], frozen, "key")


def test_an_infinite_frozen_sigma_is_refused() -> None:
    """Breaks if a run ends with a loss of infinity instead of the option being named."""
    with pytest.raises(ConfigError, match=r"key\.a must be a positive sigma"):
        log_variances(TWO, [0.0, 0.0], {"a": math.inf}, "key")
