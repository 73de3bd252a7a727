"""The trackers of a run get every evaluation once, whatever becomes of the run and of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.runs.records import TRACKERS
from mtl_runner.runs.runner import run
from mtl_runner.runs.trackers.session import Trackers, catch_up, make_tracker
from tests.support.commands import Command
from tests.support.tracked_runs import (
    DIARY,
    KILLED_AT,
    OPTIONS,
    RUN,
    curves,
    killed_and_resumed,
    numbers_of_test,
)
from tests.unit.runs.small_runs import tiny_request

WITH_DIARY = "+tracker.mine._target_=diary.Diary"


def diary_of(folder: Path) -> list[tuple[str, int, Any]]:
    """Return what a diary holds: events, steps, and what the tracker was told."""
    lines = (folder / "diary.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines]


@pytest.mark.long
def test_trackers_get_what_metrics_csv_gets_once_across_a_kill(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a killed and resumed run has a step twice in a record, or lacks one."""
    folder = killed_and_resumed(mtl, tmp_path)
    diary = diary_of(folder)
    logged = [(step, values) for event, step, values in diary if event == "log"]
    assert [step for step, _ in logged] == [5, 10, 15, 20, 25, 30]
    assert [values["epoch"] for _, values in logged] == [1, 2, 3, 4, 5, 6]
    for name, points in curves(folder).items():
        assert [(step, values[name]) for step, values in logged] == points
    begun = [(step, text) for event, step, text in diary if event == "start"]
    assert [step for step, _ in begun] == [0, KILLED_AT]
    assert begun[0][1] == begun[1][1], "the id of the run"
    status, values, pictures = diary[-1][2]
    assert (diary[-1][0], status) == ("end", "finished")
    assert values == numbers_of_test(folder)
    assert "losses.png" in pictures


@pytest.mark.long
def test_trackers_change_nothing(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run with a tracker, which may draw random numbers, is another run."""
    (tmp_path / "diary.py").write_text(
        DIARY.replace("return super()", "import random; random.seed(); return super()")
    )
    for name, options in (("with", [WITH_DIARY]), ("without", [])):
        result = mtl("mtl-run", *OPTIONS, "record.plots=none", *options, f"hydra.run.dir={name}")
        assert result.code == 0, result.err
    with_it, without = (
        (tmp_path / name / "metrics.csv").read_bytes() for name in ("with", "without")
    )
    assert with_it == without
    assert not (tmp_path / "without" / TRACKERS).exists()


def test_a_tracker_that_fails_is_left_out_with_one_warning(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a server that is away ends a run, or fills its log."""
    (tmp_path / "diary.py").write_text(DIARY)
    failing = (WITH_DIARY, "+tracker.mine.fail_at=10")
    result = mtl("mtl-run", *OPTIONS, "record.plots=none", *failing, f"hydra.run.dir={RUN}")
    assert result.code == 0, result.err
    warning = "The tracker mine failed and is left out from here on (ConnectionError: the server is away); the run is not affected."
    assert result.out.count("The tracker mine failed") == 1
    assert warning in result.out
    diary = diary_of(tmp_path / RUN)
    assert [event for event, _, _ in diary] == ["start", "log"]


@pytest.mark.long
def test_all_runs_of_a_stack_have_their_own_record(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a stack's runs share a record, or have none."""
    (tmp_path / "diary.py").write_text(DIARY)
    stack = ("-m", "hydra/launcher=stacked", "seed=0,1", "hydra.sweep.dir=sweep")
    result = mtl("mtl-run", *OPTIONS, "record.plots=none", WITH_DIARY, *stack)
    assert result.code == 0, result.err
    assert "by itself" not in result.out
    identities = set()
    for folder in sorted((tmp_path / "sweep").glob("*/")):
        diary = diary_of(folder)
        assert [step for event, step, _ in diary if event == "log"] == [5, 10, 15, 20, 25, 30]
        assert diary[-1][2][0] == "finished"
        loss = "val/y1/loss"
        assert [v[loss] for e, _, v in diary if e == "log"] == [v for _, v in curves(folder)[loss]]
        identities.add(diary[0][2])
    assert len(identities) == 2


def test_a_run_that_fails_says_so_to_its_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a record stays open for ever when its run has failed."""
    (tmp_path / "diary.py").write_text(DIARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    request = tiny_request(tmp_path / RUN, WITH_DIARY, "optimizer.lr=1e30", "trainer.epochs=9")
    assert run(request).error
    diary = diary_of(tmp_path / RUN)
    assert diary[-1][2] == ["failed", {}, []]


def test_a_record_that_was_not_ended_is_ended_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a run that was killed after its last step stays "running" in its trackers."""
    (tmp_path / "diary.py").write_text(DIARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    request = tiny_request(tmp_path / RUN, WITH_DIARY)
    assert not run(request).error
    note = tmp_path / RUN / TRACKERS
    catch_up(request)
    assert [event for event, _, _ in diary_of(tmp_path / RUN)] == ["start", "log", "end"]
    note.write_text(note.read_text().replace('"ended": true', '"ended": false'))
    assert not run(request).error
    events = [event for event, _, _ in diary_of(tmp_path / RUN)]
    assert events == ["start", "log", "end", "start", "end"]


def test_what_is_no_tracker_is_refused(tmp_path: Path) -> None:
    """Breaks if a mistake in the config of a tracker is found after the training."""
    request = tiny_request(tmp_path / RUN, "+tracker.mine._target_=torch.nn.ReLU")
    with pytest.raises(ConfigError, match=r"tracker.mine._target_ made a ReLU; it must make a mtl"):
        Trackers(request)
    with pytest.raises(ConfigError, match=r"tracker.mine needs a `_target_`"):
        make_tracker({}, "tracker.mine")
    request.config.tracker = "tensorboard"
    with pytest.raises(ConfigError, match="a run that is resumed by resume= keeps the trackers"):
        Trackers(request)
    request.config.tracker = {"_target_": "torch.nn.ReLU"}
    with pytest.raises(ConfigError, match=r"tracker._target_ made a ReLU"):
        Trackers(request)


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_package_that_is_missing_is_named_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """Breaks if a missing package is a traceback, or found when the run is over."""
    monkeypatch.setitem(__import__("sys").modules, package, None)
    for name in (
        "MLFLOW_DISABLE_TELEMETRY",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "WANDB_ERROR_REPORTING",
        "DO_NOT_TRACK",
    ):
        monkeypatch.setenv(name, "1")
    outcome = run(tiny_request(tmp_path / RUN, f"tracker={package}"))
    assert outcome.error == (
        f"tracker={package} needs {package}, which is not installed; install it with: pip install 'mtl-runner[{package}]'."
    )
    assert not (tmp_path / RUN / "metrics.csv").exists()
