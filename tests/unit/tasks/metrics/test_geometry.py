"""Metrics at every pixel against NumPy and known geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK
from tests.unit.tasks.pixels import DEPTH, NORMALS, OFFSETS, random_pixels, random_units
from tests.unit.tasks.problems import gaps, measured, seeds

pytestmark = pytest.mark.usefixtures("float64")


@QUICK
@given(seed=seeds, gap=gaps)
def test_depth_errors_are_in_the_targets_units_and_relative_to_the_target(
    seed: int, gap: float
) -> None:
    """Breaks if an error is in training units, counts unknown pixels, or divides by the output."""
    output, target = random_pixels(DEPTH, seed, gap=gap)
    values = measured(DEPTH, output, target)
    known = ~target.isnan()
    true, predicted = (
        DEPTH.offset + DEPTH.scale * values[known].numpy() for values in (target, output)
    )
    assert values["abs_err"] == pytest.approx(sk.mean_absolute_error(true, predicted), rel=1e-9)
    assert values["rel_err"] == pytest.approx(
        np.mean(np.abs(predicted - true) / np.abs(true)), rel=1e-9
    )


def test_a_depth_of_nothing_has_an_absolute_error_and_no_relative_one() -> None:
    """Breaks if the sky, of inverse depth 0, makes the relative error infinite."""
    task = Task("d", "regression_l1", size=1, metrics=("abs_err", "rel_err"))
    target = torch.tensor([0.0, 2.0, 4.0]).view(1, 1, 1, 3)
    assert measured(task, target + 1, target) == pytest.approx(
        {"abs_err": 1.0, "rel_err": (1 / 2 + 1 / 4) / 2}
    )


@QUICK
@given(seed=seeds, gap=gaps)
def test_the_instance_error_is_the_distance_of_the_two_centres_in_pixels(
    seed: int, gap: float
) -> None:
    """Breaks if it is an L1 norm, in training units, or counts unknown pixels."""
    output, target = random_pixels(OFFSETS, seed, gap=gap)
    known = ~target.isnan().any(1)
    apart = OFFSETS.scale * (output - target).permute(0, 2, 3, 1)[known].numpy()
    expected = np.mean([math.hypot(*pair) for pair in apart])
    assert measured(OFFSETS, output, target) == pytest.approx(
        {"instance_error": expected}, rel=1e-9
    )


def rotated(vectors: np.ndarray, degrees: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Unit vectors ``[M, 3]`` turned by known angles about random axes across them (Rodrigues)."""
    axis = np.cross(vectors, random.normal(size=vectors.shape))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.deg2rad(degrees)[:, None]
    return np.cos(angle) * vectors + np.sin(angle) * np.cross(axis, vectors)


@QUICK
@given(seed=seeds, gap=gaps, widest=st.sampled_from([0.5, 20.0, 60.0, 180.0]))
def test_normals_that_are_turned_by_known_angles_have_these_angles(
    seed: int, gap: float, widest: float
) -> None:
    """Breaks if an angle depends on an output's length, or the median is off by over 0.005."""
    random = np.random.default_rng(seed)
    count = 5 * 7 * 9
    degrees = random.uniform(0, widest, count)
    true = random_units(random, count, 3)
    predicted = rotated(true, degrees, random) * 10 ** random.uniform(-3, 3, (count, 1))
    known = random.random(count) >= gap
    known[np.flatnonzero(known)[: 1 - known.sum() % 2]] = False  # an odd number has one median
    true[~known] = np.nan
    images = (
        torch.tensor(vectors.reshape(5, 7, 9, 3)).permute(0, 3, 1, 2)
        for vectors in (predicted, true)
    )
    values = measured(NORMALS, *images)
    angles = degrees[known]
    assert values["angle_mean"] == pytest.approx(angles.mean(), abs=1e-9)
    assert values["angle_median"] == pytest.approx(np.median(angles), abs=0.005 + 1e-9)
    for name, limit in (("within_11", 11.25), ("within_22", 22.5), ("within_30", 30.0)):
        assert values[name] == pytest.approx((angles <= limit).mean(), abs=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 90.0, 180.0])
def test_extreme_angles_are_exact(degrees: float) -> None:
    """Breaks if an angle is the arc cosine of a rounded cosine, or 180 has no bin."""
    random = np.random.default_rng(0)
    true = random_units(random, 63, 3)
    predicted = rotated(true, np.full(63, degrees), random)
    images = (
        torch.tensor(vectors.reshape(1, 7, 9, 3)).permute(0, 3, 1, 2)
        for vectors in (predicted, true)
    )
    values = measured(NORMALS, *images)
    assert values["angle_mean"] == pytest.approx(degrees, abs=1e-7)
    assert values["angle_median"] == pytest.approx(degrees, abs=0.005 + 1e-7)


def test_a_prediction_without_a_direction_is_not_the_right_one() -> None:
    """Breaks if a model that answers 0 everywhere has perfect normals."""
    target = torch.tensor(random_units(np.random.default_rng(0), 2, 3, 4, 5))
    task = Task(
        "n",
        "direction",
        size=3,
        metrics=("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
    )
    output = torch.zeros_like(target)
    assert task.loss({"n": output}, {"n": target}).item() == pytest.approx(1.0)
    values = measured(task, output, target)
    assert values["angle_mean"] == pytest.approx(90.0)
    assert values["within_30"] == 0.0
