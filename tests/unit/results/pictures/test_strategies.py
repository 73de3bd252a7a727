"""How strategies are drawn: looks, values with intervals, and mean curves with their range."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mtl_runner.results.pictures.strategies import Look, curve_chart, looks_of, metric_chart
from mtl_runner.results.records.curves import RecordedCurves
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import evidence_of
from mtl_runner.results.report.content import Content
from mtl_runner.results.statistics.intervals import interval
from tests.unit.results.evidence_builders import data_of, strategy
from tests.unit.results.run_builders import METRICS, write_run


def losses(*values: float, first: int = 1) -> RecordedCurves:
    """Return the curves of a run with these validation losses of task a."""
    rows = [[str(epoch), str(value)] for epoch, value in enumerate(values, first)]
    return RecordedCurves({"epoch": 0, "loss": 1}, {("val", "a"): rows})


def test_a_strategy_is_drawn_with_all_its_values_and_their_interval() -> None:
    """Breaks if a dot is of another strategy, or the bar is no 95 % interval of the dots."""
    s = strategy("s", "strategy", 10, seeds=3)
    data = data_of(strategy("fixed", "equal", seeds=3), s, strategy("hidden", "strategy"))
    chart = metric_chart(data, "a", "title", {"fixed": Look("fixed", 0), "s": Look("short", 5)})
    assert [row.name for row in chart.rows] == ["fixed", "short"]
    values = [metrics["a"]["rmse"] for metrics in s.values.values()]
    expected = interval(values)
    row = chart.rows[1]
    assert (list(row.values), row.colour) == (values, 5)
    assert (row.mean, row.low, row.high) == (expected.mean, expected.low, expected.high)
    assert chart.x_label == "validation rmse (lower is better)"


def test_the_direction_of_a_metric_is_told() -> None:
    """Breaks if a reader takes a high accuracy for a high error."""
    values = {"seed=0": {"a": {"accuracy": 0.5}}}
    data = data_of(strategy("s", "strategy", values=values), tasks={"a": "classification"})
    chart = metric_chart(data, "a", "", {"s": Look("s", 0)})
    assert chart.x_label == "validation accuracy (higher is better)"
    assert math.isnan(chart.rows[0].low)


def test_curves_are_means_with_the_range_over_seeds() -> None:
    """Breaks if a band is not what the seeds span, or one seed has a band."""
    curves = {"s": [losses(1.0, 4.0), losses(3.0, 2.0)], "one seed": [losses(5.0, 5.0)]}
    several, single = curve_chart(
        curves, "a", {"s": Look("s", 2), "one seed": Look("one seed", 3, 1)}
    ).series
    assert (list(several.x), list(several.y), several.colour) == ([1, 2], [2.0, 3.0], 2)
    assert (list(several.low), list(several.high)) == ([1.0, 2.0], [3.0, 4.0])
    assert (list(single.y), list(single.low), single.dash) == ([5.0, 5.0], [], 1)


def test_a_mean_is_over_epochs_that_all_runs_have() -> None:
    """Breaks if the mean jumps where a run stopped early, or a run without curves hides all."""
    curves = {
        "s": [losses(1.0, 2.0, 3.0), losses(3.0, 4.0), RecordedCurves()],
        "apart": [losses(1.0), losses(1.0, first=7)],
        "none": [RecordedCurves()],
    }
    (series,) = curve_chart(
        curves, "a", {"s": Look("s", 0), "apart": Look("apart", 1), "none": Look("none", 2)}
    ).series
    assert (list(series.x), list(series.y)) == ([1, 2], [2.0, 3.0])


@pytest.mark.parametrize(("end", "has_log_axis"), [(1.0, False), (1000.0, True)])
def test_the_axis_is_chosen_by_the_means(end: float, has_log_axis: bool) -> None:
    """Breaks if one strategy that diverges flattens the curves of all others."""
    chart = curve_chart({"s": [losses(1.0, end)]}, "a", {"s": Look("s", 0)})
    assert chart.has_log_axis == has_log_axis


def test_colours_are_those_of_the_report(tmp_path: Path) -> None:
    """Breaks if a strategy is blue in the report and red in the paper."""
    for i, weighting in enumerate("abcdefghij"):
        write_run(tmp_path, str(i), METRICS, weighting=weighting)
    records = Records.read([tmp_path])
    (data,) = records.datasets
    strategies = evidence_of(data, "final", "val").strategies
    looks = looks_of(records.roles, data, strategies)
    (section,) = Content.of(records, "final").sections
    assert {line.name: line.colour for line in section.lines} == {
        name: look.colour for name, look in looks.items()
    }
    # The ninth colour is the first one again, and told apart by its dashes.
    assert [looks[name].dash for name in "abij"] == [0, 0, 1, 1]
