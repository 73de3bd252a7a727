"""The metrics of the tasks with an answer per pixel exist for their kinds."""

from __future__ import annotations

import pytest

from mtl_runner.data.pixel_metrics import DEPTH_METRICS, NORMAL_METRICS, SEGMENTATION_METRICS
from mtl_runner.tasks.task import Task


@pytest.mark.parametrize(
    ("kind", "metrics", "higher_is_better"),
    [
        ("classification", SEGMENTATION_METRICS, True),
        ("regression_l1", DEPTH_METRICS, False),
        ("direction", NORMAL_METRICS, False),
    ],
)
def test_the_main_metric_has_the_papers_direction(
    kind: str, metrics: tuple[str, ...], higher_is_better: bool
) -> None:
    """Breaks delta-m of the dense problems: a renamed metric, or one that ranks the wrong way."""
    task = Task("answer", kind, size=3, metrics=metrics)
    assert task.metric_names == list(metrics)
    assert task.main_metric == metrics[0]
    assert task.directions[metrics[0]] is higher_is_better
