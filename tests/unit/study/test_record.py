"""The record of a study: which directory is which run, and what is read from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import write_json
from mtl_runner.study import Candidate, PlannedRun
from mtl_runner.study.record import StudyRecord

DWA = Candidate("dwa", "strategy", ("weighting=dwa",))
SINGLE = Candidate("single_task", "single_task", ("weighting=single_task",))


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    """The record of a study that has run nothing."""
    return StudyRecord(tmp_path, margin=0.05)


def returned(folder: Path, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    """Return what a launcher returns for a run in this folder."""
    hydra: Any = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
    return JobReturn(hydra_cfg=hydra, status=status)


def finish(
    record: StudyRecord, run: PlannedRun, summary: Mapping[str, Any], metrics: str = ""
) -> JobReturn:
    """Make a round of one run that leaves these files."""
    folder = record.directory / f"{record.count}_run_seed{run.seed}"
    folder.mkdir()
    write_json(folder / "summary.json", dict(summary))
    (folder / "metrics.csv").write_text(metrics)
    record.begin_round([run], (0, 0))
    job = returned(folder)
    record.end_round([run], [job])
    return job


def test_every_run_is_named_with_its_settings(record: StudyRecord) -> None:
    """Breaks if a report takes a run for another role, learning rate or seed than it has."""
    finish(record, PlannedRun(DWA, 0.01, 1, 0), {})
    twin = Candidate("dwa frozen", "twin", ("weighting=fixed",), twin_of="dwa")
    finish(record, PlannedRun(twin, 0.02, 5, 3, final=True), {})
    record.write(["A note."])
    study = json.loads((record.directory / "study.json").read_text())
    assert (study["version"], study["margin"], study["notes"]) == (1, 0.05, ["A note."])
    assert study["jobs"] == {
        "0_run_seed0": {
            **{"phase": 1, "strategy": "dwa", "role": "strategy", "of": ""},
            **{"final": False, "lr": 0.01, "seed": 0},
        },
        "1_run_seed3": {
            **{"phase": 5, "strategy": "dwa frozen", "role": "twin", "of": "dwa"},
            **{"final": True, "lr": 0.02, "seed": 3},
        },
    }


def test_a_stopped_round_is_known_by_the_numbers_of_its_folders(
    record: StudyRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if Ctrl-C costs study.json the runs that were not over, or counts none for one."""
    runs = [PlannedRun(DWA, 0.01, 1, seed) for seed in range(3)]
    (record.directory / "0_a").mkdir()
    (record.directory / "1_b").mkdir()
    record.begin_round(runs, (4, 6), pace=20)
    assert capsys.readouterr().out == (
        "study: tuning (learning rates), 3 runs; 4 to 6 more after them; at most about 3 min left\n"
    )
    record.end_round(runs, [returned(record.directory / "0_a")])
    assert [name for _, name in record.runs] == ["0_a", "1_b"]
    assert record.count == 3


def test_a_stopped_round_is_known_by_the_folders_of_its_launcher(record: StudyRecord) -> None:
    """Breaks if a grown study that is stopped takes an older run for one of its own."""
    runs = [PlannedRun(DWA, 0.01, 1, seed) for seed in range(3)]
    for name in ("0_a", "7_b", "1_other"):
        (record.directory / name).mkdir()
    record.begin_round(runs, (0, 0))
    record.end_round(runs, [], {0: "0_a", 1: "7_b", 2: "8_not_begun"})
    assert [name for _, name in record.runs] == ["0_a", "7_b"]


def test_runs_of_a_smaller_study_are_named(record: StudyRecord) -> None:
    """Breaks if twins at other weights are compared with those of the study that has grown."""
    for name in ("0_run_seed1", "7_left", "notes"):
        (record.directory / name / ".hydra").mkdir(parents=True)
    for name in ("0_run_seed1", "7_left"):
        (record.directory / name / ".hydra" / "config.yaml").write_text("seed: 0\n")
    record.begin_round([PlannedRun(DWA, 0.1, 1, 1)], (0, 0))
    record.end_round([PlannedRun(DWA, 0.1, 1, 1)], [returned(record.directory / "0_run_seed1")])
    record.write([])
    study = json.loads((record.directory / "study.json").read_text())
    assert study["unused"] == ["7_left"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('{"seconds_per_run": 2.5}', 2.5), ('{"seconds_per_run": "x"}', math.nan), ("", math.nan)],
)
def test_what_a_run_took_is_kept(record: StudyRecord, text: str, seconds: float) -> None:
    """Breaks if a study that goes on turns its minutes into another number of runs."""
    (record.directory / "study.json").write_text(text)
    record.read_pace()
    assert record.seconds_per_run == pytest.approx(seconds, nan_ok=True)


