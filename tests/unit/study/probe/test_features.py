"""The features of a problem: what they are, and that units do not matter."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study.probe.features import (
    FEATURES,
    LARGEST_CONDITION,
    best_monitor,
    features,
    gain,
)
from mtl_runner.study.probe.measurement import ShortRuns
from tests.unit.study.probe.measurements import measurement

# What changes where one loss is multiplied by a number.
OF_UNITS = {"loss_scales", "gradient_scales"}

positive = st.floats(1e-3, 1e3)


@st.composite
def measurements(draw: Any) -> ShortRuns:
    """Return any measurement of two to five tasks."""
    count = draw(st.integers(2, 5))
    numbers = st.tuples(*[positive] * count)
    rows = [draw(st.tuples(*[st.floats(-1, 1)] * 3)) for _ in range(count)]
    vectors = np.array(rows) + 1e-3
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosines = tuple(map(tuple, np.clip(unit @ unit.T, -1, 1)))
    pairs = st.tuples(positive, positive)
    names = ("equal", "single_task", "uncertainty", "famo", "fixed a=1", "fixed 1/trivial a=2")
    return measurement(
        tasks=tuple(f"t{i}" for i in range(count)),
        rows=draw(st.integers(1, 10**6)),
        parameters=draw(st.integers(1, 10**8)),
        scales=draw(numbers),
        norms=(draw(numbers), draw(numbers)),
        cosines=(cosines, cosines),
        relative_losses=draw(numbers),
        monitors={name: draw(st.tuples(pairs, pairs)) for name in names},
    )


@given(measurements(), st.floats(1e-3, 1e3))
def test_a_loss_in_another_unit_changes_the_features_of_units_alone(
    before: ShortRuns, factor: float
) -> None:
    """Breaks if a probe says something else of metres than of millimetres in the same runs."""

    def times(values: tuple[float, ...]) -> tuple[float, ...]:
        return (values[0] * factor, *values[1:])

    norms = (times(before.norms[0]), times(before.norms[1]))
    after = dataclasses.replace(before, scales=times(before.scales), norms=norms)
    one, other = features(before), features(after)
    for name in set(FEATURES) - OF_UNITS:
        assert one[name] == pytest.approx(other[name], abs=1e-6), name


@given(measurements(), st.randoms(use_true_random=False))
def test_the_order_of_the_tasks_does_not_matter(before: ShortRuns, random: Any) -> None:
    """Breaks if the first task of a data set counts more than the others."""
    order = list(range(len(before.tasks)))
    random.shuffle(order)

    def sort(values: Any) -> Any:
        return tuple(values[i] for i in order)

    after = dataclasses.replace(
        before,
        tasks=sort(before.tasks),
        scales=sort(before.scales),
        norms=tuple(map(sort, before.norms)),
        cosines=tuple(sort(tuple(sort(row) for row in matrix)) for matrix in before.cosines),
        relative_losses=sort(before.relative_losses),
    )
    one, other = features(before), features(after)
    # The condition number of a matrix that is all but singular is rounding.
    one["condition"], other["condition"] = (min(f["condition"], 3.0) for f in (one, other))
    assert one == pytest.approx(other, abs=1e-4)


@given(measurements())
def test_all_features_are_finite(any_measurement: ShortRuns) -> None:
    """Breaks if some problem makes a NaN, from which no probability follows."""
    numbers = features(any_measurement)
    assert list(numbers) == list(FEATURES)
    assert all(map(math.isfinite, numbers.values()))


def test_the_features_of_a_known_measurement() -> None:
    """Breaks if a feature means something else than its words say."""
    found = features(measurement())
    assert found == pytest.approx(
        {
            "loss_scales": 2.0,
            "gradient_scales": math.log10(50),
            "relative_gradients": math.log10(2),
            "cosine": 0.5,
            "cosine_later": -0.2,
            "least_cosine": -0.2,
            "condition": math.log10(1.2 / 0.8),
            "tasks": math.log10(2),
            "rows": 3.0,
            "capacity": 1.0,
            "explained": math.log10(0.4),
            "unevenness": 0.5,
            # Two seeds, .3 and .5: their spread is .2 / sqrt(2), their mean .4.
            "noise": math.log10(0.5 / math.sqrt(2)),
            "gain": math.log(0.4 / 0.2),
            "gain_scaled": math.log(0.4 / 0.2),
            "gain_adaptive": math.log(0.4 / 0.3),
            "gain_alone": 0.0,
        }
    )


def test_parallel_gradients_have_the_largest_condition() -> None:
    """Breaks if two equal tasks make an infinite feature."""
    ones = ((1.0, 1.0), (1.0, 1.0))
    assert features(measurement(cosines=(ones, ones)))["condition"] == LARGEST_CONDITION


def test_a_strategy_that_failed_is_the_worst() -> None:
    """Breaks if a divergence counts as no difference, or one failed seed of two as the mean."""
    m = measurement(monitors={"equal": ((0.4, 0.4),), "famo": ((math.inf, 0.1),)})
    assert best_monitor(m, "famo") == math.inf
    assert gain(m, "famo") == -1.0
    assert gain(m, "uncertainty") == 0.0


def test_a_metric_of_which_more_is_better_has_gains_too() -> None:
    """Breaks if a monitor such as an accuracy, whose sign is turned round, makes a NaN."""
    m = measurement(monitors={"equal": ((-0.8, -0.8),), "famo": ((-1.0, -1.0),)})
    assert gain(m, "famo") == pytest.approx(0.2)
    assert features(m)["explained"] == 0.0
