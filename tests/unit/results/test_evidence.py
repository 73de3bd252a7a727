"""Evidence from files: roles from a study or from options, failures, copies, single tasks, tuning runs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.results.evidence import DatasetEvidence, Evidence, gather
from mtl_runner.results.read import Run, find_runs
from mtl_runner.results.roles import infer_role, jobs, read_study, short_names, without_study
from mtl_runner.results.strategies import label
from tests.unit.results.evidences import write_run

BOTH = {
    "a": {"rmse": 1.0, "mae": 1.0, "loss": 1.0, "relative_loss": 0.5},
    "b": {"rmse": 2.0, "loss": 4.0, "relative_loss": 0.7},
}


def evidence(*folders: Path, **options: Any) -> Evidence:
    runs = find_runs(folders)
    return gather(runs, label(runs), read_study(runs), **options)


def only(found: Evidence) -> DatasetEvidence:
    assert len(found.sets) == 1
    return found.sets[0]


def write_study(folder: Path, jobs: dict[str, dict[str, Any]], **fields: Any) -> None:
    plain = {"phase": 4, "strategy": "", "role": "strategy", "of": "", "final": True}
    study = {
        "version": 1,
        "margin": 0.02,
        "jobs": {name: plain | job for name, job in jobs.items()},
        **fields,
    }
    (folder / "study.json").write_text(json.dumps(study))


@pytest.mark.parametrize(
    ("choices", "overrides", "role"),
    [
        ({"weighting": "single_task"}, {}, "single_task"),
        ({"weighting": "fixed"}, {}, "equal"),
        ({"weighting": "fixed"}, {"weighting.weights.a": "2"}, "fixed"),
        ({"weighting": "fixed"}, {"weighting.weights": "auto"}, "fixed"),
        ({"weighting": "fixed"}, {"optimizer.lr": "0.1"}, "equal"),
        ({"weighting": "per_task_adam"}, {}, "strategy"),
        ({"weighting": "uncertainty"}, {}, "strategy"),
        ({}, {}, "strategy"),
    ],
)
def test_roles_are_read_off_the_options(
    choices: dict[str, str], overrides: dict[str, str], role: str
) -> None:
    """Breaks if an ordinary sweep has no baseline, or a strategy passes for one."""
    assert infer_role(Run(Path("x"), "finished", "", choices, overrides)) == role


def test_equal_weights_under_another_update_are_a_strategy(tmp_path: Path) -> None:
    """Breaks if `weighting=fixed update=per_task` becomes the baseline of a sweep over updates."""
    write_run(tmp_path, "0", BOTH)
    write_run(tmp_path, "1", BOTH, choices={"update": "per_task"}, overrides={"update": "per_task"})
    assert [s.role for s in only(evidence(tmp_path)).strategies] == ["equal", "strategy"]


def test_a_choice_that_all_runs_share_makes_no_strategy(tmp_path: Path) -> None:
    """Breaks if a sweep that trains everything with homoscedastic noise has no equal weights."""
    for i, weighting in enumerate(("fixed", "dwa")):
        write_run(
            tmp_path, str(i), BOTH, weighting=weighting, choices={"likelihood": "homoscedastic"}
        )
    assert [s.role for s in only(evidence(tmp_path)).strategies] == ["equal", "strategy"]


def test_values_are_those_of_the_run_at_the_epoch_and_split(tmp_path: Path) -> None:
    """Breaks if a number of the wrong epoch, split or seed is compared."""
    for seed in (0, 1):
        write_run(
            tmp_path,
            str(seed),
            {t: {m: v + seed for m, v in values.items()} for t, values in BOTH.items()},
            seed=seed,
        )
    summary = json.loads((tmp_path / "1" / "summary.json").read_text())
    summary["tasks"]["a"]["best"]["test"]["rmse"] = 9.0
    (tmp_path / "1" / "summary.json").write_text(json.dumps(summary))
    found = evidence(tmp_path)
    assert (found.at, found.split) == ("final", "val")
    (s,) = only(found).strategies
    assert s.values["seed=0"]["a"] == BOTH["a"]
    assert s.values["seed=1"]["b"]["rmse"] == 3.0
    assert s.relative_loss == pytest.approx({"seed=0": 0.6, "seed=1": 1.6})
    assert s.seconds == {"seed=0": 1.5, "seed=1": 1.5}
    assert (
        only(evidence(tmp_path, at="best", split="test"))
        .strategies[0]
        .values["seed=1"]["a"]["rmse"]
        == 9.0
    )


@pytest.mark.parametrize("value", [math.nan, None, math.inf])
def test_a_run_that_ends_without_a_number_failed(tmp_path: Path, value: float | None) -> None:
    """Breaks if NaN counts as a missing value instead of a failure."""
    write_run(tmp_path, "0", BOTH)
    write_run(tmp_path, "1", {**BOTH, "b": {"rmse": value, "loss": 1.0}}, seed=1)
    write_run(tmp_path, "2", BOTH, seed=2, status="failed")
    write_run(tmp_path, "3", BOTH, seed=3, status="running")
    (s,) = only(evidence(tmp_path)).strategies
    assert list(s.values) == ["seed=0"]
    assert s.failures == {
        "seed=1": "no val value of b",
        "seed=2": "The loss of task 'a' became nan in epoch 3.",
    }
    assert s.unfinished == ("seed=3",)


def test_a_copied_run_is_no_second_sample(tmp_path: Path) -> None:
    """Breaks if copying a directory makes a result more certain."""
    write_run(tmp_path / "x", "0", BOTH)
    write_run(tmp_path / "x", "1", BOTH, seed=1)
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    assert list(only(evidence(tmp_path / "x", tmp_path / "y")).strategies[0].values) == [
        "seed=0",
        "seed=1",
    ]


def test_a_run_says_what_its_tasks_are_measured_by(tmp_path: Path) -> None:
    """Breaks if a metric of a user's own is unknown to the comparison, or judged by the wrong end."""
    write_run(tmp_path, "0", {"a": {"mine": 0.5, "loss": 1.0}})
    path = tmp_path / "0" / "summary.json"
    summary = json.loads(path.read_text())
    metrics = {
        "mine": {"higher_is_better": True, "in_delta_m": True},
        "other": {"higher_is_better": None, "in_delta_m": False},
    }
    summary["tasks"]["a"] |= {"kind": "ordinal", "main_metric": "mine", "metrics": metrics}
    path.write_text(json.dumps(summary))
    data = only(evidence(tmp_path))
    assert (data.main("a"), data.tasks["a"].in_delta_m) == ("mine", ("mine",))
    assert [data.tasks["a"].higher_is_better(name) for name in ("mine", "other", "loss")] == [
        True,
        False,
        False,
    ]
    assert len(data.strategies[0].values) == 1


