"""A table shows the methods and baselines by default, or what a reader names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.results.compare import compare
from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.selection import Selection, grid_of
from mtl_runner.results.table import StrategyTable
from tests.unit.results.run_builders import METRICS, write_run, write_study


def table_of(folder: Path, selection: Selection) -> StrategyTable:
    """Return the table of a folder with one data set."""
    (table,) = compare(folder).tables(selection)
    return table


def names(folder: Path, selection: Selection = Selection()) -> list[str]:  # noqa: B008
    """Return the names of the shown strategies."""
    return [strategy.name for strategy in table_of(folder, selection).strategies]


def write_grid(folder: Path, weighting: str, monitors: dict[float, float]) -> None:
    """Write a run per learning rate with a monitor."""
    for rate, monitor in monitors.items():
        write_run(
            folder,
            f"{weighting}_{rate}",
            METRICS,
            weighting=weighting,
            monitor=monitor,
            overrides={"optimizer.lr": rate},
        )


@pytest.fixture
def study(sweep: Path) -> Path:
    """Write a study: equal weights, two fixed ones, famo with its twin, two single-task runs."""
    roles = {
        "e": ("equal", "equal"),
        "f": ("fixed", "fixed a=1 b=2"),
        "g": ("strategy", "famo"),
        "d": ("twin", "famo frozen"),
    }
    jobs = {
        f"{letter}{i}": {"strategy": name, "role": role, "of": "famo" if role == "twin" else ""}
        for letter, (role, name) in roles.items()
        for i in range(6)
    }
    for i in range(6):
        first = i < 3
        jobs[f"s{i}"] = {"strategy": f"single_task, lr={1 if first else 2}", "role": "single_task"}
    write_study(sweep, jobs)
    return sweep


def test_twins_and_the_rest_of_grids_are_shown_on_request(study: Path) -> None:
    """Breaks if a table of six methods has twenty rows, or what is hidden is not told."""
    assert names(study) == ["equal", "fixed a=1 b=2", "famo", "single_task"]
    assert "Not shown: 1 frozen twin; --all shows them." in table_of(study, Selection()).notes
    everything = table_of(study, Selection(everything=True))
    assert len(everything.strategies) == 6
    assert everything.notes == ()


def test_the_best_point_of_each_grid_stands_for_it(tmp_path: Path) -> None:
    """Breaks if a user must find the best learning rate of each strategy by eye."""
    write_grid(tmp_path, "fixed", {0.001: 0.5, 0.01: 0.4, 0.1: 0.6})
    write_grid(tmp_path, "dwa", {0.001: 0.9, 0.01: 0.5, 0.1: 0.3})
    table = table_of(tmp_path, Selection())
    assert [s.name for s in table.strategies] == ["dwa, lr=0.1", "fixed, lr=0.01"]
    assert table.notes == (
        "Of 3 settings of dwa, lr=0.1 is the best on validation (0.3): lr=0.1 is the largest that was tried.",
        "Of 3 settings of fixed, lr=0.01 is the best on validation (0.4).",
        "Not shown: 4 other settings; --all shows them.",
    )
    assert len(names(tmp_path, Selection(everything=True))) == 6


def test_the_best_of_a_study_and_a_sweep_is_named(tmp_path: Path) -> None:
    """Breaks if a merged table says `Of 2 settings of dwa,  is the best`."""
    for weighting in ("fixed", "dwa"):
        write_grid(tmp_path / "study", weighting, {0.1: 0.4})
        write_run(tmp_path / "sweep", weighting, METRICS, weighting=weighting)
    jobs = {
        "fixed_0.1": {"strategy": "equal", "role": "equal"},
        "dwa_0.1": {"strategy": "dwa", "role": "strategy"},
    }
    write_study(tmp_path / "study", jobs)
    notes = table_of(tmp_path, Selection()).notes
    assert "Of 2 settings of dwa, dwa is the best on validation (0.4)." in notes


def test_a_sweep_that_is_one_grid_is_shown_in_full(tmp_path: Path) -> None:
    """Breaks if a sweep over a learning rate, and nothing else, ends with one row."""
    write_grid(tmp_path, "dwa", {0.001: 0.9, 0.01: 0.5, 0.1: 0.3})
    table = table_of(tmp_path, Selection())
    assert len(table.strategies) == 3
    assert table.notes == (
        "Of 3 settings of dwa, lr=0.1 is the best on validation (0.3): lr=0.1 is the largest that was tried.",
    )


def test_a_setting_in_words_is_a_method_of_its_own() -> None:
    """Breaks if the worse of two forms of a method is left out as if it were a grid's point."""
    jde = StrategyEvidence("uncertainty, form=jde, lr=0.1", "strategy")
    kendall = StrategyEvidence("uncertainty, form=kendall, lr=0.1", "strategy")
    assert grid_of(jde) != grid_of(kendall)
    assert grid_of(jde) == ("strategy", "uncertainty, form=jde")


