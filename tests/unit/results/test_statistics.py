"""Means, intervals, delta-m and ranks, held against published numbers and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtl_runner.results.statistics import delta_m, interval, mean_ranks
from mtl_runner.results.task_metrics import TaskMetrics
from mtl_runner.tasks.kinds import KINDS
from tests.support.builders import QUICK

numbers = st.floats(-1e6, 1e6)
positive = st.floats(0.01, 1e4)


# Intervals


@QUICK
@given(values=st.lists(numbers, min_size=2, max_size=12))
def test_the_interval_is_students_t(values: list[float]) -> None:
    """Breaks if the error bars of a comparison are not 95 % intervals of a mean of few seeds."""
    found = interval(values)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-6)
    assert found.count == len(values)
    error = stats.sem(values)
    if error > 1e-6 * max(map(abs, values)):
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert found.low == pytest.approx(low, rel=1e-6, abs=1e-6)
        assert found.high == pytest.approx(high, rel=1e-6, abs=1e-6)
        assert found.high - found.low == pytest.approx(high - low, rel=1e-6)


def test_one_value_has_a_mean_and_no_interval() -> None:
    """Breaks if a single seed pretends to know its spread."""
    found = interval([3.5])
    assert (found.mean, found.count) == (3.5, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.high - found.low)


def test_equal_values_have_an_interval_of_width_zero() -> None:
    """Breaks if identical seeds look uncertain or undefined."""
    same = interval([2.0, 2.0, 2.0])
    assert same.low == same.high == 2


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf, None])
def test_failed_runs_do_not_enter_the_mean(unknown: float | None) -> None:
    """Breaks if one diverged seed turns the whole row of a comparison into NaN."""
    assert interval([1.0, unknown, 3.0]) == interval([1.0, 3.0])


def test_no_value_at_all_is_nan() -> None:
    """Breaks if a strategy of which every run failed crashes the comparison."""
    found = interval([])
    assert math.isnan(found.mean)
    assert found.count == 0


# Delta-m

METRICS = TaskMetrics(
    "rmse",
    {
        "rmse": False,
        "mae": False,
        "rrmse": False,
        "accuracy": True,
        "f1": True,
        "miou": True,
        "r2": True,
    },
)
TASKS = dict.fromkeys(("a", "b", "semantic", "instance", "depth"), METRICS)

SINGLE = {"semantic": {"miou": 59.4}, "instance": {"mae": 4.61}, "depth": {"mae": 0.640}}


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

    found = delta_m(rows(model, unit), rows(baseline, unit), TASKS)
    assert found == pytest.approx(
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


def test_runs_recorded_before_say_the_same_of_their_metrics_as_those_of_today() -> None:
    """Breaks if a comparison of old and new runs averages other metrics, or turns one around."""
    for name, kind in KINDS.items():
        before = TaskMetrics.of({"kind": name})
        today = {metric.name: metric for metric in kind.metrics}
        assert dict(before.directions) == {
            name: metric.higher_is_better for name, metric in today.items()
        }
        assert before.in_delta_m == tuple(
            name for name, metric in today.items() if metric.in_delta_m
        )
        assert before.main == next(iter(today), "loss")


# Ranks


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
    found = mean_ranks(
        [(bool(i % 2), list(map(float, column))) for i, column in enumerate(columns)]
    )
    ranks = [
        stats.rankdata(-np.array(column) if i % 2 else column) for i, column in enumerate(columns)
    ]
    assert found == pytest.approx(np.mean(ranks, axis=0).tolist())


def test_a_strategy_without_a_value_is_ranked_where_it_has_one() -> None:
    """Breaks if a failed run gets the best rank, or spoils the ranks of the others."""
    ranks = mean_ranks([(False, [1.0, math.nan, 2.0]), (False, [3.0, 1.0, 2.0])])
    assert ranks == [2.0, 1.0, 2.0]
    assert math.isnan(mean_ranks([(False, [1.0, math.nan])])[1])


def test_no_column_gives_no_ranks() -> None:
    """Breaks if a comparison without a common metric crashes."""
    assert mean_ranks([]) == []
