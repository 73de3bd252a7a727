"""One run: how it ends when all is well, when it fails and when it is stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.runner import run
from mtl_runner.train.trainer import Trainer
from tests.unit.runs.small_runs import tiny_request


def status(directory: Path) -> str:
    """Return the status that a run directory records."""
    return str(json.loads((directory / "summary.json").read_text())["status"])


def test_a_run_ends_with_its_monitor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if a sweep cannot compare its runs, or a user does not see where the results are."""
    outcome = run(tiny_request(tmp_path))
    assert (outcome.error, outcome.exit_code, outcome.interrupted) == ("", 0, False)
    assert math.isfinite(outcome.monitor)
    assert status(tmp_path) == "finished"
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path)
    assert run(tiny_request(tmp_path)) == outcome, "a finished run is read, not trained again"


def test_a_failure_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if one failing run stops a sweep, or its exception is lost to Python's callers."""
    monkeypatch.setattr(Trainer, "run", lambda trainer: 1 / 0)
    outcome = run(tiny_request(tmp_path))
    assert outcome.exit_code == 1
    assert outcome.error.startswith("ZeroDivisionError: division by zero")
    assert isinstance(outcome.cause, ZeroDivisionError)
    assert status(tmp_path) == "failed"
    assert "Traceback" in (tmp_path / "run.log").read_text()


def test_a_developer_gets_the_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if HYDRA_FULL_ERROR=1 does not show where an error comes from."""
    monkeypatch.setenv("MTL_RUNNER_FULL_ERROR", "1")
    monkeypatch.setattr(Trainer, "run", lambda trainer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tiny_request(tmp_path))
    assert status(tmp_path) == "failed"


def test_a_second_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the sentence names a checkpoint that is not there."""

    def stop(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", stop)
    outcome = run(tiny_request(tmp_path))
    assert (outcome.exit_code, outcome.interrupted) == (130, True)
    assert outcome.error.endswith(f"mtl-run repeat={tmp_path}")
    assert status(tmp_path) == "interrupted"


def test_a_directory_with_another_run_is_refused(tmp_path: Path) -> None:
    """Breaks if a run overwrites another one, or this is taken for a failure of the run."""
    run(tiny_request(tmp_path))
    with pytest.raises(RunDirectoryError, match="seed is 0 there and 1 here"):
        run(tiny_request(tmp_path, "seed=1"))
    assert status(tmp_path) == "finished"
