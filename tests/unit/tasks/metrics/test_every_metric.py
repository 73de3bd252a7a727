"""Facts about all metrics: their best value, missing labels, precision and direction."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from mtl_runner.tasks.kinds import KINDS, MISSING_CLASS
from mtl_runner.tasks.meter import TaskMeter
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near
from tests.unit.tasks.pixels import (
    CLASSES,
    HIGHER_IS_BETTER,
    PIXEL_TASKS,
    SEGMENTATION,
    random_pixels,
)
from tests.unit.tasks.problems import (
    classification_problem,
    measured,
    multilabel_problem,
    regression_problem,
)

pytestmark = pytest.mark.usefixtures("float64")

# Metrics of answers at every pixel.
DENSE = (
    "miou",
    "pixel",
    "abs_err",
    "rel_err",
    "instance",
    "angle",
    "within",
)  # of answers at every pixel
MEASURED_KINDS = [kind for kind in KINDS if kind != "term"]


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_the_perfect_prediction_is_perfect_in_every_metric(kind: str) -> None:
    """Breaks if a metric's best value is not where its direction says."""
    target = {
        "classification": torch.tensor([0, 1, 2, 1]),
        "multilabel": torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
    }.get(kind, torch.tensor([[1.0], [2.0], [4.0]]))
    output = {
        "classification": 100 * torch.eye(3)[target.clamp(max=2).long().flatten()[:4]],
        "multilabel": 100 * (target - 0.5),
    }.get(kind, target)
    size = 3 if kind == "classification" else target.shape[1]
    kind_ = KINDS[kind]
    metrics = (
        *kind_.metrics,
        *(m for m in kind_.more_metrics if target.dim() > 2 or not m.name.startswith(DENSE)),
    )
    task = Task("a", kind, size=size, trivial=(0.0,) * size, metrics=metrics)
    for name, value in measured(task, output, target).items():
        assert value == pytest.approx(1.0 if task.directions[name] else 0.0, abs=1e-12), name


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_unlabelled_rows_change_no_metric(kind: str) -> None:
    """Breaks if a split with gaps is measured differently from its labelled part."""
    if kind == "classification":
        output, target = classification_problem(1, 0.0, 20, 3, 3)
    elif kind == "multilabel":
        output, target = multilabel_problem(1, 0.0, 20, 3)
    else:
        _, outputs, targets, _ = regression_problem(1, 0.0, 20, 3)
        output, target = torch.tensor(outputs), torch.tensor(targets)
    task = Task("a", kind, size=3, scale=2.0, trivial=(0.1, 0.2, 0.3))
    nothing = torch.full_like(target, torch.nan if target.is_floating_point() else MISSING_CLASS)
    padded = torch.cat([output, 50 * torch.ones_like(output)]), torch.cat([target, nothing])
    assert measured(task, *padded) == pytest.approx(measured(task, output, target))


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_without_any_label_every_metric_is_undefined(kind: str) -> None:
    """Breaks if a split without labels gets a score (0 or 1) that looks real."""
    target = (
        torch.full((4,), MISSING_CLASS)
        if kind == "classification"
        else torch.full((4, 3), torch.nan)
    )
    values = measured(Task("a", kind, size=3, trivial=(0.0,) * 3), torch.zeros(4, 3), target)
    assert {name for name, value in values.items() if not math.isnan(value)} == set()


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_single_precision_agrees_with_double(kind: str) -> None:
    """Breaks if a metric accumulates in the precision of the outputs."""
    if kind == "classification":
        output, target = classification_problem(2, 0.2, 500, 3, 3)
    elif kind == "multilabel":
        output, target = multilabel_problem(2, 0.2, 500, 3)
    else:
        _, outputs, targets, _ = regression_problem(2, 0.2, 500, 3)
        output, target = torch.tensor(outputs), torch.tensor(targets)
    task = Task("a", kind, size=3, scale=2.0, trivial=(0.1, 0.2, 0.3))
    single = measured(
        task, output.float(), target.float() if target.is_floating_point() else target
    )
    assert single == pytest.approx(measured(task, output, target), rel=1e-5)


@pytest.mark.parametrize("task", PIXEL_TASKS, ids=lambda task: task.main_metric)
def test_the_best_value_of_every_column_is_where_its_direction_says(task: Task) -> None:
    """Breaks if a best run is chosen by the wrong end of a new column."""
    noise, target = random_pixels(task, 1, gap=0.0)
    perfect = (
        nn.functional.one_hot(target, CLASSES).movedim(-1, 1).double()
        if task is SEGMENTATION
        else target
    )
    best, worse = measured(task, perfect, target), measured(task, noise, target)
    assert list(best) == [metric.name for metric in task.all_metrics] == task.metric_names
    for name, value in best.items():
        assert task.directions[name] == (name in HIGHER_IS_BETTER), name
        assert value == pytest.approx(1.0 if name in HIGHER_IS_BETTER else 0.0, abs=0.005 + 1e-9), (
            name
        )
        assert (worse[name] < value) if name in HIGHER_IS_BETTER else (worse[name] > value), name


@pytest.mark.parametrize("task", PIXEL_TASKS, ids=lambda task: task.main_metric)
def test_without_any_label_every_metric_of_an_image_is_undefined(task: Task) -> None:
    """Breaks if a split without labels gets a score that looks real, or an error."""
    output, target = random_pixels(task, 1)
    nothing = torch.full_like(target, MISSING_CLASS if task is SEGMENTATION else torch.nan)
    values = measured(task, output, nothing)
    assert {name for name, value in values.items() if not math.isnan(value)} == set()


@pytest.mark.parametrize("task", PIXEL_TASKS, ids=lambda task: task.main_metric)
def test_outputs_where_no_label_is_known_change_nothing(task: Task) -> None:
    """Breaks if a number at an unknown pixel leaks into a metric or the loss."""
    output, target = random_pixels(task, 2)
    unknown = (
        (target < 0).unsqueeze(1) if task is SEGMENTATION else target.isnan().any(1, keepdim=True)
    )
    changed = torch.where(unknown, 1e6 * torch.ones_like(output), output)
    assert measured(task, changed, target) == measured(task, output, target)
    assert_near(
        task.loss({task.name: changed}, {task.name: target}),
        task.loss({task.name: output}, {task.name: target}),
        1e-12,
    )


def test_sums_of_single_precision_are_taken_in_double() -> None:
    """Breaks if millions of pixels are added up in float32: 2**24 + 1 would stay 2**24."""
    for task in PIXEL_TASKS:
        output, target = random_pixels(task, 0)
        single = target.float() if target.is_floating_point() else target
        assert all(
            sums.dtype == torch.float64
            for sums in TaskMeter(task).measure_batch(output.float(), single)[0].values()
        )
        values = measured(task, output.float(), single)
        assert values == pytest.approx(measured(task, output, target), rel=1e-5, abs=0.0101)


def test_every_metric_of_ours_knows_its_direction() -> None:
    """Breaks if an error counts as better when it grows, or a metric cannot be a monitor."""
    lower = {
        *(
            "rmse",
            "rmsle",
            "mae",
            "rrmse",
            "relative_l2",
            "median_absolute_error",
            "abs_err",
            "rel_err",
            "instance_error",
        ),
        *("ece", "log_loss", "one_error", "angle_mean", "angle_median"),
    }
    for kind in KINDS.values():
        for metric in itertools.chain(kind.metrics, kind.more_metrics):
            assert metric.higher_is_better is (metric.name not in lower), metric.name
