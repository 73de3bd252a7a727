"""Measuring a task over batches."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.tasks.meter import TaskMeter, metrics_can_be_vmapped
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric
from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK, assert_near
from tests.unit.tasks.pixels import PIXEL_TASKS, random_pixels
from tests.unit.tasks.problems import gaps, seeds

pytestmark = pytest.mark.usefixtures("float64")


@QUICK
@given(
    seed=seeds,
    gap=gaps,
    task=st.sampled_from(PIXEL_TASKS),
    cuts=st.sets(st.integers(1, 6)),
    blank=st.integers(0, 3),
)
def test_sums_of_parts_are_those_of_the_whole(
    seed: int, gap: float, task: Task, cuts: set[int], blank: int
) -> None:
    """Breaks if a split in parts, some without any label, is measured as another one."""
    output, target = random_pixels(task, seed, rows=7, gap=gap, blank=blank)
    meter = TaskMeter(task)
    edges = [0, *sorted(cuts), 7]
    parts = [
        meter.measure_batch(output[low:high], target[low:high])[0]
        for low, high in itertools.pairwise(edges)
    ]
    added = {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}
    expected, rows = meter.measure_batch(output, target)
    assert rows == {}
    assert all(sums.dtype == torch.float64 for sums in expected.values())
    assert_near(added, expected, 1e-9)
    assert_near(meter.compute(added, {}, {}), task.measure(output, target), 1e-9)


def test_metrics_with_the_same_sums_measure_a_batch_once() -> None:
    """Breaks if the histogram of angles is made once per metric of a normal."""
    normals = Task("n", "direction", size=3, metrics=("angle_mean", "angle_median", "within_11"))
    meter = TaskMeter(normals)
    assert meter.keys == {
        "angle_mean": "angle_mean",
        "angle_median": "angle_mean",
        "within_11": "angle_mean",
    }
    assert list(meter.sums) == ["angle_mean"]
    assert list(TaskMeter(Task("a", metrics=("rmse", "median_absolute_error"))).rows) == [
        "median_absolute_error"
    ]


def test_only_a_torchmetric_keeps_replicas_from_being_measured_together() -> None:
    """Breaks if a stack calls a torchmetric under vmap, or is needlessly measured one by one."""
    adapted = Task("a", metrics=("rmse", TorchMetric(torch.nn.Identity(), "identity")))
    term = Task("t", "term", loss_term=lambda outputs, targets: outputs["b"].sum())
    assert metrics_can_be_vmapped([Task("b"), term])
    assert not metrics_can_be_vmapped([Task("b"), adapted])
