"""The tables of a comparison: which runs stand where, and what they hold."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from mtl_runner.errors import MtlError, RunDirectoryError
from mtl_runner.results.compare import compare, compare_directories
from tests.unit.results.run_builders import METRICS, write_run, write_study


def test_tuning_runs_stand_in_runs_csv_only(sweep: Path) -> None:
    """Breaks if a study's table lists every trial, or a trial's failure as the strategy's."""
    write_study(sweep, {f"d{i}": {"strategy": "dwa", "final": i in (1, 2)} for i in range(6)})
    comparison = compare_directories([sweep], sweep, plots=False)
    assert "Verdict (test, final epoch" in comparison.text()
    strategies = pd.read_csv(sweep / "comparison.csv").set_index("strategy")
    assert strategies.loc["dwa", "runs"] == 2
    assert strategies.loc["dwa", "failed"] == 0
    runs = pd.read_csv(sweep / "runs.csv").set_index("run")
    assert len(runs) == 30
    test = [column for column in runs if ".test." in column]
    assert runs.loc["d0", test].isna().all()
    assert runs.loc["d1", test].notna().all()
    assert runs.loc["d0", [column for column in runs if ".val." in column]].notna().all()


def test_a_study_that_still_tunes_shows_its_trials(sweep: Path) -> None:
    """Breaks if the table of an interrupted study is empty, or it gives verdicts already."""
    write_study(sweep, {run.name: {"strategy": "x", "final": False} for run in sweep.iterdir()})
    comparison = compare(sweep)
    assert "Verdict" not in comparison.text()
    assert len(comparison.strategies) == 5
    assert comparison.verdicts.empty


def test_a_studys_own_margin_is_the_default(sweep: Path) -> None:
    """Breaks if a study's verdicts change when its report is made again."""
    write_study(sweep, {}, margin=0.1)
    assert (compare(sweep).verdicts["margin"] == 0.1).all()
    assert (compare(sweep, margin=0.05).verdicts["margin"] == 0.05).all()


def test_a_run_that_failed_has_a_row_with_its_reason(sweep: Path) -> None:
    """Breaks if a failed run is missing from runs.csv, or brings numbers along."""
    runs = compare(sweep).runs.set_index("run")
    failed = runs[runs["status"] == "failed"]
    assert failed["reason"].tolist() == ["The loss of task 'a' became nan in epoch 3."]
    assert failed.loc[:, "epochs":].isna().all(axis=None)
    assert failed["overrides"].tolist() == ["weighting=dwa seed=5"]


def test_a_notebook_shows_what_the_terminal_shows(sweep: Path) -> None:
    """Breaks if a comparison in Python counts other runs, or lacks its verdicts."""
    comparison = compare([sweep])
    assert (comparison.total, comparison.failed, comparison.at) == (30, 1, "final")
    assert repr(comparison) == comparison.text()
    html = comparison._repr_html_()
    assert "famo" in html
    assert "helps" in html
    assert list(sweep.glob("*.csv")) == []


def test_the_best_run_is_taken_by_the_monitor_at_its_best_epoch(tmp_path: Path) -> None:
    """Breaks if predictions are drawn of a worse run, or a run without a monitor comes first."""
    for seed, monitor in enumerate((None, 0.4, 0.3, 0.5)):
        write_run(tmp_path, str(seed), METRICS, seed=seed, monitor=monitor)
    assert [run.name for run in compare(tmp_path).best] == ["2"]


@pytest.mark.parametrize(
    ("judges", "at"), [(("best", "best"), "best"), (("final", "final"), "final"), ((), "final")]
)
def test_the_epoch_is_the_one_that_the_runs_recorded(
    tmp_path: Path, judges: tuple[str, ...], at: str
) -> None:
    """Breaks if runs are compared at another epoch than the one that chose their settings."""
    for seed, judge in enumerate(judges or (None, None)):
        write_run(tmp_path, str(seed), METRICS, seed=seed, **({"judge": judge} if judge else {}))
    comparison = compare(tmp_path)
    assert (comparison.at, comparison.conclusions.note) == (at, "")
    assert f"d (validation, {at} epoch, " in comparison.text()
    assert compare(tmp_path, at="best").at == "best"


def test_runs_that_are_judged_at_different_epochs_are_told(tmp_path: Path) -> None:
    """Breaks if the best epoch of one strategy is compared with the last one of another."""
    write_run(tmp_path, "0", METRICS, judge="best")
    write_run(tmp_path, "1", METRICS, weighting="dwa", judge="best")
    write_run(tmp_path, "2", METRICS, weighting="famo")  # an older run: it does not say
    comparison = compare(tmp_path, output=tmp_path / "out")
    sentence = "The runs do not agree on the epoch that judges them (2 as best and 1 as final), so all are compared at the last one; choose by mtl-compare --at."
    assert comparison.at == "final"
    assert comparison.text().count(sentence) == 1
    assert sentence in (tmp_path / "out" / "report.html").read_text()
    chosen = compare(tmp_path, at="best")
    assert chosen.at == "best"
    assert sentence not in chosen.text()


def test_separate_best_epochs_stand_in_one_cell(tmp_path: Path) -> None:
    """Breaks if single tasks with a best epoch each have no row, or a dictionary in a cell."""
    write_run(tmp_path, "0", METRICS)
    summary = tmp_path / "0" / "summary.json"
    content = json.loads(summary.read_text())
    content["monitor"]["best_epoch"] = {"a": 3, "b": 7}
    summary.write_text(json.dumps(content))
    assert compare(tmp_path).runs["best_epoch"].tolist() == ["a:3 b:7"]


def test_what_cannot_be_compared_is_an_error(tmp_path: Path) -> None:
    """Breaks if a misspelt epoch or an empty folder gives an empty table."""
    with pytest.raises(RunDirectoryError, match="holds no run"):
        compare(tmp_path)
    with pytest.raises(MtlError, match="at"):
        compare(tmp_path, at="last")


def test_a_picture_that_cannot_be_drawn_costs_no_report(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if matplotlib's failure over one picture hides the tables and the verdict."""

    def savefig(self: Figure, *args: object, **options: object) -> None:
        raise ValueError("no font\nin sight")

    monkeypatch.setattr(Figure, "savefig", savefig)
    logger = logging.getLogger("mtl_runner")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    compare_directories([sweep], sweep)
    logger.removeHandler(caplog.handler)
    assert (sweep / "report.html").exists()
    assert not (sweep / "comparison.png").exists()
    warning = "The comparison is complete, but not its picture: ValueError: no font"
    assert caplog.messages == [warning]


@pytest.mark.parametrize(("seeds", "unit"), [(1, "folds"), (2, "runs")])
def test_folds_are_not_called_seeds(tmp_path: Path, seeds: int, unit: str) -> None:
    """Breaks if two folds of one seed are counted as two seeds, or more seeds are asked for."""
    for fold, seed in itertools.product(range(2), range(seeds)):
        for weighting in ("fixed", "dwa"):
            options = {"data.split.folds": 5, "data.split.fold": fold}
            name = f"{weighting}{fold}{seed}"
            write_run(tmp_path, name, METRICS, weighting=weighting, seed=seed, overrides=options)
    text = compare(tmp_path).text()
    assert f" {unit}" in text
    assert "seeds" not in text
    few = "2 folds say too little about chance: add the other folds, or seed=range(0,10)."
    assert (few in text) == (seeds == 1)
