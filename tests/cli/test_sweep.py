"""A multirun: every job gets its row, failures included, and the strategies are compared."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Command, send

SMALL = ("data=toy_regression", "model.hidden=[16]", "trainer.epochs=4", "record.plots=none")
SWEEP = ("-m", *SMALL, "hydra.sweep.dir=sweep")


def test_the_comparison_has_a_row_per_run_and_one_per_strategy_and_data(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a sweep of strategies, data and seeds is not sorted out by itself."""
    result = mtl(
        "mtl-run",
        *SWEEP,
        "weighting=fixed,uncertainty,single_task",
        "data=toy_regression,digits",
        "seed=range(0,2)",
    )
    assert result.code == 0, result.err
    runs = pd.read_csv(tmp_path / "sweep" / "runs.csv")
    assert len(runs) == 12
    assert set(runs["status"]) == {"finished"}
    table = pd.read_csv(tmp_path / "sweep" / "comparison.csv")
    assert list(zip(table["data"], table["strategy"], strict=True)) == [
        (data, strategy)
        for data in ("toy_regression", "digits")
        for strategy in ("fixed", "uncertainty", "single_task")
    ]
    assert list(table["runs"]) == [2] * 6
    toy = table[(table["data"] == "toy_regression") & (table["strategy"] == "fixed")].iloc[0]
    seeds = runs[(runs["data"] == "toy_regression") & (runs["strategy"] == "fixed")][
        "final.val.y1.rmse"
    ]
    assert toy["val.y1.rmse.mean"] == pytest.approx(seeds.mean())
    assert toy["val.y1.rmse.low"] < toy["val.y1.rmse.mean"] < toy["val.y1.rmse.high"]
    assert toy["val.delta_m"] == pytest.approx(0, abs=1e-9), (
        "separate networks under equal weights are single-task training"
    )
    assert table["val.mean_rank"].between(1, 3).all()
    assert (tmp_path / "sweep" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert "delta-m %" in result.out


@pytest.mark.long
def test_joblib_gives_the_same_bytes(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a result depends on the launcher (threads, random states of the parent)."""
    options = (*SMALL, "weighting=uncertainty,per_task_adam", "seed=0,1")
    assert mtl("mtl-run", "-m", *options, "hydra.sweep.dir=basic").code == 0
    parallel = mtl(
        "mtl-run",
        "-m",
        *options,
        "hydra.sweep.dir=joblib",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    )
    assert parallel.code == 0, parallel.err
    folders = sorted(path.name for path in (tmp_path / "basic").iterdir() if path.is_dir())
    assert len(folders) == 4
    for folder in folders:
        basic, joblib = (tmp_path / sweep / folder / "metrics.csv" for sweep in ("basic", "joblib"))
        assert basic.read_bytes() == joblib.read_bytes()


def test_a_failed_job_is_a_row_with_its_reason_and_the_rest_go_on(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if one diverging run costs the others, or hides why it failed."""
    result = mtl("mtl-run", *SWEEP, "optimizer=sgd", "optimizer.lr=1e6,1e-4,1e-3")
    assert result.code == 1
    runs = pd.read_csv(tmp_path / "sweep" / "runs.csv")
    assert list(runs["status"]) == ["failed", "finished", "finished"]
    assert runs["reason"][0].startswith("The loss of task 'y1' became inf in epoch")
    assert list(runs["strategy"]) == [
        "uncertainty, lr=1000000.0",
        "uncertainty, lr=0.0001",
        "uncertainty, lr=0.001",
    ]
    assert "1 of 3 runs failed" in result.last_line
    assert "Traceback" not in result.err


@pytest.mark.long
def test_no_baseline_gives_no_delta_m_and_says_how_to_get_it(mtl: Command, tmp_path: Path) -> None:
    """Breaks if delta-m is invented from anything but single-task runs."""
    result = mtl("mtl-run", *SWEEP, "weighting=fixed,uncertainty")
    assert (
        "No delta-m: add weighting=single_task to the sweep for the single-task baseline."
        in result.out
    )
    assert pd.read_csv(tmp_path / "sweep" / "comparison.csv")["val.delta_m"].isna().all()


@pytest.mark.long
def test_a_sweep_directory_is_refused_unless_resumed_and_then_only_the_rest_is_run(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a second sweep overwrites the first, or finished jobs are trained again."""
    sweep = (*SWEEP, "seed=0,1")
    assert mtl("mtl-run", *sweep).code == 0
    refused = mtl("mtl-run", *sweep)
    assert refused.code == 1
    assert refused.last_line.endswith(
        "sweep' holds a sweep already; add resume=true to go on with it, or choose another hydra.sweep.dir."
    )
    finished, lost = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    summary = json.loads((lost / "summary.json").read_text())
    (lost / "summary.json").write_text(json.dumps({**summary, "status": "running"}))
    before = (finished / "summary.json").stat().st_mtime_ns
    resumed = mtl("mtl-run", *sweep, "resume=true")
    assert resumed.code == 0, resumed.err
    assert resumed.out.startswith("reused 1 run, 1 to do\n")
    assert (finished / "summary.json").stat().st_mtime_ns == before
    assert json.loads((lost / "summary.json").read_text())["status"] == "finished"


@pytest.mark.long
def test_a_sweep_that_grows_is_the_one_made_at_once(mtl: Command, tmp_path: Path) -> None:
    """Breaks if more seeds or strategies train what is there, or give other numbers."""
    small = (*SWEEP, "hydra/launcher=stacked")
    assert mtl("mtl-run", *small, "weighting=fixed,uncertainty", "seed=0,1").code == 0
    sweep = tmp_path / "sweep"
    before = {path: path.stat().st_mtime_ns for path in sweep.glob("*/metrics.csv")}
    larger = ("weighting=uncertainty,fixed,dwa", "seed=range(0,3)")
    refused = mtl("mtl-run", *small, *larger, "trainer.epochs=5", "resume=true")
    assert refused.last_line == (
        f"'{sweep}' holds runs that cannot be compared with these (trainer.epochs=4 there and trainer.epochs=5 here); "
        "make them equal, sweep over both values, or choose another hydra.sweep.dir."
    )
    grown = mtl("mtl-run", *small, *larger, "resume=true")
    assert grown.code == 0, grown.err
    assert grown.out.startswith("reused 4 runs, 5 to do\n")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(sweep.glob("*/metrics.csv"))) == 9
    assert mtl("mtl-run", *small, *larger, "hydra.sweep.dir=once").code == 0
    tables = [pd.read_csv(tmp_path / name / "comparison.csv") for name in ("sweep", "once")]
    grown_rows, rows = (table.set_index("strategy").sort_index() for table in tables)
    kept = [column for column in rows if "seconds" not in column]
    pd.testing.assert_frame_equal(grown_rows[kept], rows[kept], rtol=1e-5)


@pytest.mark.long
def test_compare_works_on_copied_incomplete_and_single_runs(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a comparison needs the sweep that made the runs."""
    for number, options in enumerate((("weighting=fixed",), ("weighting=uncertainty",), ())):
        assert mtl("mtl-run", *SMALL, *options, f"hydra.run.dir=runs/{number}").code == 0
    (tmp_path / "runs" / "2" / "summary.json").unlink()
    result = mtl("mtl-compare", "runs/0", "runs/1", "runs/2", "--output", "table")
    assert result.code == 0, result.err
    runs = pd.read_csv(tmp_path / "table" / "runs.csv")
    assert list(runs["status"]) == ["finished", "finished", "incomplete"]
    assert list(pd.read_csv(tmp_path / "table" / "comparison.csv")["strategy"])[:2] == [
        "fixed",
        "uncertainty",
    ]
    assert "Not finished:" in result.out


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["basic", "stacked"])
def test_a_sweep_writes_through_no_link(mtl: Command, tmp_path: Path, launcher: str) -> None:
    """Breaks if a sweep in a foreign directory overwrites a file of the user."""
    sweep, victims = tmp_path / "sweep", tmp_path / "victims"
    sweep.mkdir()
    victims.mkdir()
    names = ("multirun.yaml", "sweep.json", "runs.csv", "comparison.csv", "report.html")
    for name in names:
        (victims / name).write_text("precious")
        (sweep / name).symlink_to(victims / name)
    result = mtl("mtl-run", *SWEEP, f"hydra/launcher={launcher}", "seed=0,1")
    assert result.code == 0, result.err
    assert {path.name: path.read_text() for path in victims.iterdir()} == dict.fromkeys(
        names, "precious"
    )
    assert not any((sweep / name).is_symlink() for name in names)
    assert "seed=0,1" in (sweep / "multirun.yaml").read_text()


def test_compare_names_a_directory_without_runs(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a wrong path gives a traceback."""
    (tmp_path / "empty").mkdir()
    assert mtl("mtl-compare", "nowhere").last_line == (
        "There is no directory 'nowhere'; give run directories or the directory of a sweep."
    )
    assert (
        mtl("mtl-compare", "empty").last_line
        == "'empty' holds no run; give run directories or the directory of a sweep."
    )


@pytest.mark.long
def test_folds_and_seeds_are_replicates_not_strategies(mtl: Command, tmp_path: Path) -> None:
    """Breaks if cross-validation is mistaken for five strategies."""
    (tmp_path / "t.csv").write_text(
        "a,b,c\n" + "".join(f"{i},{2 * i % 7},{i % 3}\n" for i in range(60))
    )
    options = (
        "data=table",
        "data.path=t.csv",
        "data.targets={a: regression, c: classification}",
        "data.split.folds=3",
    )
    result = mtl(
        "mtl-run", *SWEEP, *options, "data.split.fold=0,1,2", "weighting=fixed,uncertainty"
    )
    assert result.code == 0, result.err
    table = pd.read_csv(tmp_path / "sweep" / "comparison.csv")
    assert list(table["strategy"]) == ["fixed", "uncertainty"]
    assert list(table["runs"]) == [3, 3]


def test_a_sweep_with_a_wrong_option_starts_no_job_and_names_it(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a typing error is found after an hour, or hidden behind an empty report."""
    result = mtl("mtl-run", *SWEEP, "weighting=fixed,uncertanty")
    assert result.code == 1
    assert result.last_line.startswith(
        "weighting=uncertanty does not exist; did you mean 'uncertainty'?"
    )
    assert not list((tmp_path / "sweep").glob("*/"))


@pytest.mark.long
def test_ctrl_c_stops_a_sweep_after_saving_and_says_how_to_go_on(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if Ctrl-C only skips to the next job, or its results are lost."""
    sweep = (
        "-m",
        "data=toy_regression",
        "model.hidden=[16]",
        "trainer.epochs=300",
        "record.plots=none",
        "hydra.sweep.dir=sweep",
        "seed=0,1,2",
    )
    second = tmp_path / "sweep" / "1_toy_regression_uncertainty_seed1" / "checkpoint.pt"
    stopped = mtl("mtl-run", *sweep, meanwhile=send(signal.SIGINT, second.exists))
    assert stopped.code == 130
    assert stopped.last_line.endswith("/sweep resume=true.")
    assert "1 of 2 runs was stopped; the reasons are above and in " in stopped.err
    assert list(pd.read_csv(tmp_path / "sweep" / "runs.csv")["status"]) == [
        "finished",
        "interrupted",
    ]
    assert mtl("mtl-run", *sweep, "resume=true").code == 0
    assert list(pd.read_csv(tmp_path / "sweep" / "runs.csv")["status"]) == ["finished"] * 3


@pytest.mark.long
def test_a_sweep_is_not_resumed_with_other_options(mtl: Command, tmp_path: Path) -> None:
    """Breaks if two sweeps are mixed in one directory and a seed counts twice."""
    assert mtl("mtl-run", *SWEEP, "seed=0,1").code == 0
    before = (tmp_path / "sweep" / "multirun.yaml").read_bytes()
    refused = mtl("mtl-run", *SWEEP, "seed=0,1,2", "data=digits", "resume=true")
    assert refused.code == 1
    assert "(data=toy_regression there and data=digits here)" in refused.last_line
    assert (tmp_path / "sweep" / "multirun.yaml").read_bytes() == before


@pytest.mark.long
def test_the_same_run_twice_is_not_two_samples(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a copied run narrows the interval."""
    assert mtl("mtl-run", *SWEEP, "seed=0,1").code == 0
    shutil.copytree(tmp_path / "sweep", tmp_path / "copy")
    assert mtl("mtl-compare", "sweep", "copy", "--output", "both").code == 0
    original, both = (
        pd.read_csv(tmp_path / folder / "comparison.csv") for folder in ("sweep", "both")
    )
    assert list(both["runs"]) == [2]
    assert both["val.y1.rmse.low"][0] == original["val.y1.rmse.low"][0]


@pytest.mark.long
def test_options_of_the_same_name_keep_their_full_names(mtl: Command, tmp_path: Path) -> None:
    """Breaks if two strategies get a label that says lr twice."""
    assert mtl("mtl-run", *SWEEP, "optimizer.lr=0.001,0.01", "weighting.lr=0.01,0.1").code == 0
    names = list(pd.read_csv(tmp_path / "sweep" / "comparison.csv")["strategy"])
    assert "uncertainty, optimizer.lr=0.001, weighting.lr=0.01" in names
    assert len(names) == 4


@pytest.mark.long
def test_the_monitor_is_that_of_the_epoch_in_the_title(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a table of final metrics flatters with the best epoch's monitor."""
    assert (
        mtl(
            "mtl-run",
            "-m",
            "data=toy_regression",
            "trainer.epochs=60",
            "record.plots=none",
            "hydra.sweep.dir=sweep",
            "seed=0,1",
        ).code
        == 0
    )
    runs = pd.read_csv(tmp_path / "sweep" / "runs.csv")
    for at in ("final", "best"):
        assert mtl("mtl-compare", "sweep", "--at", at, "--output", at).code == 0
        assert pd.read_csv(tmp_path / at / "comparison.csv")["monitor.mean"][0] == pytest.approx(
            runs[f"monitor.{at}"].mean()
        )


def test_compare_words_a_place_it_cannot_write_to(mtl: Command) -> None:
    """Breaks if --output gives a traceback."""
    assert mtl("mtl-run", *SMALL, "hydra.run.dir=run").code == 0
    result = mtl("mtl-compare", "run", "--output", "/proc/here")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert "'/proc/here'; check the path" in result.last_line
