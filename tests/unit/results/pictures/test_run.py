"""The content of a run's pictures: series, bands, marks, the axis, and what conflicts most."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_runner.results.pictures.charts import Chart, Matrix
from mtl_runner.results.pictures.run import (
    PAIRS,
    Fit,
    _fit_chart,
    conflict_charts,
    latent_chart,
    loss_charts,
    plot_run,
    sigma_chart,
    weight_chart,
)
from mtl_runner.results.records.curves import RecordedCurves
from mtl_runner.results.records.summary import Summary
from tests.unit.results.run_builders import write_trained_run

Rows = dict[tuple[str, str], list[dict[str, float]]]


def recorded(rows: Rows) -> RecordedCurves:
    """Return curves of ``{(split, task): [{column: value}, ...]}``, one row per epoch."""
    names = dict.fromkeys(name for values in rows.values() for row in values for name in row)
    columns = {name: place for place, name in enumerate(["epoch", *names])}
    return RecordedCurves(
        columns,
        {
            key: [
                [str(epoch), *(str(row.get(name, "")) for name in names)]
                for epoch, row in enumerate(values, 1)
            ]
            for key, values in rows.items()
        },
    )


def summary(*tasks: str, **fields: Any) -> Summary:
    """Return a summary of regression tasks with the same fields."""
    entry = {"kind": "regression", **fields}
    return Summary.of({"tasks": dict.fromkeys(tasks, entry), "marks": {"a starts": 2}})


def column(name: str, *values: float) -> list[dict[str, float]]:
    """Return the rows of one column."""
    return [{name: value} for value in values]


def test_losses_are_drawn_per_task_on_both_splits() -> None:
    """Breaks if the loss of another task or split is drawn, or validation is in the background."""
    curves = recorded(
        {
            ("train", "a"): column("loss", 3.0, 2.0),
            ("val", "a"): [{"loss": 4.0, "relative_loss": 0.5}, {"loss": 3.5}],
            ("train", "b"): column("loss", 100.0, 1.0),
            ("val", "b"): column("loss", 100.0, 2.0),
        }
    )
    content = {"tasks": {key: {"kind": "regression"} for key in "ab"}, "marks": {"a starts": 2}}
    results = Summary.of({**content, "monitor": {"best_epoch": {"a": 2}}})
    first, second = loss_charts(curves, results)
    train, val, best = first.series
    assert (list(best.x), list(best.y), best.is_mark) == ([2], [3.5], True)
    assert [level.value for level in first.levels] == [8.0]
    assert (list(train.x), list(train.y), train.label, train.faint) == (
        [1, 2],
        [3, 2],
        "train",
        True,
    )
    assert (list(val.y), val.label, val.faint) == ([4.0, 3.5], "validation", False)
    assert (first.title, first.title_colour, train.colour, val.colour) == ("a", 0, 0, 0)
    assert (second.title, second.title_colour) == ("b", 1)
    assert [first.has_log_axis, second.has_log_axis] == [True, True]  # one kind for all panels
    assert [series.label for series in second.series] == ["", ""]  # the first panel explains
    assert first.marks == {"a starts": 2.0}


def test_weights_have_a_log_axis_by_their_positive_values() -> None:
    """Breaks if a task that is switched off, with weight 0, flattens all other weights."""
    curves = recorded(
        {("train", "a"): column("weight", 0.0, 1.0, 50.0), ("train", "b"): column("weight", 2.0)}
    )
    chart = weight_chart(curves, summary("a", "b", "c"))
    assert [(s.label, s.colour, list(s.y)) for s in chart.series] == [
        ("a: 50", 0, [0.0, 1.0, 50.0]),
        ("b: 2", 1, [2.0]),
    ]
    assert chart.has_log_axis


def test_the_latent_is_that_of_validation() -> None:
    """Breaks if the collapse of an encoder is drawn of the training split."""
    curves = recorded({("val", "a"): column("latent_variance", 0.5, 0.1), ("train", "a"): []})
    (series,) = latent_chart(curves, summary("a")).series
    assert list(series.y) == [0.5, 0.1]


def test_sigmas_stand_beside_the_true_ones() -> None:
    """Breaks if a learned noise scale cannot be held against the truth, or the axis hides it."""
    curves = recorded(
        {("train", "a"): column("sigma", 0.5, 1.0), ("train", "b"): column("sigma", 2.0, 3.0)}
    )
    content = {
        "tasks": {"a": {"true_sigma": 30.0, "sigma": 1.0}, "b": {"true_sigma": None}, "c": {}}
    }
    chart = sigma_chart(curves, Summary.of(content))
    assert [(s.label, s.colour) for s in chart.series] == [("a: 1", 0), ("b: 3", 1)]
    assert [(v.value, v.colour, v.label) for v in chart.levels] == [(30.0, 0, "a: true 30")]
    assert chart.has_log_axis  # 0.5 to the true 30
    assert all(len(s.low) == 0 for s in chart.series)


def test_sigmas_of_samples_have_a_band() -> None:
    """Breaks if a predicted noise scale looks the same for all samples."""
    rows = [{"sigma": 1.0, "sigma_q05": 0.5, "sigma_q95": 2.0}]
    (series,) = sigma_chart(recorded({("train", "a"): rows}), summary("a")).series
    assert (list(series.low), list(series.high)) == ([0.5], [2.0])


def test_pairs_that_conflict_most_come_first() -> None:
    """Breaks if a reader must look for the conflict, or a mean is of another pair."""
    curves = recorded(
        {
            ("train", "a"): [
                {"cosine_b": 0.5, "cosine_c": -0.5},
                {"cosine_b": 0.7, "cosine_c": 0.1},
            ],
            ("train", "b"): [{"cosine_c": -0.9, "cosine_a": 0.5}],
        }
    )
    matrix, chart = conflict_charts(curves, summary("a", "b", "c"))
    assert isinstance(matrix, Matrix)
    assert isinstance(chart, Chart)
    assert [series.label for series in chart.series] == ["b, c", "a, c", "a, b"]
    assert [series.colour for series in chart.series] == [0, 1, 2]
    expected = [[1.0, 0.6, -0.2], [0.6, 1.0, -0.9], [-0.2, -0.9, 1.0]]
    assert np.array(matrix.values) == pytest.approx(np.array(expected))
    assert chart.y_limits == (-1.05, 1.05)
    assert [level.value for level in chart.levels] == [0.0]


def test_of_many_pairs_the_worst_are_drawn() -> None:
    """Breaks if forty-five curves cover each other, or a pair without numbers raises."""
    names = "abcdef"
    rows: Rows = {
        ("train", a): [{f"cosine_{b}": -0.1 * i + 0.01 * j for j, b in enumerate(names)}]
        for i, a in enumerate(names[:-2])
    }
    matrix, chart = conflict_charts(recorded(rows), summary(*names))
    assert isinstance(matrix, Matrix)
    assert isinstance(chart, Chart)
    assert len(chart.series) == PAIRS
    assert chart.series[0].label == "d, e"
    assert math.isnan(matrix.values[4][5])


FIT = Fit(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([0.0, 0.5]), np.array([1.0, 1.5]))


@pytest.mark.parametrize(
    ("fields", "predicted", "band"),
    [
        ({"sigma": 0.5, "true_sigma": 0.4}, None, [0.5, 1.0]),
        ({"sigma": 0.5, "true_sigma": None}, None, None),
        ({"sigma": None, "true_sigma": 0.4}, None, None),
        ({"sigma": None, "true_sigma": None}, np.array([0.25, 0.5]), [0.75, 1.0]),
    ],
    ids=["true known", "true unknown", "not learned", "predicted"],
)
def test_the_fit_has_a_band_where_the_true_sigma_is_known(
    fields: dict[str, float | None], predicted: np.ndarray | None, band: list[float] | None
) -> None:
    """Breaks if the sigma of a scaled loss is drawn as if it were noise in the target's unit."""
    task = summary("a", **fields).tasks["a"]
    chart = _fit_chart(2, task, "a", replace(FIT, sigma=predicted))
    points, line, *bands = chart.series
    assert (points.points, points.colour, points.label) == (True, 2, "training data")
    assert (list(line.y), line.colour, line.label) == ([1.0, 1.5], None, "fit")
    assert [list(series.low) for series in bands] == ([] if band is None else [band])
    assert (chart.x_label, chart.y_label) == ("x", "a")


