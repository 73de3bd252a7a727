"""The parts of a metric, and how it is computed from them."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.metrics import Metric
from mtl_runner.tasks.metrics.base import pair, ratio, with_groups


def test_a_metric_says_what_it_needs() -> None:
    """Breaks if a metric of both forms, or of none, fails deep in an evaluation."""
    with pytest.raises(ConfigError, match=r"^The metric 'm' needs `finish` and either `sums`"):
        Metric("m", True)
    with pytest.raises(ConfigError, match=r"^The metric 'm' needs `finish` and either `sums`"):
        Metric(
            "m",
            True,
            sums=lambda o, t, task: o,
            collects=lambda o, t, task: o,
            finish=lambda s, task: s,
        )


def test_a_metric_of_one_batch_is_its_sums_and_its_finish() -> None:
    """Breaks if the finish of a metric sees something else than the sums of its own batch."""
    metric = Metric(
        "m", True, lambda output, target, task: output.sum(0), lambda sums, task: sums[1]
    )
    assert metric.batch_function is metric.sums
    output = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert metric.compute_batch(output, output, None) == 6.0
    assert metric.compute(torch.tensor([0.0, 7.0]), None) == 7.0


def test_a_metric_that_collects_rows_is_computed_from_rows() -> None:
    """Breaks if rows are taken for sums."""
    metric = Metric(
        "m", None, collects=lambda o, t, task: o - t, finish=lambda rows, task: rows.amax()
    )
    assert metric.batch_function is metric.collects
    assert metric.compute_batch(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 2.0]), None) == 3.0


def test_a_mean_of_nothing_is_undefined() -> None:
    """Breaks if a split without labels gets a 0 that looks real, or an error."""
    nothing = pair(torch.tensor(0.0), torch.tensor(0))
    assert nothing.dtype == torch.float64
    assert ratio(nothing, None).isnan()


def test_rows_of_a_grouped_metric_end_in_their_group() -> None:
    """Breaks metrics within groups, also where a sample has several rows, as images have."""
    rows = with_groups(torch.zeros(4, 1), torch.tensor([7, -1]), 2)
    assert rows.tolist() == [[0, 7], [0, 7], [0, -1], [0, -1]]
    metric = Metric(
        "m", None, collects=lambda o, t, task: o, finish=lambda r, task: r[0, -1], grouped=True
    )
    assert metric.compute_batch(torch.ones(3, 2), torch.ones(3), None) == 0, "all in one group"


def test_sums_know_no_group() -> None:
    """Breaks the sentence for a grouped metric that adds up."""
    with pytest.raises(
        ConfigError, match=r"^The metric 'm' is grouped and needs `collects` \(rows\); sums over"
    ):
        Metric("m", None, lambda o, t, task: o, lambda s, task: s, grouped=True)
