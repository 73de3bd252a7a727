"""The process of one run of a sweep: what it is told, and that it does not outlive its launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtl_runner.runs.process import command_of, environment_of, label_of_process


def test_the_command_resumes_the_run_with_this_python() -> None:
    """Breaks if a worker needs more than the directory of its run, or another Python runs it."""
    assert command_of(Path("a b")) == [sys.executable, "-m", "mtl_runner", "resume=a b"]


@pytest.mark.parametrize("users", ["", "1"])
def test_a_worker_shows_tracebacks_if_the_user_wants_them(
    monkeypatch: pytest.MonkeyPatch, users: str
) -> None:
    """Breaks if a failed run ends in a traceback because the command has set Hydra's variable."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv("MTL_RUNNER_FULL_ERROR", raising=False)
    if users:
        monkeypatch.setenv("MTL_RUNNER_FULL_ERROR", users)
    environment = environment_of("3")
    assert environment["HYDRA_FULL_ERROR"] == users
    assert "MTL_RUNNER_FULL_ERROR" not in environment


def test_a_run_that_was_started_by_hand_has_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a single run takes itself for a job of a sweep."""
    monkeypatch.delenv("MTL_RUNNER_JOB", raising=False)
    monkeypatch.delenv("MTL_RUNNER_LAUNCHER", raising=False)
    assert label_of_process() == ""


def test_programs_that_a_run_starts_are_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a run's own subprocesses take its label over."""
    monkeypatch.setenv("MTL_RUNNER_JOB", "3: seed=1")
    monkeypatch.setenv("MTL_RUNNER_LAUNCHER", "")
    assert label_of_process() == "3: seed=1"
    assert "MTL_RUNNER_JOB" not in os.environ


def test_a_worker_ends_with_its_launcher(tmp_path: Path) -> None:
    """Breaks if runs go on, unseen, after their launcher was killed."""
    worker = (
        "import os, pathlib, time; from mtl_runner.runs.process import label_of_process; label_of_process(); "
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    launcher = (
        "import subprocess, sys; from mtl_runner.runs.process import environment_of; "
        f"subprocess.Popen([sys.executable, '-c', {worker!r}], env=environment_of('1')).wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", launcher])
    deadline = time.monotonic() + 30
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    pid = int((tmp_path / "pid").read_text())
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    # Nobody may fetch the exit status of an orphan in a container.
    return not (status.exists() and "State:\tZ" in status.read_text())
