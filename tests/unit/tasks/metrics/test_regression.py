"""Metrics of numbers against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK
from tests.unit.tasks.pixels import pixel_target, prepared_task
from tests.unit.tasks.problems import (
    ROWS,
    batch_sizes,
    gaps,
    measured,
    metric_names_of,
    regression_problem,
    seeds,
    values_in_batches,
)

pytestmark = pytest.mark.usefixtures("float64")


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(4, 40), size=st.integers(1, 4))
def test_regression_metrics_are_scikit_learns_in_the_targets_own_units(
    seed: int, gap: float, rows: int, size: int
) -> None:
    """Breaks if an error is in training units, counts unknown labels, or is another quantity."""
    task, output, target, trivial = regression_problem(seed, gap, rows, size)
    values = measured(task, torch.tensor(output), torch.tensor(target))
    known = ~np.isnan(target)
    y, f, base = (
        task.offset + task.scale * values
        for values in (target, output, np.broadcast_to(trivial, target.shape))
    )
    assert values["rmse"] == pytest.approx(sk.root_mean_squared_error(y[known], f[known]), rel=1e-9)
    assert values["mae"] == pytest.approx(sk.mean_absolute_error(y[known], f[known]), rel=1e-9)
    columns = [(y[known[:, j], j], f[known[:, j], j]) for j in range(size)]
    spread = [len(true) * true.var() for true, _ in columns]
    expected = np.average(
        [sk.r2_score(true, predicted) for true, predicted in columns], weights=spread
    )
    assert values["r2"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    relative = sk.root_mean_squared_error(y[known], f[known]) / sk.root_mean_squared_error(
        y[known], base[known]
    )
    assert values["rrmse"] == pytest.approx(relative, rel=1e-9)


@QUICK
@given(seed=seeds, size=st.integers(1, 4))
def test_r2_of_several_outputs_is_the_variance_weighted_one(seed: int, size: int) -> None:
    """Breaks if R2 averages over outputs in another way than the documented one."""
    task, output, target, _ = regression_problem(seed, 0.0, 20, size)
    expected = sk.r2_score(target, output, multioutput="variance_weighted")
    assert measured(task, torch.tensor(output), torch.tensor(target))["r2"] == pytest.approx(
        expected, rel=1e-9, abs=1e-9
    )


def test_r2_is_about_the_mean_of_each_output_on_the_split_that_is_measured() -> None:
    """Breaks if R2 is about the training mean, or about one mean of outputs of different sizes."""
    random = np.random.default_rng(0)
    target = random.normal(loc=(5.0, -3.0, 40.0), size=(20, 3))
    output = target + random.normal(size=(20, 3))
    task = Task("a", size=3, offset=1.0, scale=2.0, trivial=(0.0, 0.5, 30.0))
    expected = sk.r2_score(target, output, multioutput="variance_weighted")
    assert measured(task, torch.tensor(output), torch.tensor(target))["r2"] == pytest.approx(
        expected, rel=1e-9
    )


def test_the_trivial_predictor_has_an_rrmse_of_one_and_an_r2_of_zero() -> None:
    """Breaks if "as good as the mean" is not at 1 (rrmse) and 0 (r2)."""
    task, _, target, trivial = regression_problem(0, 0.3, 30, 3)
    values = measured(task, torch.tensor(trivial).expand(30, 3), torch.tensor(target))
    assert values["rrmse"] == pytest.approx(1.0)
    assert values["r2"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("miss", [0.0, 1.0])
def test_r2_of_a_constant_target_is_not_finite(miss: float) -> None:
    """Breaks if a target without variance gets a number that means nothing."""
    target = torch.full((5, 1), 2.0)
    values = measured(Task("a", size=1, trivial=(0.0,)), target + miss, target)["r2"]
    with np.errstate(all="ignore"):
        expected = sk.r2_score(target, target + miss, force_finite=False)
    assert values == pytest.approx(expected, nan_ok=True)


def test_an_image_is_measured_as_the_vector_of_its_pixels() -> None:
    """Breaks if a target with height and width is measured differently from a flat one."""
    task, output, target, _ = regression_problem(3, 0.3, 6, 60)
    flat = torch.tensor(output), torch.tensor(target)
    images = tuple(tensor.view(6, 3, 4, 5) for tensor in flat)
    assert measured(task, *images) == pytest.approx(measured(task, *flat))


def test_a_large_offset_does_not_cost_precision_in_single_precision() -> None:
    """Breaks if metrics are computed after the offset is added and lose their digits."""
    random = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 50, 1, generator=random, dtype=torch.float32)
    task = Task("a", size=1, offset=1e9, scale=3.0, trivial=(0.0,))
    exact = 3 * sk.root_mean_squared_error(target.double(), output.double())
    assert measured(task, output, target)["rmse"] == pytest.approx(exact, rel=1e-6)


@QUICK
@given(
    seed=seeds,
    batch=batch_sizes,
    size=st.integers(1, 3),
    gap=st.sampled_from([0.0, 0.3]),
    far=st.sampled_from([0.0, 1e6]),
)
def test_metrics_of_numbers_are_scikit_learns(
    seed: int, batch: int, size: int, gap: float, far: float
) -> None:
    """Breaks if sums of squares cancel for targets far from 0, or units are those of training."""
    random = np.random.default_rng(seed)
    y = random.normal(size=(ROWS, size)) * 3.0 + far
    offset, scale = float(y.mean()), float(y.std())
    target = (y - offset) / scale
    unknown = random.random((ROWS, size)) < gap
    unknown[:3] = False
    output = target + random.normal(size=target.shape)
    task = Task(
        "t",
        "regression",
        size=size,
        offset=offset,
        scale=scale,
        missing=gap > 0,
        trivial=tuple(target.mean(0)),
        metrics=metric_names_of("regression", "median_absolute_error"),
    )
    values = values_in_batches(
        task, torch.tensor(output), torch.tensor(np.where(unknown, np.nan, target)), batch
    )
    known, predicted = ~unknown, offset + scale * output
    near = pytest.approx
    # Of a target of a million with a spread of 3, ten digits are left.
    tolerance = 1e-9 if far else 1e-12
    assert values["rmse"] == near(
        sk.root_mean_squared_error(y[known], predicted[known]), rel=tolerance
    )
    assert values["mae"] == near(sk.mean_absolute_error(y[known], predicted[known]), rel=tolerance)
    medians = [
        sk.median_absolute_error(y[k, j], predicted[k, j])
        for j in range(size)
        for k in [known[:, j]]
    ]
    assert values["median_absolute_error"] == near(np.mean(medians), rel=tolerance)
    if not gap:
        assert values["r2"] == near(
            sk.r2_score(y, predicted, multioutput="variance_weighted"),
            rel=tolerance,
            abs=1e-9 if far else 1e-12,
        )


def test_an_output_that_is_never_labelled_does_not_hide_the_others() -> None:
    """Breaks if one pixel that no image labels leaves the whole metric undefined."""
    target = torch.arange(20.0).view(10, 2)
    target[:, 1] = torch.nan
    task = Task("t", "regression", size=2, missing=True, metrics=("median_absolute_error",))
    assert values_in_batches(task, torch.zeros(10, 2), target, 3)["median_absolute_error"] == 9.0


def test_an_image_task_without_measures_keeps_the_metrics_of_its_kind() -> None:
    """Breaks if the relative error of an image is not 1 for the trivial predictor, per channel."""
    target = pixel_target("regression")
    task = prepared_task(Task("t", "regression", offset=2.0, scale=7.0), target)
    values = measured(task, task.trivial_output(target), target)
    assert values["rrmse"] == pytest.approx(1.0)
    assert values["mae"] == pytest.approx(
        7 * (task.trivial_output(target) - target).abs().nanmean().item()
    )
    assert task.metric_names == ["rmse", "mae", "r2", "rrmse"]


def test_the_relative_l2_error_is_a_ratio_of_norms_in_target_units() -> None:
    """Breaks if offset or scale of the target is forgotten, or a missing label counts."""
    task = Task("u", size=1, offset=2.0, scale=5.0, missing=True, metrics=("relative_l2",))
    target = torch.tensor([[1.0], [-3.0], [torch.nan], [0.5]])
    output = torch.tensor([[1.5], [-2.0], [9.0], [0.0]])
    errors = 5.0 * torch.tensor([0.5, 1.0, -0.5])
    truth = 2.0 + 5.0 * torch.tensor([1.0, -3.0, 0.5])
    expected = (errors.norm() / truth.norm()).item()
    assert task.measure(output, target)["relative_l2"].item() == pytest.approx(expected)
    metric = task.all_metrics[0]
    parts = [metric.batch_function(output[i : i + 2], target[i : i + 2], task) for i in (0, 2)]
    assert metric.compute(parts[0] + parts[1], task).item() == pytest.approx(expected)
