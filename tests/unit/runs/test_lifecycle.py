"""The beginning and the end of a run: its status on disk and its pictures."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path

import pytest

from mtl_runner.errors import ConfigError, DataError, DivergedError, RunDirectoryError
from mtl_runner.results.records.run import read_run
from mtl_runner.results.records.summary import check_summary
from mtl_runner.runs.lifecycle import (
    begin,
    display_path,
    draw_again,
    outcome_if_finished,
    record_failure,
    write_status,
)
from mtl_runner.runs.predictor import load
from mtl_runner.runs.runner import run
from mtl_runner.train.checkpoint import FILES
from mtl_runner.train.interruption import Interrupted
from tests.unit.runs.small_runs import tiny_request


def test_a_path_is_shown_as_short_as_it_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the sentence `mtl-run resume=...` cannot be pasted, or is longer than needed."""
    monkeypatch.chdir(tmp_path)
    assert display_path(tmp_path / "outputs" / "run") == "outputs/run"
    assert display_path(tmp_path.parent / "run") == str(tmp_path.parent / "run")


def test_a_failure_leaves_its_sentence(tmp_path: Path) -> None:
    """Breaks if a table of runs cannot say why one failed."""
    request = tiny_request(tmp_path)
    outcome = record_failure(DataError("The file is empty."), request)
    assert (outcome.error, outcome.exit_code) == ("The file is empty.", 1)
    assert math.isnan(outcome.monitor)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["reason"]) == ("failed", "The file is empty.")


def test_a_seed_that_is_refused_is_told_by_the_reason_alone(tmp_path: Path) -> None:
    """Breaks if the record of a run with a wrong seed does not keep its own format."""
    request = tiny_request(tmp_path, "seed=0..3")
    record_failure(ConfigError("No."), request)
    summary = json.loads((tmp_path / "summary.json").read_text())
    check_summary(summary)
    assert (summary["seed"], summary["overrides"]) == (None, ["seed=0..3"])


@pytest.mark.parametrize(
    ("error", "refused"), [(ConfigError("No."), True), (DivergedError("No."), False)]
)
def test_a_refusal_is_told_from_a_failure(tmp_path: Path, error: Exception, refused: bool) -> None:
    """Breaks if options that do not fit the problem count against the strategy."""
    request = tiny_request(tmp_path)
    record_failure(error, request)
    assert read_run(request.directory).refused is refused


def test_a_failure_is_worded_even_if_it_cannot_be_written(tmp_path: Path) -> None:
    """Breaks if a full disk hides why a run failed."""
    outcome = record_failure(DataError("No."), tiny_request(tmp_path / "does" / "not" / "exist"))
    assert outcome.error == "No."


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_only_a_finished_run_has_an_outcome(tmp_path: Path, status: str) -> None:
    """Breaks if a run that stopped early is taken for a finished one."""
    request = tiny_request(tmp_path)
    assert outcome_if_finished(request) is None
    write_status(request, status)
    assert outcome_if_finished(request) is None


@pytest.mark.parametrize(
    ("judge", "recorded", "expected"),
    [("best", 0.25, 0.25), ("final", 0.25, 0.5), (None, 0.25, 0.5), ("best", None, math.nan)],
)
def test_a_finished_run_has_its_recorded_monitor(
    tmp_path: Path, judge: str | None, recorded: float | None, expected: float
) -> None:
    """Breaks if a resumed sweep judges a finished run anew, or fails on an infinite monitor."""
    monitor = {"name": "relative_loss", "best": recorded, "final": 0.5}
    summary = {
        "status": "finished",
        "epochs": 1,
        "tasks": {"a": {}},
        "time": {},
        "monitor": monitor,
    }
    summary |= {"judge": judge} if judge else {}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    outcome = outcome_if_finished(tiny_request(tmp_path))
    assert outcome is not None
    assert outcome.monitor == pytest.approx(expected, nan_ok=True)


def test_a_run_that_begins_is_marked_as_running(tmp_path: Path) -> None:
    """Breaks if a killed run looks finished, or as if it had never begun."""
    begin(tiny_request(tmp_path))
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "running"


def test_drawing_again_adds_pictures_and_changes_nothing_else(tmp_path: Path) -> None:
    """Breaks if the pictures of a sweep's best run cost it rows of its metrics.csv."""
    assert run(tiny_request(tmp_path, "trainer.epochs=3")).error == ""
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    draw_again(tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "losses.png").exists()


@pytest.mark.parametrize(
    ("checkpoints", "missing", "it"),
    [
        ("last", ["best.pt"], "it"),
        ("best", ["checkpoint.pt"], "it"),
        ("none", ["checkpoint.pt", "best.pt"], "them"),
    ],
)
def test_a_finished_run_keeps_what_it_was_asked_to_keep(
    tmp_path: Path,
    checkpoints: str,
    missing: list[str],
    it: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Breaks if 446 runs leave 80 GB, or nobody is told what was not kept and how to get it."""
    request = tiny_request(tmp_path, f"record.checkpoints={checkpoints}")
    assert run(request).error == ""
    assert f"(record.checkpoints={checkpoints})." in capsys.readouterr().out
    left = {path.name for path in tmp_path.iterdir()}
    assert left.intersection(FILES) == set(FILES).difference(missing)
    sentence = (
        f"'{tmp_path}' has finished and kept no {' and no '.join(missing)} (record.checkpoints={checkpoints}); "
        f"to have {it}, train anew with mtl-run repeat={tmp_path} record.checkpoints=both."
    )
    # A kill after the end of the run may have left them.
    (tmp_path / missing[0]).touch()
    assert run(request).error == ""
    assert sentence in capsys.readouterr().out.splitlines()
    assert not (tmp_path / missing[0]).exists()
    if "best.pt" in missing:
        single = sentence.replace("no checkpoint.pt and ", "").replace("have them", "have it")
        with pytest.raises(RunDirectoryError, match=f"^{re.escape(single)}$"):
            load(tmp_path)
    else:
        assert load(tmp_path).tasks


def test_a_run_that_has_not_finished_keeps_all(tmp_path: Path) -> None:
    """Breaks if an interrupted run that is to keep nothing begins again from the start."""
    request = tiny_request(tmp_path, "record.checkpoints=none", "trainer.epochs=3")
    trainer = begin(request)
    trainer.on_epoch = lambda epoch, loss: setattr(trainer, "stop", epoch == 2)
    with pytest.raises(Interrupted):
        trainer.run()
    assert set(FILES) <= {path.name for path in tmp_path.iterdir()}
    trainer = begin(request)
    assert (trainer.resumed, trainer.epoch) == (True, 2)


@pytest.mark.parametrize("obstacle", ["losses.png", "weights.png"])
def test_a_picture_that_cannot_be_drawn_costs_a_warning_alone(
    tmp_path: Path, obstacle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a run that trained to its end fails for ever over one of its pictures."""
    (tmp_path / obstacle).mkdir()  # no file can take its place
    outcome = run(tiny_request(tmp_path, "record.plots=all"))
    assert (outcome.error, outcome.exit_code) == ("", 0)
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "finished"
    lines = [line for line in capsys.readouterr().out.splitlines() if "pictures" in line]
    assert len(lines) == 1
    assert lines[0].startswith("The run is complete, but not its pictures: ")
    assert "Traceback" in (tmp_path / "run.log").read_text()


def test_drawing_again_never_fails_a_sweep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the comparison of a sweep is not shown over the pictures of its best run."""
    logger = logging.getLogger("mtl_runner")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    draw_again(tmp_path)  # there is no checkpoint
    logger.removeHandler(caplog.handler)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("The run is complete, but not its pictures: ")