def test_a_candidate_that_was_refused_everywhere_has_a_reason(record: StudyRecord) -> None:
    """Breaks if a method that cannot run here is tuned to the end, or a diverging one is not."""
    reason = "krum needs at least 3 tasks; found 2."
    finish(record, PlannedRun(DWA, 0.1, 1, 0), {"refused": True, "reason": reason})
    assert record.refusal(DWA) == reason
    assert record.refusal(SINGLE) == ""
    finish(record, PlannedRun(DWA, 0.2, 1, 0), {"status": "failed", "reason": "diverged"})
    assert record.refusal(DWA) == ""


@pytest.mark.parametrize(
    ("judge", "monitor"), [({}, 0.5), ({"judge": "final"}, 0.5), ({"judge": "best"}, 0.25)]
)
def test_the_monitor_is_that_of_the_epoch_that_is_judged(
    record: StudyRecord, judge: dict[str, str], monitor: float
) -> None:
    """Breaks if a strategy is chosen by an epoch at which the final runs are not judged."""
    run = PlannedRun(DWA, 0.01, 1, 0)
    job = finish(record, run, {"monitor": {"final": 0.5, "best": 0.25}, **judge})
    assert record.monitor(run, job) == monitor
    assert record.monitor(run, returned(record.directory, JobStatus.FAILED)) == math.inf


@pytest.mark.parametrize(
    "summary", [{}, *({"monitor": monitor} for monitor in ({"final": None}, {"final": "x"}, [1]))]
)
def test_a_run_without_a_monitor_is_the_worst(record: StudyRecord, summary: dict[str, Any]) -> None:
    """Breaks if a run that diverged, or left no whole summary, wins or stops the study."""
    run = PlannedRun(DWA, 0.01, 1, 0)
    assert record.monitor(run, finish(record, run, summary)) == math.inf


def test_the_runs_of_groups_are_told_apart(record: StudyRecord) -> None:
    """Breaks if the weights, the failures or the rates of one optimizer decide for another one."""
    adam, sgd = (replace(SINGLE, group=(("optimizer", name),)) for name in ("adam", "sgd"))
    for candidate, lr in ((adam, 0.1), (sgd, 1.0)):
        notes = [f"{candidate.group[0][1]} is slow."]
        record.begin_group(candidate.group, notes)
        tasks = {"a": {"final": {"val": {"loss": 0.5}}}}
        finish(record, PlannedRun(candidate, lr, 1, 0), {"tasks": tasks})
    assert record.settings_per_task(adam) == [(0.1, ())]
    assert record.settings_per_task(sgd) == [(1.0, ())]
    record.write()
    content = json.loads((record.directory / "study.json").read_text())
    assert [job["factors"] for job in content["jobs"].values()] == [
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
    ]
    assert content["notes"] == []
    assert content["group_notes"] == {
        "optimizer=adam": ["adam is slow."],
        "optimizer=sgd": ["sgd is slow."],
    }


@pytest.mark.parametrize("judge", ["final", "best"])
def test_every_task_chooses_its_learning_rate(record: StudyRecord, judge: str) -> None:
    """Breaks if a task's baseline is held back by what another task needs."""
    losses = {0.1: (3.0, 1.0), 0.01: (1.0, 2.0), 0.001: (2.0, 3.0)}
    for lr, (first, second) in losses.items():
        tasks = {
            "a": {judge: {"val": {"loss": 0.0, "relative_loss": first}}},
            "b": {judge: {"val": {"loss": second}}},
        }
        finish(record, PlannedRun(SINGLE, lr, 1, 0), {"tasks": tasks, "judge": judge})
    assert record.settings_per_task(SINGLE) == [(0.01, ()), (0.1, ())]
    assert record.settings_per_task(DWA) == []


def test_a_task_chooses_its_rate_by_the_mean_over_the_tuning_seeds(record: StudyRecord) -> None:
    """Breaks if one lucky seed chooses a task's rate, or a rate at which a seed has no loss."""
    losses = {0.1: (0.1, 3.0), 0.01: (1.0, 1.2), 0.001: (0.5, math.nan)}
    for lr, of_seeds in losses.items():
        for seed, loss in zip((0, 1000), of_seeds, strict=True):
            tasks = {"a": {"final": {"val": {"loss": loss}}}}
            finish(record, PlannedRun(SINGLE, lr, 1, seed), {"tasks": tasks})
    assert record.settings_per_task(SINGLE) == [(0.01, ())]


