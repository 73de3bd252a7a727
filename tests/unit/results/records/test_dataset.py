"""Data sets, strategies and their runs: what counts, what is shown, what is noted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mtl_runner.results.records.dataset import LOST_STUDY, DatasetRuns, Records
from tests.unit.results.run_builders import METRICS, write_run, write_study

NO_NUMBER = {"monitor": None}


def only_dataset(*folders: Path) -> DatasetRuns:
    """Return the only data set of the runs in some folders."""
    (data,) = Records.read(folders).datasets
    return data


def test_a_copied_run_is_no_second_sample(tmp_path: Path) -> None:
    """Breaks if copying a directory makes a result more certain."""
    write_run(tmp_path / "x", "0", METRICS)
    write_run(tmp_path / "x", "1", METRICS, seed=1)
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    assert list(only_dataset(tmp_path / "x", tmp_path / "y").strategies[0].runs) == [
        "seed=0",
        "seed=1",
    ]


def test_runs_are_sorted_by_data_set_and_strategy(tmp_path: Path) -> None:
    """Breaks if runs of two data sets are compared with each other."""
    for i, (data, weighting) in enumerate([("d", "fixed"), ("e", "fixed"), ("d", "dwa")]):
        choices, overrides = {"data": data}, {"data": data}
        write_run(
            tmp_path, str(i), METRICS, weighting=weighting, choices=choices, overrides=overrides
        )
    records = Records.read([tmp_path])
    names = {data.name: [s.name for s in data.strategies] for data in records.datasets}
    assert names == {"d": ["fixed", "dwa"], "e": ["fixed"]}
    assert len(records.runs) == len(records.labels) == len(records.roles) == 3


def test_a_run_that_failed_counts_but_is_not_finished(tmp_path: Path) -> None:
    """Breaks if a strategy loses its failed runs, or a mean is taken over them."""
    for seed, status in enumerate(("finished", "failed", "running")):
        write_run(tmp_path, str(seed), METRICS, seed=seed, status=status)
    data = only_dataset(tmp_path)
    (strategy,) = data.strategies
    assert (len(strategy.runs), len(strategy.finished), strategy.unfinished) == (3, 1, 2)
    assert data.finished
    assert [run.name for run in Records.read([tmp_path]).unfinished] == ["1", "2"]


def test_a_study_that_still_tunes_shows_its_trials(tmp_path: Path) -> None:
    """Breaks if an interrupted study shows nothing, or pools the trials of all its settings."""
    jobs = {}
    for i, rate in enumerate((0.1, 0.01)):
        write_run(tmp_path, str(i), METRICS, overrides={"optimizer.lr": rate})
        jobs[str(i)] = {"strategy": "equal", "role": "equal", "final": False, "lr": rate}
    write_study(tmp_path, jobs)
    data = only_dataset(tmp_path)
    assert not data.has_final_runs
    assert [s.name for s in data.shown] == ["fixed, lr=0.1", "fixed, lr=0.01"]


def test_with_final_runs_a_trial_is_no_strategy(tmp_path: Path) -> None:
    """Breaks if a run that only chose a setting stands in the table of the strategies."""
    write_run(tmp_path, "trial", METRICS, weighting="dwa", overrides={"optimizer.lr": 0.1})
    write_run(tmp_path, "final", METRICS, weighting="dwa", seed=7)
    write_study(
        tmp_path, {"trial": {"strategy": "dwa", "final": False}, "final": {"strategy": "dwa"}}
    )
    (strategy,) = only_dataset(tmp_path).strategies
    assert [run.name for run in strategy.runs.values()] == ["final"]
    assert [role.run.name for role in strategy.trials] == ["trial"]


@pytest.mark.parametrize(
    ("trial", "names"),
    [
        ({"status": "failed"}, ["equal", "gradnorm"]),
        (NO_NUMBER, ["equal", "gradnorm"]),
        ({}, ["equal"]),
    ],
    ids=["failed", "no number", "ended"],
)
def test_a_strategy_is_given_up_if_no_trial_ended_with_a_number(
    tmp_path: Path, trial: dict[str, str], names: list[str]
) -> None:
    """Breaks if a method that never trains disappears, or one that waits is condemned."""
    write_run(tmp_path, "e", METRICS)
    write_run(tmp_path, "g", METRICS, weighting="gradnorm", **trial)
    jobs = {"e": {"strategy": "equal", "role": "equal"}}
    write_study(tmp_path, {**jobs, "g": {"strategy": "gradnorm", "final": False}})
    data = only_dataset(tmp_path)
    assert [s.name for s in data.strategies] == names
    assert [s.name for s in data.strategies if s.given_up] == names[1:]
    assert [s.name for s in data.shown] == ["equal"]


def test_notes_are_those_of_the_data_sets_own_study(tmp_path: Path) -> None:
    """Breaks if a remark on one study stands under another, or is repeated per run."""
    for name in ("x", "y"):
        for seed in range(2):
            write_run(tmp_path / name, str(seed), METRICS, seed=seed)
        job = {"strategy": "equal", "role": "equal"}
        write_study(tmp_path / name, {"0": job, "1": job}, notes=[f"Note of {name}."])
    notes = {data.name: data.notes for data in Records.read([tmp_path]).datasets}
    assert notes == {"d (x)": ("Note of x.",), "d (y)": ("Note of y.",)}


def test_a_lost_study_is_noted_and_its_margin_unknown(tmp_path: Path) -> None:
    """Breaks if tuning runs silently count because study.json was not copied."""
    write_run(tmp_path, "0", METRICS)
    (tmp_path / "multirun.yaml").write_text("- +study=fair\n")
    data = only_dataset(tmp_path)
    assert (data.notes, data.margin) == ((LOST_STUDY,), None)
    write_study(tmp_path, {}, margin=0.1)
    assert (only_dataset(tmp_path).notes, only_dataset(tmp_path).margin) == ((), 0.1)
