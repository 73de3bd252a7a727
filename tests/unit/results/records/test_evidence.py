"""The numbers of the runs at one epoch on one split: which count, and what failed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.unit.results.evidence_builders import data_of, dataset_in, evidence_in, strategy
from tests.unit.results.run_builders import METRICS, write_run, write_study


def test_values_are_those_of_the_run_at_the_epoch_and_split(tmp_path: Path) -> None:
    """Breaks if a number of the wrong epoch, split or seed is compared."""
    for seed in (0, 1):
        write_run(
            tmp_path,
            str(seed),
            {t: {m: v + seed for m, v in values.items()} for t, values in METRICS.items()},
            seed=seed,
        )
    summary = json.loads((tmp_path / "1" / "summary.json").read_text())
    summary["tasks"]["a"]["best"]["test"]["rmse"] = 9.0
    (tmp_path / "1" / "summary.json").write_text(json.dumps(summary))
    evidence = evidence_in(tmp_path)
    assert (evidence.at, evidence.split) == ("final", "val")
    (s,) = evidence.datasets[0].strategies
    assert s.values["seed=0"]["a"] == METRICS["a"]
    assert s.values["seed=1"]["b"]["rmse"] == 3.0
    assert s.relative_loss == pytest.approx({"seed=0": 0.6, "seed=1": 1.6})
    assert s.seconds == {"seed=0": 1.5, "seed=1": 1.5}
    assert (
        dataset_in(tmp_path, at="best", split="test").strategies[0].values["seed=1"]["a"]["rmse"]
        == 9.0
    )


@pytest.mark.parametrize("value", [math.nan, None, math.inf])
def test_a_run_that_ends_without_a_number_failed(tmp_path: Path, value: float | None) -> None:
    """Breaks if NaN counts as a missing value instead of a failure."""
    write_run(tmp_path, "0", METRICS)
    write_run(tmp_path, "1", {**METRICS, "b": {"rmse": value, "loss": 1.0}}, seed=1)
    write_run(tmp_path, "2", METRICS, seed=2, status="failed")
    write_run(tmp_path, "3", METRICS, seed=3, status="running")
    (s,) = dataset_in(tmp_path).strategies
    assert list(s.values) == ["seed=0"]
    assert s.failures == {
        "seed=1": "no val value of b",
        "seed=2": "The loss of task 'a' became nan in epoch 3.",
    }
    assert s.unfinished == ("seed=3",)


def test_a_study_says_what_is_evidence_and_what_was_tuning(tmp_path: Path) -> None:
    """Breaks if a trial is evidence, or the learning-rate curve not the best over the settings."""
    jobs = {}
    for i, (rate, temperature, monitor) in enumerate(
        [(0.1, 1, 0.9), (0.1, 2, 0.8), (0.01, 1, 0.5), (0.01, 2, 0.7)]
    ):
        options = {"optimizer.lr": rate, "weighting.temperature": temperature}
        write_run(tmp_path, f"t{i}", METRICS, weighting="dwa", overrides=options, monitor=monitor)
        jobs[f"t{i}"] = {"phase": 2, "strategy": "dwa", "final": False}
    write_run(
        tmp_path, "t4", METRICS, weighting="dwa", overrides={"optimizer.lr": 1.0}, status="failed"
    )
    jobs["t4"] = {"phase": 2, "strategy": "dwa", "final": False}
    write_run(tmp_path, "t5", METRICS, weighting="dwa", monitor=0.6)
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
            METRICS,
            weighting="dwa",
            seed=seed,
            overrides={"optimizer.lr": 0.01},
            backward_passes=2,
        )
        write_run(tmp_path, f"e{seed}", METRICS, seed=seed, overrides={"optimizer.lr": 0.1})
        write_run(tmp_path, f"w{seed}", METRICS, seed=seed, overrides={"weighting.weights.a": 3})
        jobs |= {
            f"d{seed}": {"strategy": "dwa"},
            f"e{seed}": {"strategy": "equal weights", "role": "equal"},
            f"w{seed}": {"phase": 5, "strategy": "dwa, frozen", "role": "twin", "of": "dwa"},
        }
    write_study(tmp_path, jobs)
    evidence = evidence_in(tmp_path)
    assert evidence.split == "test"
    data = dataset_in(tmp_path)
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
    equal = data.equal_for(dwa)
    assert equal is not None
    assert equal.name == "equal weights"


def test_single_task_runs_of_one_task_each_make_one_baseline(tmp_path: Path) -> None:
    """Breaks if a task trained alone by data.tasks=[a] is another data set, or a failed task."""
    jobs = {}
    for task in METRICS:
        write_run(
            tmp_path, f"s{task}", {task: METRICS[task]}, overrides={"data.tasks": f"[{task}]"}
        )
        jobs[f"s{task}"] = {"phase": 4, "strategy": f"single {task}", "role": "single_task"}
    write_run(tmp_path, "e", METRICS)
    write_study(tmp_path, {**jobs, "e": {"strategy": "fixed", "role": "equal"}})
    data = dataset_in(tmp_path)
    assert data.single_task == METRICS
    assert not any(s.failures for s in data.strategies)


def test_the_single_task_baseline_is_chosen_on_validation(tmp_path: Path) -> None:
    """Breaks if the reference of delta-m is chosen by the test numbers that it is held against."""
    for rate, validation, test in ((0.1, 1.0, 3.0), (0.01, 2.0, 1.0)):
        tasks = {"a": {"rmse": test, "loss": test}}
        options = {"weighting": "single_task", "overrides": {"optimizer.lr": rate}}
        write_run(tmp_path, str(rate), tasks, **options)
        summary = tmp_path / str(rate) / "summary.json"
        content = json.loads(summary.read_text())
        content["tasks"]["a"]["final"]["val"]["loss"] = validation
        summary.write_text(json.dumps(content))
    assert dataset_in(tmp_path, split="test").single_task == {"a": {"rmse": 3.0, "loss": 3.0}}


def test_of_several_baselines_everyone_has_the_one_at_its_own_settings(tmp_path: Path) -> None:
    """Breaks if the baseline is chosen by the runs that are judged, so that all others look bad."""
    for i, (rate, monitor) in enumerate([(0.1, 0.9), (0.01, 0.4)]):
        options = {"overrides": {"optimizer.lr": rate}, "monitor": monitor}
        write_run(tmp_path, f"e{i}", METRICS, **options)
        write_run(tmp_path, f"d{i}", METRICS, weighting="dwa", **options)
        for j, weight in enumerate((2, 3)):
            fixed = {"optimizer.lr": rate, "weighting.weights.a": weight}
            write_run(
                tmp_path, f"f{i}{j}", METRICS, overrides=fixed, monitor=monitor - weight / 100
            )
    write_run(tmp_path, "alone", METRICS, weighting="dwa", overrides={"optimizer.lr": 1.0})
    data = dataset_in(tmp_path)
    assert data.has_several_settings
    for s in data.of_role("strategy", "fixed", "equal"):
        rate = s.name.rsplit("lr=", 1)[1].split(",")[0]
        equal, fixed = data.equal_for(s), data.best_fixed_for(s)
        if rate == "1.0":
            assert (equal, fixed) == (None, None)
            continue
        assert equal is not None
        assert fixed is not None
        assert (equal.role, f"lr={rate}" in equal.name) == ("equal", True)
        assert (fixed.role, f"lr={rate}" in fixed.name, "a=3" in fixed.name) == (
            "fixed",
            True,
            True,
        )


def test_one_baseline_is_that_of_every_setting(tmp_path: Path) -> None:
    """Breaks if a strategy at another learning rate than the only equal weights has no baseline."""
    write_run(tmp_path, "e", METRICS, overrides={"optimizer.lr": 0.1})
    for rate in (0.1, 0.01):
        options = {"weighting": "dwa", "overrides": {"optimizer.lr": rate}}
        write_run(tmp_path, f"d{rate}", METRICS, **options)
    data = dataset_in(tmp_path)
    baselines = [data.equal_for(s) for s in data.of_role("strategy")]
    assert [baseline and baseline.role for baseline in baselines] == ["equal", "equal"]


def test_a_default_of_a_group_is_the_same_setting_as_its_name(tmp_path: Path) -> None:
    """Breaks if equal weights count as another setting because an option was typed out."""
    for name, overrides in (("e", {}), ("f", {"model": "mlp"})):
        options = {"overrides": overrides, "choices": {"model": "mlp"}}
        write_run(tmp_path, name, METRICS, **options)
        weighting = {"overrides": {**overrides, "update": "per_task"}}
        choices = {"choices": {"model": "mlp", "update": "per_task"}}
        write_run(tmp_path, f"{name}u", METRICS, seed=1, **weighting, **choices)
    data = dataset_in(tmp_path)
    assert not data.has_several_settings
    assert {s.settings for s in data.strategies} == {(("model", "mlp"),)}


def test_a_study_has_one_baseline_whatever_was_tuned(tmp_path: Path) -> None:
    """Breaks if a study's strategies, tuned each for itself, are compared with no equal weights."""
    study = tmp_path / "study"
    write_run(study, "e", METRICS, overrides={"optimizer.lr": 0.1})
    write_run(study, "d", METRICS, weighting="dwa", overrides={"optimizer.lr": 0.01})
    write_study(study, {"e": {"strategy": "equal", "role": "equal"}, "d": {"strategy": "dwa"}})
    write_run(tmp_path / "sweep", "x", METRICS, overrides={"optimizer.lr": 0.5})
    data = dataset_in(tmp_path)
    assert data.has_several_settings
    equal = data.equal_for(data.by_name["dwa"])
    assert equal is not None
    assert equal.name == "equal"