@pytest.mark.parametrize(
    "damaged",
    [
        *({"tasks": tasks} for tasks in (None, [1], {"a": 1}, {"a": {}}, {"a": {"final": [1]}})),
        *({"tasks": {"a": {"final": {"val": val}}}} for val in (None, {}, {"loss": "x"}, [1])),
    ],
    ids=str,
)
def test_a_damaged_summary_costs_its_own_learning_rate(
    record: StudyRecord, damaged: dict[str, Any]
) -> None:
    """Breaks if one odd file stops a study of hours with an error of Python."""
    finish(record, PlannedRun(SINGLE, 0.1, 1, 0), damaged)
    undamaged = {"tasks": {"a": {"final": {"val": {"loss": 1.0}}}}}
    finish(record, PlannedRun(SINGLE, 0.01, 1, 0), undamaged)
    assert record.settings_per_task(SINGLE) == [(0.01, ())]


def test_a_summary_of_a_newer_version_stops_the_study_in_a_sentence(record: StudyRecord) -> None:
    """Breaks if a resumed study goes on without the runs that a newer version has finished."""
    run = PlannedRun(SINGLE, 0.1, 1, 0)
    job = finish(record, run, {"format": 2})
    for read in (lambda: record.settings_per_task(SINGLE), lambda: record.monitor(run, job)):
        with pytest.raises(
            RunDirectoryError,
            match=r"summary\.json' cannot be used: it was written by a newer mtl-runner \(format 2; this one reads up to 1\); update mtl-runner to read it\.$",
        ):
            read()


def metrics(*weights: tuple[float, float]) -> str:
    """Return a metrics.csv with the train weights of two tasks, a row per epoch and task."""
    rows = ["epoch,split,task,weight"]
    for epoch, (first, second) in enumerate(weights, 1):
        rows += [f"{epoch},train,a,{first}", f"{epoch},train,b,{second}"]
        rows += [f"{epoch},train,total,", f"{epoch},val,a,99"]
    return "\n".join(rows) + "\n"


def test_average_weights_are_over_epochs_and_seeds_of_the_final_runs(record: StudyRecord) -> None:
    """Breaks if the frozen twin stands at the weights of the tuning, or of one epoch."""
    finish(record, PlannedRun(DWA, 0.1, 1, 0), {}, metrics((50, 50)))
    finish(record, PlannedRun(DWA, 0.1, 4, 1, final=True), {}, metrics((1, 3), (2, 4)))
    finish(record, PlannedRun(DWA, 0.1, 4, 2, final=True), {}, metrics((3, 5), (4, 6)))
    assert record.average_weights(DWA) == {"a": 2.5, "b": 4.5}


@pytest.mark.parametrize("weights", [(1.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.0, 0.0)])
def test_a_strategy_without_weights_to_freeze_has_none(
    record: StudyRecord, weights: tuple[float, float]
) -> None:
    """Breaks if a twin of equal or impossible weights is trained."""
    finish(record, PlannedRun(DWA, 0.1, 4, 1, final=True), {}, metrics(weights))
    assert record.average_weights(DWA) is None


@pytest.mark.parametrize("text", ["", "\0", "a;b\n1;2\n", "epoch,split,task,weight\n1,train,a,x\n"])
def test_damaged_metrics_are_left_out(record: StudyRecord, text: str) -> None:
    """Breaks if one odd file stops a study of hours with an error of Python."""
    finish(record, PlannedRun(DWA, 0.1, 4, 1, final=True), {}, metrics((1, 3)))
    finish(record, PlannedRun(DWA, 0.1, 4, 2, final=True), {}, text)
    assert record.average_weights(DWA) == {"a": 1.0, "b": 3.0}


def test_final_runs_without_metrics_are_left_out(record: StudyRecord) -> None:
    """Breaks if one lost file stops the study before its twins."""
    finish(record, PlannedRun(DWA, 0.1, 4, 1, final=True), {}, metrics((1, 3)))
    finish(record, PlannedRun(DWA, 0.1, 4, 2, final=True), {}, metrics((3, 5)))
    (record.directory / "1_run_seed2" / "metrics.csv").unlink()
    assert record.average_weights(DWA) == {"a": 1.0, "b": 3.0}