def test_a_run_leaves_the_pictures_that_have_something_to_show(tmp_path: Path) -> None:
    """Breaks if a run without sigmas gets an empty picture, or one with them gets none."""
    directory = write_trained_run(tmp_path / "u", "uncertainty", epochs=3)
    content = json.loads((directory / "summary.json").read_text())
    plot_run(directory, content, {})
    assert {file.name for file in directory.glob("*.png")} == {"losses.png", "weights.png"}
    content["tasks"]["y1"]["sigma"] = 0.5
    header, *lines = (directory / "metrics.csv").read_text().splitlines()
    cosines = [f"{header},cosine_y2", *(f"{line},0.5" for line in lines)]
    (directory / "metrics.csv").write_text("\n".join(cosines) + "\n")
    plot_run(directory, content, {"y1": FIT})
    assert {file.name for file in directory.glob("*.png")} == {
        "conflicts.png",
        "fit.png",
        "losses.png",
        "sigmas.png",
        "weights.png",
    }


def test_pictures_are_also_figures_on_request(tmp_path: Path) -> None:
    """Breaks if record.figures=pdf leaves no PDF, or takes the PNG away."""
    directory = write_trained_run(tmp_path / "u", epochs=3)
    content = json.loads((directory / "summary.json").read_text())
    plot_run(directory, content, {}, "pdf")
    assert {file.name for file in directory.glob("*.p*")} == {
        "losses.png",
        "losses.pdf",
        "weights.png",
        "weights.pdf",
    }


def test_a_run_without_relative_losses_has_no_line_of_the_trivial_predictor() -> None:
    """Breaks if an older run, or one whose trivial loss is 0, has no picture."""
    curves = recorded({("val", "a"): [{"loss": 1.0, "relative_loss": 0.0}, {"loss": -1.0}]})
    (chart,) = loss_charts(curves, summary("a"))
    assert list(chart.levels) == []
    assert not chart.has_log_axis
