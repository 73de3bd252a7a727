"""Delta-m and ranks, compared with published numbers and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtl_runner.results.records.task_metrics import TaskMetrics
from mtl_runner.results.statistics.ranks import (
    delta_m,
    delta_to_single_task,
    deltas_of_replicates,
    mean_ranks,
)
from tests.support.builders import QUICK
from tests.unit.results.evidence_builders import data_of, strategy

positive = st.floats(0.01, 1e4)
HIGHER = ("accuracy", "f1", "miou", "r2")
LOWER = ("rmse", "mae", "rrmse")
METRICS = TaskMetrics("rmse", dict.fromkeys(LOWER, False) | dict.fromkeys(HIGHER, True))
TASKS = dict.fromkeys(("a", "b", "semantic", "instance", "depth"), METRICS)
SINGLE = {"semantic": {"miou": 59.4}, "instance": {"mae": 4.61}, "depth": {"mae": 0.640}}


# Delta-m


@pytest.mark.parametrize(
    ("iou", "instance", "depth", "published"),
    [(50.1, 3.79, 0.592, -3.21), (62.8, 3.61, 0.549, -13.88), (63.4, 3.50, 0.522, -16.42)],
    ids=["uniform", "approx. optimal", "uncertainty"],
)
def test_delta_m_of_the_cvpr_2018_table(
    iou: float, instance: float, depth: float, published: float
) -> None:
    """Breaks if delta-m has the wrong sign, reference or average."""
    model = {"semantic": {"miou": iou}, "instance": {"mae": instance}, "depth": {"mae": depth}}
    over_metrics, over_tasks = delta_m(model, SINGLE, TASKS)
    assert over_metrics == pytest.approx(published, abs=0.005)
    assert over_tasks == pytest.approx(published, abs=0.005)


@QUICK
@given(values=st.lists(positive, min_size=4, max_size=4))
def test_the_baseline_is_zero_against_itself(values: list[float]) -> None:
    """Breaks if a strategy that equals the single-task runs seems better or worse than they are."""
    rows = {
        "a": {"rmse": values[0], "mae": values[1]},
        "b": {"accuracy": values[2], "f1": values[3]},
    }
    assert delta_m(rows, rows, TASKS) == (0.0, 0.0)


@QUICK
@given(
    model=st.lists(positive, min_size=3, max_size=3),
    baseline=st.lists(positive, min_size=3, max_size=3),
    unit=positive,
)
def test_the_unit_of_a_metric_does_not_matter(
    model: list[float], baseline: list[float], unit: float
) -> None:
    """Breaks if delta-m depends on metres or millimetres."""

    def rows(values: list[float], factor: float) -> dict[str, dict[str, float]]:
        return {"a": {"rmse": factor * values[0]}, "b": {"accuracy": values[1], "f1": values[2]}}

    change = delta_m(rows(model, unit), rows(baseline, unit), TASKS)
    assert change == pytest.approx(
        delta_m(rows(model, 1.0), rows(baseline, 1.0), TASKS), rel=1e-6, abs=1e-6
    )


def test_metrics_count_once_each_or_once_per_task() -> None:
    """Breaks if the two averages of delta-m (over metrics, over tasks) are mixed up."""
    baseline = {"a": {"rmse": 1.0, "mae": 1.0, "rrmse": 1.0}, "b": {"accuracy": 0.5}}
    model = {"a": {"rmse": 0.9, "mae": 0.9, "rrmse": 0.9}, "b": {"accuracy": 0.4}}
    over_metrics, over_tasks = delta_m(model, baseline, TASKS)
    assert over_metrics == pytest.approx((-10 * 3 + 20) / 4)
    assert over_tasks == pytest.approx((-10 + 20) / 2)


def test_a_negative_reference_keeps_the_direction() -> None:
    """Breaks if improving on a negative baseline (an R2 below 0) counts as getting worse."""
    over_metrics, _ = delta_m({"a": {"r2": 0.5}}, {"a": {"r2": -1.0}}, TASKS)
    assert over_metrics == pytest.approx(-150)


def test_a_reference_of_zero_has_no_relative_change() -> None:
    """Breaks if a division by zero stops the comparison."""
    assert math.isnan(delta_m({"a": {"rmse": 1.0}}, {"a": {"rmse": 0.0}}, TASKS)[0])


def test_nothing_to_compare_is_nan() -> None:
    """Breaks if a comparison of loss terms alone crashes."""
    assert all(math.isnan(value) for value in delta_m({}, {}, {}))
    assert all(math.isnan(value) for value in delta_m({"a": {}}, {"a": {}}, TASKS))


def test_a_metric_that_one_side_never_recorded_is_left_out() -> None:
    """Breaks if a metric of newer runs stops the comparison with an older baseline."""
    single = strategy("single", "single_task", values={"seed=0": {"a": {"rmse": 2.0}}})
    s = strategy("s", "strategy", values={"seed=0": {"a": {"rmse": 1.0, "mae": 1.0}}})
    data = data_of(single, s, tasks={"a": "regression"})
    assert delta_to_single_task(data, s) == (-50.0, -50.0)
    assert all(map(math.isnan, delta_to_single_task(data_of(s, tasks={"a": "regression"}), s)))


# Ranks


def test_a_strategy_without_every_task_has_no_delta_m() -> None:
    """Breaks if single-task runs of one task each are ranked by delta-m of that task alone."""
    single = strategy("single", "single_task")
    values = {"seed=0": {"a": {"rmse": 0.5, "loss": 1.0}}}
    alone = strategy("single a", "single_task", values=values)
    data = data_of(single, alone)
    assert not math.isnan(delta_to_single_task(data, single)[0])
    assert math.isnan(delta_to_single_task(data, alone)[0])


def test_ranks_of_two_metrics_of_opposite_direction() -> None:
    """Breaks if rank 1 is not the best."""
    assert mean_ranks([(False, [1.0, 2.0, 3.0]), (True, [0.9, 0.8, 0.7])]) == [1.0, 2.0, 3.0]
    assert mean_ranks([(False, [1.0, 2.0, 3.0]), (True, [0.7, 0.8, 0.9])]) == [2.0, 2.0, 2.0]


def test_ties_share_their_ranks() -> None:
    """Breaks if the order of the rows decides between equal strategies."""
    assert mean_ranks([(False, [1.0, 1.0, 3.0, 3.0, 3.0])]) == [1.5, 1.5, 4.0, 4.0, 4.0]


@QUICK
@given(
    columns=st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=4)
)
def test_ranks_are_scipys(columns: list[list[int]]) -> None:
    """Breaks if ties or directions are ranked differently from the usual average ranks."""
    means = mean_ranks(
        [(bool(i % 2), list(map(float, column))) for i, column in enumerate(columns)]
    )
    ranks = [
        stats.rankdata(-np.array(column) if i % 2 else column) for i, column in enumerate(columns)
    ]
    assert means == pytest.approx(np.mean(ranks, axis=0).tolist(), rel=0, abs=1e-12)


def test_a_strategy_without_a_value_is_ranked_where_it_has_one() -> None:
    """Breaks if a failed run gets the best rank, or spoils the ranks of the others."""
    ranks = mean_ranks([(False, [1.0, math.nan, 2.0]), (False, [3.0, 1.0, 2.0])])
    assert ranks == [2.0, 1.0, 2.0]
    assert math.isnan(mean_ranks([(False, [1.0, math.nan])])[1])


def test_no_column_gives_no_ranks() -> None:
    """Breaks if a comparison without a common metric crashes."""
    assert mean_ranks([]) == []


def test_the_spread_of_delta_m_is_that_of_the_seeds_around_it() -> None:
    """Breaks if delta-m has an interval around another number, or none where it has a baseline."""
    single, s = strategy("single", "single_task"), strategy("s", "strategy", (4, -8), noise=3)
    data = data_of(strategy("fixed", "equal"), single, s)
    over_metrics, over_tasks = deltas_of_replicates(data, s)
    assert len(over_tasks) == 8
    assert np.mean(over_metrics) == pytest.approx(delta_to_single_task(data, s)[0])
    assert np.mean(over_tasks) == pytest.approx(delta_to_single_task(data, s)[1])
    assert np.std(over_tasks, ddof=1) > 0
    alone, _ = deltas_of_replicates(data_of(s), s)
    assert all(map(math.isnan, alone))