@pytest.mark.parametrize(("failed", "reference"), [(0, True), (2, True), (3, False), (10, False)])
def test_a_reference_needs_a_share_of_finished_runs(failed: int, reference: bool) -> None:
    """Breaks if weights that diverge in most runs are judged by their survivors."""
    fixed = strategy("f", "fixed", -9, seeds=10, failed=range(failed))
    assert fixed.is_reference == reference
    data = data_of(strategy("equal", "equal", seeds=10), fixed, s := strategy("s", "strategy"))
    best = data.best_fixed_for(s)
    assert (best.name if best else None) == ("f" if reference else None)


def test_nothing_finished_is_no_evidence_and_no_crash(tmp_path: Path) -> None:
    """Breaks if a sweep of which everything failed crashes the report of its failures."""
    write_run(tmp_path, "0", METRICS, status="failed")
    data = dataset_in(tmp_path)
    (equal,) = data.strategies
    assert (data.tasks, data.single_task) == ({}, {})
    assert (data.equal_for(equal), data.best_fixed_for(equal)) == (None, None)


def write_given_up_study(folder: Path, *statuses: str, monitor: float | None = None) -> None:
    """Write a final run of equal weights, and trials of gradnorm that ended with these statuses."""
    write_run(folder, "e", METRICS)
    jobs: dict[str, dict[str, Any]] = {"e": {"strategy": "equal", "role": "equal"}}
    for i, status in enumerate(statuses):
        rate = 10.0**-i
        write_run(
            folder,
            f"{i}_g",
            METRICS,
            weighting="gradnorm",
            status=status,
            overrides={"optimizer.lr": rate},
            monitor=monitor,
        )
        jobs[f"{i}_g"] = {"strategy": "gradnorm", "phase": 1, "final": False, "lr": rate}
    write_study(folder, jobs)


