"""Charts in matplotlib: what is drawn of their content."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from mtl_runner.results.pictures.charts import Chart, DotChart, Dots, Level, Matrix, Series
from mtl_runner.results.pictures.draw import (
    NAMED,
    draw_chart,
    draw_charts,
    draw_dots,
    draw_matrix,
)
from mtl_runner.results.pictures.style import COLOURS, new_figure, save

FORMULAS = ("price_$_per_$", "in_$#_out_$", "win$\\loss$", "a\\$b", "x^{", "$x$")
CURVE = Series([1, 2], [3.0, 4.0], 1, "curve", low=[2.0, 3.0], high=[4.0, 5.0], band_label="band")


@pytest.fixture
def axis() -> Axes:
    """Return a pair of axes."""
    return new_figure(1, 1, 3.0, 2.0)[1][0, 0]


def legend(axis: Axes) -> list[str]:
    """Return the labels of the legend; empty without one."""
    entries = axis.get_legend()
    return [] if entries is None else [text.get_text() for text in entries.get_texts()]


def test_a_legend_holds_the_labels_of_series_bands_and_levels(axis: Axes) -> None:
    """Breaks if a curve, its band or a true value cannot be told from the others."""
    faint = Series([1, 2], [1.0, 2.0], 0, "train", faint=True)
    levels = [Level(2.0, 0, "true 2"), Level(0.0)]
    draw_chart(axis, Chart("title", "loss", [faint, CURVE], levels=levels))
    assert sorted(legend(axis)) == ["band", "curve", "train", "true 2"]
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("title", "epoch", "loss")


@pytest.mark.parametrize("name", FORMULAS)
def test_names_are_shown_letter_by_letter(tmp_path: Path, axis: Axes, name: str) -> None:
    """Breaks if matplotlib reads a column's name as a formula, which fails or hides letters."""
    curve = Series([1, 2], [1.0, 400.0], 0, name, [0.5, 300.0], [2.0, 500.0], name)
    chart = Chart(name, name, [curve], name, [Level(2.0, 0, name)], {name: 1.5}, has_log_axis=True)
    matrix = Matrix(name, [name, name], [[1.0, 0.0], [0.0, 1.0]])
    black_title = replace(chart, title_colour=1)
    draw_charts(tmp_path / "charts.png", [chart, black_title, matrix], 3, 3.0, 2.0)
    draw_dots(axis, DotChart(name, name, [Dots(name, 0, [1.0], 1.0, math.nan, math.nan)]), True)
    save(axis.figure, tmp_path / "dots.png")
    shown = [text for text in axis.get_yticklabels() if text.get_text()]
    assert [text.get_text() for text in shown] == [name]
    assert not any(text.get_parse_math() for text in (*shown, axis.title, axis.xaxis.label))


def test_a_name_with_an_underscore_in_front_stands_in_the_legend(axis: Axes) -> None:
    """Breaks if the curve of a column such as _id has no name, since matplotlib hides it."""
    draw_chart(axis, Chart("", "loss", [Series([1], [2.0], 0, "_id")]))
    assert [label.strip() for label in legend(axis)] == ["_id"]


def test_nothing_to_name_has_no_legend(axis: Axes) -> None:
    """Breaks if an empty box covers the curves."""
    draw_chart(axis, Chart("", "loss", [Series([1], [2.0])]))
    assert legend(axis) == []


def test_a_curve_has_its_values_and_its_colour(axis: Axes) -> None:
    """Breaks if values are drawn in another order, or in the colour of another task."""
    draw_chart(axis, Chart("t", "loss", [CURVE], title_colour=1))
    (line,) = axis.get_lines()
    assert line.get_xydata().tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert to_hex(line.get_color()).upper() == to_hex(axis.title.get_color()).upper() == COLOURS[1]


def test_bands_points_and_curves_are_drawn_as_such(axis: Axes) -> None:
    """Breaks if training points are joined by a line, or a band without a curve needs one."""
    points = Series([1, 2, 3], [1.0, 2.0, 1.0], points=True)
    band = Series([1, 2], (), low=[0.0, 1.0], high=[2.0, 3.0])
    draw_chart(axis, Chart("", "", [points, band]))
    assert list(axis.get_lines()) == []
    dots, area = axis.collections
    assert len(dots.get_offsets()) == 3
    assert area.get_datalim(axis.transData).ymax == 3.0


def test_the_axis_is_as_the_chart_says(axis: Axes) -> None:
    """Breaks if a collapse by orders of magnitude is drawn on a linear axis, or limits are lost."""
    draw_chart(axis, Chart("", "", [CURVE], has_log_axis=True, y_limits=(0.1, 10.0)))
    assert axis.get_yscale() == "log"
    assert axis.get_ylim() == (0.1, 10.0)


