"""When a logarithmic axis helps, and how colours are counted."""

from __future__ import annotations

import math

import pytest

from mtl_runner.results.pictures.charts import LOG_RATIO, log_axis_helps


@pytest.mark.parametrize(
    ("values", "helps"),
    [
        ([1.0, LOG_RATIO], False),
        ([1.0, LOG_RATIO + 0.1], True),
        ([1e-6, 1.0, 1e6], True),
        ([0.0, 100.0], False),
        ([-1.0, 100.0], False),
        ([3.0], False),
        ([], False),
    ],
)
def test_a_log_axis_helps_positive_values_of_several_sizes(
    values: list[float], helps: bool
) -> None:
    """Breaks if a loss of 0 or below is drawn on a log axis, or a collapse looks like a step."""
    assert log_axis_helps(values) == helps


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_does_not_decide(unknown: float) -> None:
    """Breaks if one diverged epoch changes the axis, or NaN alone raises."""
    assert log_axis_helps([1.0, unknown, 100.0])
    assert not log_axis_helps([1.0, unknown, 2.0])
    assert not log_axis_helps([unknown])