def test_a_run_recorded_before_directions_is_measured_by_its_measures_or_its_kind(
    tmp_path: Path,
) -> None:
    """Breaks if runs of before cannot be compared any more."""
    write_run(tmp_path, "0", {"a": {"accuracy": 0.5, "loss": 1.0}})
    path = tmp_path / "0" / "summary.json"
    summary = json.loads(path.read_text())
    summary["tasks"]["a"] |= {"kind": "regression", "measures": "classification"}
    path.write_text(json.dumps(summary))
    data = only(evidence(tmp_path))
    assert data.tasks["a"].directions == {"accuracy": True, "f1": True, "ece": False}
    assert data.main("a") == "accuracy"
    assert len(data.strategies[0].values) == 1
    assert not data.strategies[0].failures


def test_a_study_says_what_is_evidence_and_what_was_tuning(tmp_path: Path) -> None:
    """Breaks if a tuning run is evidence, a strategy loses its name, or the learning-rate curve is not the best over the knob."""
    jobs = {}
    for i, (rate, knob, monitor) in enumerate(
        [(0.1, 1, 0.9), (0.1, 2, 0.8), (0.01, 1, 0.5), (0.01, 2, 0.7)]
    ):
        options = {"optimizer.lr": rate, "weighting.temperature": knob}
        write_run(tmp_path, f"t{i}", BOTH, weighting="dwa", overrides=options, monitor=monitor)
        jobs[f"t{i}"] = {"phase": 2, "strategy": "dwa", "final": False}
    write_run(
        tmp_path, "t4", BOTH, weighting="dwa", overrides={"optimizer.lr": 1.0}, status="failed"
    )
    jobs["t4"] = {"phase": 2, "strategy": "dwa", "final": False}
    write_run(tmp_path, "t5", BOTH, weighting="dwa", monitor=0.6)
    jobs["t5"] = {
        "phase": 2,
        "strategy": "dwa",
        "final": False,
        "lr": 0.001,
    }  # as the study says, the optimizer's default
    for seed in (100, 101):
        write_run(
            tmp_path,
            f"d{seed}",
            BOTH,
            weighting="dwa",
            seed=seed,
            overrides={"optimizer.lr": 0.01},
            backward_passes=2,
        )
        write_run(tmp_path, f"e{seed}", BOTH, seed=seed, overrides={"optimizer.lr": 0.1})
        write_run(tmp_path, f"w{seed}", BOTH, seed=seed, overrides={"weighting.weights.a": 3})
        jobs |= {
            f"d{seed}": {"strategy": "dwa"},
            f"e{seed}": {"strategy": "equal weights", "role": "equal"},
            f"w{seed}": {"phase": 5, "strategy": "dwa, frozen", "role": "twin", "of": "dwa"},
        }
    write_study(tmp_path, jobs)
    found = evidence(tmp_path)
    assert found.split == "test"
    data = only(found)
    assert {s.name: (s.role, list(s.values)) for s in data.strategies} == {
        "dwa": ("strategy", ["seed=100", "seed=101"]),
        "equal weights": ("equal", ["seed=100", "seed=101"]),
        "dwa, frozen": ("twin", ["seed=100", "seed=101"]),
    }
    dwa = next(s for s in data.strategies if s.name == "dwa")
    assert dwa.tuning == {0.001: 0.6, 0.01: 0.5, 0.1: 0.8}
    assert dwa.backward_passes == 2
    assert not dwa.failures
    twin = data.twin("dwa")
    assert twin is not None
    assert twin.name == "dwa, frozen"
    assert data.equal is not None
    assert data.equal.name == "equal weights"


