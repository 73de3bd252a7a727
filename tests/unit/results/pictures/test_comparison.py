"""The picture of a comparison: values with intervals, and mean curves with their range."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mtl_runner.results.pictures.comparison import DRAWN, curves_of, plot_comparison, winners
from mtl_runner.results.pictures.style import COLOURS
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.selection import Selection
from mtl_runner.results.table import table_of
from tests.unit.results.evidence_builders import strategy
from tests.unit.results.run_builders import METRICS, write_run, write_trained_run


def test_the_picture_of_two_data_sets_names_every_strategy_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a name is not in the colour of its curve, or a data set with fewer tasks fails."""
    import mtl_runner.results.pictures.comparison as comparison

    figures = []
    save = comparison.save
    monkeypatch.setattr(
        comparison, "save", lambda figure, path: (figures.append(figure), save(figure, path))
    )
    for i, (data, weighting) in enumerate([("d", "fixed"), ("d", "dwa"), ("e", "fixed")]):
        tasks = {"y1": "regression"} if data == "e" else None
        directory = write_trained_run(
            tmp_path / str(i), weighting, i, tasks=tasks, epochs=2, data=data
        )
        summary = directory / "summary.json"
        summary.write_text(summary.read_text().replace('"data": "made"', f'"data": "{data}"'))
    records = Records.read([tmp_path])
    plot_comparison(tmp_path / "x.png", records.datasets, records.roles, "final")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = figures
    assert figure.legends == []
    names = {
        text.get_text(): text.get_color() for axis in figure.axes for text in axis.get_yticklabels()
    }
    assert {name: names[name] for name in ("fixed", "dwa")} == {
        "fixed": COLOURS[0],
        "dwa": COLOURS[1],
    }
    visible = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in visible if axis.get_title()] == ["d: y1", "d: y2", "e: y1"]


def test_names_of_tasks_and_strategies_are_no_formulas(tmp_path: Path) -> None:
    """Breaks if a task such as in_$#_out_$ costs a sweep its picture and its report."""
    for i, weighting in enumerate(["fixed", "in_$#_out_$"]):
        write_trained_run(
            tmp_path / str(i), weighting, i, tasks={"win$\\loss$": "regression"}, epochs=2
        )
    records = Records.read([tmp_path])
    plot_comparison(tmp_path / "x.png", records.datasets, records.roles, "final")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_of_many_strategies_the_baselines_and_the_best_are_drawn() -> None:
    """Breaks if nineteen curves cover each other, or equal weights are not among the few."""
    methods = [
        strategy(f"m{i}", "strategy", seeds=2, monitor={"seed=0": float(i)}) for i in range(12)
    ]
    equal = strategy("equal", "equal", seeds=2, monitor={"seed=0": 99.0})
    drawn = winners([*methods[::-1], equal])
    assert [s.name for s in drawn] == ["m6", "m5", "m4", "m3", "m2", "m1", "m0", "equal"]
    assert len(drawn) == DRAWN
    assert winners(methods[:3]) == tuple(methods[:3])


def test_runs_of_one_epoch_have_no_empty_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a picture shows axes without a curve."""
    import mtl_runner.results.pictures.comparison as comparison

    figures: list[Figure] = []
    monkeypatch.setattr(comparison, "save", lambda figure, path: figures.append(figure))
    for epochs in (1, 3):
        folder = tmp_path / str(epochs)
        write_trained_run(folder / "0", epochs=epochs)
        records = Records.read([folder])
        plot_comparison(tmp_path / "x.png", records.datasets, records.roles, "final")
    assert [len(figure.axes) for figure in figures] == [2, 4]


def test_a_baseline_of_several_settings_has_the_curves_of_each_tasks_best(tmp_path: Path) -> None:
    """Breaks if the curve of a task is of another setting than its row."""
    write_run(tmp_path, "e", METRICS)
    for rate, factor in ((1, 0.5), (2, 2.0)):
        write_trained_run(
            tmp_path / f"s{rate}", "single_task", epochs=2, loss_factor=factor, optimizer__lr=rate
        )
    (_, data) = Records.read([tmp_path]).datasets
    table = table_of(data, "final", "val", Selection())
    curves = curves_of(data, table, "single_task", "val", "loss")
    first, second = (curves[task][0].curve("val", task, "loss")[2] for task in ("y1", "y2"))
    assert (first < 0.3, second < 0.3) == (True, True)