def test_single_tasks_come_from_their_own_best_settings(tmp_path: Path) -> None:
    """Breaks if the baseline is one learning rate for all tasks, or is chosen on test."""
    write_run(tmp_path, "e", METRICS)
    for rate, a, b in ((1, 0.5, 9.0), (2, 0.9, 3.0)):
        tasks = {
            "a": {"rmse": a, "loss": a, "relative_loss": a},
            "b": {"rmse": b, "loss": b, "relative_loss": b},
        }
        overrides = {"optimizer.lr": rate}
        write_run(tmp_path, f"s{rate}", tasks, weighting="single_task", overrides=overrides)
    table = table_of(tmp_path, Selection())
    (row,) = [i for i, s in enumerate(table.strategies) if s.name == "single_task"]
    means = {column.title: column.cells[row].mean for column in table.columns}
    assert (means["a rmse"], means["b rmse"], means["delta-m %"]) == (0.5, 3.0, 0.0)
    assert means["relative_loss"] == 1.75
    assert (
        "single_task takes each task at its best setting on validation: a from lr=1, b from lr=2."
        in table.notes
    )


def test_strategies_are_named_by_name_weighting_or_pattern(sweep: Path) -> None:
    """Breaks if --strategies needs the letters of a long name, or changes the order."""
    assert names(sweep, Selection(strategies=("famo", "fixed"))) == [
        "famo",
        "fixed, a=default",
        "fixed, a=2",
    ]
    assert names(sweep, Selection(strategies=("fixed, a=2", "d*"))) == ["fixed, a=2", "dwa"]


def test_what_is_named_is_shown_also_if_it_is_hidden_else(study: Path) -> None:
    """Breaks if a twin can only be had together with everything."""
    assert names(study, Selection(strategies=("famo frozen", "equal"))) == ["famo frozen", "equal"]


def test_ranks_are_among_what_is_shown(sweep: Path) -> None:
    """Breaks if a table of two strategies has the ranks of five."""
    table = table_of(sweep, Selection(strategies=("dwa", "famo")))
    (ranks,) = [column for column in table.columns if column.metric == "rank"]
    assert [cell.mean for cell in ranks.cells] == [2.0, 1.0]


@pytest.mark.parametrize(
    "metrics", [("rank",), ("rank", "delta_m"), ("relative_loss", "rank"), ("b.mae", "rank")]
)
def test_ranks_are_over_the_main_metrics_whatever_is_shown(
    sweep: Path, metrics: tuple[str, ...]
) -> None:
    """Breaks if the ranks are blank, or others, where their metrics have no column."""

    def ranks(selection: Selection) -> list[float]:
        columns = table_of(sweep, selection).columns
        return [c.mean for column in columns if column.metric == "rank" for c in column.cells]

    assert ranks(Selection(metrics=metrics)) == ranks(Selection())
    assert sorted(ranks(Selection())) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_metrics_are_named_alone_or_with_their_task(sweep: Path) -> None:
    """Breaks if a metric of all tasks must be typed for each, or one task cannot be chosen."""

    def titles(*metrics: str) -> list[str]:
        return [c.title for c in table_of(sweep, Selection(metrics=metrics)).columns]

    assert titles("mae") == ["a mae", "b mae"]
    assert titles("b.rmse", "rank") == ["b rmse", "mean rank"]
    assert titles("a.*", "delta_m") == ["a rmse", "a mae", "a loss", "a relative_loss", "delta-m %"]


def test_remarks_are_about_what_is_shown(tmp_path: Path) -> None:
    """Breaks if a table of one strategy is headed by remarks on all others."""
    write_run(tmp_path, "equal", METRICS)
    for weighting in ("dwa", "famo", "single_task"):
        write_grid(tmp_path, weighting, {0.1: 0.5, 0.01: 0.3})
    best = "the best on validation (0.3)."
    assert table_of(tmp_path, Selection(strategies=("fixed", "dwa"))).notes == (
        f"Of 2 settings of dwa, lr=0.01 is {best}",
    )
    notes = table_of(tmp_path, Selection(strategies=("single_task",))).notes
    assert [note.split(" takes")[0] for note in notes] == ["single_task"]


def test_unknown_names_are_told_with_what_there_is(sweep: Path) -> None:
    """Breaks if a misspelt strategy gives an empty table."""
    with pytest.raises(ConfigError) as error:
        compare(sweep).text(selection=Selection(strategies=("fam",)))
    assert (
        str(error.value)
        == "--strategies: 'fam' is no strategy of this comparison; there are dwa; fixed, a=default; fixed, a=2; famo; single_task."
    )
    with pytest.raises(ConfigError) as error:
        compare(sweep).text(selection=Selection(metrics=("f1",)))
    assert (
        str(error.value)
        == "--metrics: 'f1' is no metric of this comparison; there are relative_loss, rank, delta_m, delta_m_task, rmse, mae, loss, or of one task as a.rmse."
    )


def test_a_strategy_without_a_number_is_not_the_best_of_its_grid(tmp_path: Path) -> None:
    """Breaks if a setting that diverged stands for the method."""
    write_grid(tmp_path, "dwa", {0.1: math.nan, 0.01: 0.5})
    write_grid(tmp_path, "fixed", {0.1: 0.5})
    assert names(tmp_path) == ["dwa, lr=0.01", "fixed, lr=0.1"]