def test_a_strategy_of_which_every_trial_failed_stays(tmp_path: Path) -> None:
    """Breaks if a method that never trains disappears from the study that tried it."""
    write_given_up_study(tmp_path, "failed", "failed", "finished", "running")
    gradnorm = dataset_in(tmp_path).strategies[-1]
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
    write_given_up_study(tmp_path, "failed", "finished", monitor=0.5)
    assert [s.name for s in dataset_in(tmp_path).strategies] == ["equal"]


def test_the_grid_is_that_of_the_first_phase(tmp_path: Path) -> None:
    """Breaks if refined learning rates count as the regular grid."""
    jobs: dict[str, dict[str, Any]] = {"f": {"strategy": "dwa"}}
    write_run(tmp_path, "f", METRICS, weighting="dwa")
    for i, (rate, phase) in enumerate([(0.1, 1), (0.01, 1), (0.03, 3)]):
        write_run(tmp_path, str(i), METRICS, weighting="dwa", overrides={"optimizer.lr": rate})
        jobs[str(i)] = {"strategy": "dwa", "final": False, "phase": phase, "lr": rate}
    write_study(tmp_path, jobs)
    (dwa,) = dataset_in(tmp_path).strategies
    assert dwa.grid == (0.01, 0.1)
    assert list(dwa.tuning) == [0.01, 0.03, 0.1]