def test_single_task_runs_of_one_task_each_make_one_baseline(tmp_path: Path) -> None:
    """Breaks if a task trained alone by data.tasks=[a] is another data set, or a failed task."""
    jobs = {}
    for task in BOTH:
        write_run(tmp_path, f"s{task}", {task: BOTH[task]}, overrides={"data.tasks": f"[{task}]"})
        jobs[f"s{task}"] = {"phase": 4, "strategy": f"single {task}", "role": "single_task"}
    write_run(tmp_path, "e", BOTH)
    write_study(tmp_path, {**jobs, "e": {"strategy": "fixed", "role": "equal"}})
    data = only(evidence(tmp_path))
    assert data.single_task == BOTH
    assert not any(s.failures for s in data.strategies)


def test_a_study_that_was_copied_is_still_one(tmp_path: Path) -> None:
    """Breaks if study.json names runs by a path that moved, or a like-named run elsewhere takes a role from it."""
    write_run(tmp_path / "x", "0", BOTH, weighting="dwa")
    write_study(tmp_path / "x", {"0": {"strategy": "tuned"}})
    write_run(tmp_path / "plain", "0", BOTH, seed=1)
    (tmp_path / "x").rename(tmp_path / "moved")
    data = only(evidence(tmp_path / "moved", tmp_path / "plain"))
    assert [(s.name, s.role) for s in data.strategies] == [
        ("tuned", "strategy"),
        ("fixed", "equal"),
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": 3}', '{"version": 1}'])
def test_a_broken_study_is_no_study(tmp_path: Path, text: str) -> None:
    """Breaks if a half-written study.json stops the comparison."""
    write_run(tmp_path, "0", BOTH)
    (tmp_path / "study.json").write_text(text)
    assert read_study(find_runs([tmp_path])) is None
    assert only(evidence(tmp_path)).strategies[0].role == "equal"


def test_the_best_of_several_baselines_is_taken_by_the_monitor(tmp_path: Path) -> None:
    """Breaks if equal weights with a bad learning rate are what strategies must beat."""
    for i, (rate, monitor) in enumerate([(0.1, 0.9), (0.01, 0.4)]):
        write_run(tmp_path, f"e{i}", BOTH, overrides={"optimizer.lr": rate}, monitor=monitor)
        write_run(
            tmp_path,
            f"f{i}",
            BOTH,
            overrides={"optimizer.lr": rate, "weighting.weights.a": 2},
            monitor=monitor - 0.1,
        )
    data = only(evidence(tmp_path))
    assert data.equal is not None
    assert "lr=0.01" in data.equal.name
    assert data.best_fixed is not None
    assert "lr=0.01" in data.best_fixed.name
    assert data.best_fixed.role == "fixed"


def test_nothing_finished_is_no_evidence_and_no_crash(tmp_path: Path) -> None:
    """Breaks if a sweep of which everything failed crashes the report of its failures."""
    write_run(tmp_path, "0", BOTH, status="failed")
    data = only(evidence(tmp_path))
    assert (data.tasks, data.equal, data.best_fixed, data.single_task) == ({}, None, None, {})


def test_several_studies_are_judged_apart(tmp_path: Path) -> None:
    """Breaks if the strategies of two studies with the same names, seeds or folders are pooled into one."""
    for place, margin, rmse in (("x/fair", 0.1, 1.0), ("y/fair", 0.05, 3.0)):
        folder = tmp_path / place
        for name, weighting in (("0", "fixed"), ("1", "dwa")):
            write_run(folder, name, {**BOTH, "a": {**BOTH["a"], "rmse": rmse}}, weighting=weighting)
        write_run(folder, "2", {"a": BOTH["a"]}, overrides={"data.tasks": "[a]"})
        roles = {"0": {"strategy": "equal", "role": "equal"}, "1": {"strategy": "dwa"}}
        write_study(
            folder, roles | {"2": {"strategy": "single_task", "role": "single_task"}}, margin=margin
        )
    found = evidence(tmp_path)
    common = "d, tasks=default"
    sets = sorted(found.sets, key=lambda data: data.name)
    assert [(data.name, data.margin) for data in sets] == [
        (f"{common} (x/fair)", 0.1),
        (f"{common} (y/fair)", 0.05),
    ]
    for data, rmse in zip(sets, (1.0, 3.0), strict=True):
        assert [s.name for s in data.strategies] == ["equal", "dwa", "single_task"]
        assert data.equal is not None
        assert [values["a"]["rmse"] for values in data.equal.values.values()] == [rmse]


def test_options_of_one_study_are_no_part_of_anothers_name(tmp_path: Path) -> None:
    """Breaks if a study is called by every data option in which another one differs from it."""
    for name, overrides in (("x", {"data.path": "/a.csv"}), ("y", {})):
        write_run(tmp_path / name, "0", BOTH, overrides=overrides)
        write_study(tmp_path / name, {"0": {"strategy": "equal", "role": "equal"}})
    assert sorted(data.name for data in evidence(tmp_path).sets) == ["d (x)", "d (y)"]


def test_folders_are_named_by_as_much_as_tells_them_apart() -> None:
    """Breaks if two studies get one name, or a long path where a word would do."""
    assert short_names(["/a/b", "/a/c"]) == {"/a/b": "b", "/a/c": "c"}
    assert short_names(["/x/c", "/y/c"]) == {"/x/c": "x/c", "/y/c": "y/c"}
    assert short_names(["/a"]) == {"/a": "a"}
    assert short_names([]) == {}


def test_a_like_named_run_of_another_folder_takes_no_role(tmp_path: Path) -> None:
    """Breaks if a run is looked up in a study by its folder's name alone."""
    write_run(tmp_path / "study", "0", BOTH, weighting="dwa")
    write_study(tmp_path / "study", {"0": {"strategy": "tuned", "final": False}})
    write_run(tmp_path / "plain", "0", BOTH, weighting="dwa", seed=1)
    runs = find_runs([tmp_path])
    assert sorted(
        (job.strategy, job.final) for job in jobs(runs, label(runs), read_study(runs))
    ) == [
        ("dwa", True),
        ("tuned", False),
    ]


def gave_up(folder: Path, *statuses: str, monitor: float | None = None) -> None:
    """A study with a final run of equal weights, and of gradnorm only tuning runs that ended so."""
    write_run(folder, "e", BOTH)
    rows: dict[str, dict[str, Any]] = {"e": {"strategy": "equal", "role": "equal"}}
    for i, status in enumerate(statuses):
        rate = 10.0**-i
        write_run(
            folder,
            f"{i}_g",
            BOTH,
            weighting="gradnorm",
            status=status,
            overrides={"optimizer.lr": rate},
            monitor=monitor,
        )
        rows[f"{i}_g"] = {"strategy": "gradnorm", "phase": 1, "final": False, "lr": rate}
    write_study(folder, rows)


def test_a_strategy_of_which_every_trial_failed_stays(tmp_path: Path) -> None:
    """Breaks if a method that never trains disappears from the study that tried it."""
    gave_up(tmp_path, "failed", "failed", "finished", "running")
    gradnorm = only(evidence(tmp_path)).strategies[-1]
    assert (gradnorm.name, gradnorm.role, gradnorm.values, gradnorm.trials) == (
        "gradnorm",
        "strategy",
        {},
        4,
    )
    nan = "The loss of task 'a' became nan in epoch 3."
    assert gradnorm.failures == {"0_g": nan, "1_g": nan, "2_g": "no number to choose by"}
    assert gradnorm.unfinished == ("3_g",)


def test_a_strategy_with_a_trial_that_ended_waits_for_its_final_runs(tmp_path: Path) -> None:
    """Breaks if a study that was stopped before a strategy's final runs condemns it."""
    gave_up(tmp_path, "failed", "finished", monitor=0.5)
    assert [s.name for s in only(evidence(tmp_path)).strategies] == ["equal"]


@pytest.mark.parametrize(
    "record",
    [
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.mtl_runner.FairSweeper\n",
        "- +study=fair\n",
        None,
    ],
)
def test_a_study_without_its_record_is_known_by_hydras(tmp_path: Path, record: str | None) -> None:
    """Breaks if the runs of a study whose study.json was not copied pass for an ordinary sweep."""
    write_run(tmp_path, "0", BOTH)
    if record is not None:
        (tmp_path / "multirun.yaml").write_text(record)
    assert without_study(find_runs([tmp_path])) == ([tmp_path.resolve()] if record else [])
    write_study(tmp_path, {})
    assert without_study(find_runs([tmp_path])) == []


def test_the_grid_is_that_of_the_first_phase(tmp_path: Path) -> None:
    """Breaks if refined learning rates count as the regular grid."""
    rows: dict[str, dict[str, Any]] = {"f": {"strategy": "dwa"}}
    write_run(tmp_path, "f", BOTH, weighting="dwa")
    for i, (rate, phase) in enumerate([(0.1, 1), (0.01, 1), (0.03, 3)]):
        write_run(tmp_path, str(i), BOTH, weighting="dwa", overrides={"optimizer.lr": rate})
        rows[str(i)] = {"strategy": "dwa", "final": False, "phase": phase, "lr": rate}
    write_study(tmp_path, rows)
    (dwa,) = only(evidence(tmp_path)).strategies
    assert dwa.grid == (0.01, 0.1)
    assert list(dwa.tuning) == [0.01, 0.03, 0.1]
