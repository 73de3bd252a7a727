"""Noise scales: between training units and the target's, learned and frozen."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.noise import initial_log_scales, log_variance, log_variances, sigma_of
from mtl_runner.tasks.task import Task
from tests.support.builders import KINDS, QUICK, assert_near, make_tasks

pytestmark = pytest.mark.usefixtures("float64")

TWO_TASKS = make_tasks(a="regression", b="classification")


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
    parameters = log_variances(TWO_TASKS, [0.5, -0.5], {"b": 3.0}, "key")
    assert [p.dim() for p in parameters] == [0, 0]
    assert [p.requires_grad for p in parameters] == [True, False]
    assert_near(torch.stack(list(parameters)), torch.tensor([0.5, 2 * math.log(3.0)]), 1e-15)
    assert all(p.dtype == torch.float64 for p in parameters)


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
        log_variances(TWO_TASKS, [0.0, 0.0], frozen, "key")


def test_an_infinite_frozen_sigma_is_refused() -> None:
    """Breaks if a run ends with a loss of infinity instead of the option being named."""
    with pytest.raises(ConfigError, match=r"key\.a must be a positive sigma"):
        log_variances(TWO_TASKS, [0.0, 0.0], {"a": math.inf}, "key")


@pytest.mark.parametrize("init", [1000, -1000.0, {"a": 88}, float("nan")])
def test_a_log_scale_beyond_single_precision_is_refused(init: Any) -> None:
    """Breaks if a run trains nothing, since e^-1000 is a weight of 0, and says so only later."""
    with pytest.raises(ConfigError) as error:
        initial_log_scales(init, TWO_TASKS, "weighting.init")
    value = init["a"] if isinstance(init, dict) else init
    assert str(error.value) == (
        f"weighting.init must lie between -87 and 87, where e^init is a positive number; found {value:g}."
    )
    assert initial_log_scales({"a": -87}, TWO_TASKS, "weighting.init") == [-87.0, 0.0]


@pytest.mark.parametrize("sigma", [1e20, 1e-20])
def test_a_sigma_of_which_single_precision_has_no_square_is_refused(sigma: float) -> None:
    """Breaks if a task with a fixed sigma gets the weight 0, or an infinite one."""
    with pytest.raises(ConfigError) as error:
        log_variances(TWO_TASKS, [0.0, 0.0], {"a": sigma}, "weighting.frozen")
    assert str(error.value) == (
        f"weighting.frozen.a={sigma:g} is too far from the size of the task's targets: 1 / sigma² is 0 or infinite in single precision."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_sigma_of_a_diverged_log_variance_is_infinite(kind: str) -> None:
    """Breaks if a far too large learning rate ends a run in an OverflowError of Python."""
    assert sigma_of(Task("a", kind, size=1), 1e20) == math.inf