def test_marks_at_one_epoch_share_a_label(axis: Axes) -> None:
    """Breaks if the names of tasks that start together are printed over each other."""
    marks = {"a starts": 3.0, "b starts": 3.0, "a ends": 5.0}
    draw_chart(axis, Chart("", "", [CURVE], marks=marks))
    assert [text.get_text() for text in axis.texts] == ["a starts, b starts", "a ends"]
    assert [line.get_xdata()[0] for line in axis.get_lines()[1:]] == [3.0, 5.0]


def test_a_small_matrix_shows_its_numbers(axis: Axes) -> None:
    """Breaks if cosines are transposed or unreadable."""
    draw_matrix(axis, Matrix("t", ["a", "b"], [[1.0, -0.75], [0.25, 1.0]]))
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    assert texts == {(0, 0): "1.00", (1, 0): "-0.75", (0, 1): "0.25", (1, 1): "1.00"}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]


def test_a_large_matrix_shows_colours_alone(axis: Axes) -> None:
    """Breaks if the numbers of forty tasks are printed over each other."""
    count = NAMED + 1
    draw_matrix(axis, Matrix("t", list(map(str, range(count))), np.eye(count).tolist()))
    assert list(axis.texts) == []


@pytest.mark.parametrize("named", [True, False])
def test_strategies_stand_below_each_other_with_their_intervals(axis: Axes, named: bool) -> None:
    """Breaks if the first strategy is at the bottom, or one seed pretends to an interval."""
    rows = [
        Dots("first", 0, [1.0, 3.0], 2.0, 0.5, 3.5),
        Dots("second", 1, [4.0], 4.0, math.nan, math.nan),
    ]
    draw_dots(axis, DotChart("task", "loss", rows), named)
    low, high = axis.get_ylim()
    assert low > high
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == (["first", "second"] if named else ["", ""])
    bars = [bar for bar in axis.containers if bar.has_xerr]
    assert len(bars) == 1
    (segment,) = bars[0].lines[2][0].get_segments()
    assert segment[:, 0].tolist() == [0.5, 3.5]


def test_charts_of_one_file_fill_rows_and_hide_what_is_left(tmp_path: Path) -> None:
    """Breaks if the third of three charts is lost, or an empty one is shown beside it."""
    charts = [Chart(str(i), "loss", [CURVE]) for i in range(2)]
    draw_charts(tmp_path / "x.png", [*charts, Matrix("m", ["a"], [[1.0]])], 2, 2.0, 1.5)
    content = (tmp_path / "x.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    assert width > height


def test_a_crowded_legend_stands_beside_the_axes(axis: Axes) -> None:
    """Breaks if the legend of eight tasks covers their curves."""
    curves = [Series([1, 2], [1.0, 2.0], i, f"task {i}") for i in range(8)]
    draw_chart(axis, Chart("", "weight", curves))
    axis.figure.draw_without_rendering()
    place = axis.get_legend().get_window_extent()
    assert place.x0 >= axis.get_window_extent().x1


def test_ticks_of_epochs_are_whole_and_a_short_log_axis_is_plain(axis: Axes) -> None:
    """Breaks if an axis counts epoch 0.96, or says 1.025 times ten to the third."""
    draw_chart(axis, Chart("", "loss", [Series([1], [1025.0])]))
    assert axis.get_xticks().tolist() == [1]
    figure, axes = new_figure(1, 1, 3.0, 2.0)
    short = axes[0, 0]
    draw_chart(short, Chart("", "loss", [Series([1, 2], [1030.0, 1200.0])], has_log_axis=True))
    figure.draw_without_rendering()
    labels = [text.get_text() for text in short.get_yticklabels()]
    assert "1050" in labels or "1080" in labels or "1100" in labels


def test_a_mark_is_a_ring_and_a_single_point_is_seen(axis: Axes) -> None:
    """Breaks if the best evaluation hides the curve, or a run of one epoch shows nothing."""
    draw_chart(axis, Chart("", "", [Series([1], [1.0], 0), Series([1], [1.0], 0, is_mark=True)]))
    (line,) = axis.get_lines()
    assert line.get_marker() == "o"
    (ring,) = axis.collections
    assert len(ring.get_facecolors()) == 0


def test_names_of_rows_have_their_colours_and_the_reference_a_line(axis: Axes) -> None:
    """Breaks if a picture without a legend does not say whose curve is whose."""
    rows = [Dots("a", 2, [1.0], 1.0, 0.5, 1.5), Dots("b", 2, [1.0], 1.0, 0.5, 1.5, dash=1)]
    draw_dots(axis, DotChart("", "", rows, reference=0.0), names_rows=True)
    assert [text.get_color() for text in axis.get_yticklabels()] == [COLOURS[2]] * 2
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in axis.get_lines())
