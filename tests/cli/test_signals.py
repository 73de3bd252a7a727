"""Signals by which schedulers and terminals end a command: it saves, says so, and goes on later."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import Command, send
from tests.support.run_files import read_summary, reproducible_files, run_folders, statuses

# Two epochs of some seconds each, so that a signal arrives inside one.
LONG = (
    "data=toy_regression",
    "model.hidden=[16]",
    "data.batch_size=1",
    "data.n=6000",
    "trainer.epochs=2",
    "record.plots=none",
)
# A dataset that a signal reaches while it is read.
SIGNALLED = """
import os, signal
from mtl_runner.data import ToyRegression
class Signalled(ToyRegression):
    def __init__(self, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        super().__init__(**options)
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("SIGTERM", 143, marks=pytest.mark.long),
        pytest.param("SIGHUP", 129, marks=pytest.mark.long),
        pytest.param("SIGUSR1", 138, marks=pytest.mark.long),
    ],
)
def test_a_run_saves_inside_its_epoch_and_goes_on_to_the_same_bytes(
    mtl: Command, tmp_path: Path, name: str, code: int
) -> None:
    """Breaks if a job that Slurm preempts loses its epoch, or leaves no word and no status."""
    assert mtl("mtl-run", *LONG, "hydra.run.dir=undisturbed").code == 0
    log = tmp_path / "stopped" / "run.log"

    def trains() -> bool:
        is_begun = log.exists() and "epochs of" in log.read_text()
        return is_begun and time.time() - log.stat().st_mtime > 0.3

    stopped = mtl(
        "mtl-run",
        *LONG,
        "hydra.run.dir=stopped",
        meanwhile=send(signal.Signals[name], trains),
    )
    assert (stopped.code, stopped.last_line) == (
        code,
        f"Stopped by {name}; go on with: mtl-run resume=stopped",
    )
    assert f"{name}: stopping after this step." in stopped.out
    summary = read_summary(tmp_path / "stopped")
    assert (summary["status"], summary["reason"]) == ("interrupted", f"stopped by {name}")
    resumed = mtl("mtl-run", "resume=stopped")
    assert (resumed.code, "; resuming after step " in resumed.out) == (0, True)
    assert reproducible_files(tmp_path / "stopped") == reproducible_files(tmp_path / "undisturbed")


@pytest.mark.long
def test_a_stack_saves_inside_its_epoch_and_goes_on_to_the_same_bytes(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a stacked sweep that Slurm preempts loses its epoch, or its runs fall apart."""
    command = ("mtl-run", "-m", "hydra/launcher=stacked", "seed=0,1,2", *LONG)
    assert mtl(*command, "hydra.sweep.dir=undisturbed").code == 0
    started = [tmp_path / "stopped" / f"{k}_toy_regression_uncertainty_seed{k}" for k in range(3)]
    log = started[-1] / "run.log"

    def trains_on() -> bool:
        is_begun = log.exists() and "epochs of" in log.read_text()
        return is_begun and time.time() - log.stat().st_mtime > 0.3

    stopped = mtl(
        *command,
        "hydra.sweep.dir=stopped",
        meanwhile=send(signal.SIGTERM, trains_on),
    )
    assert stopped.code == 143, stopped.out + stopped.err
    assert stopped.last_line.startswith("Stopped by SIGTERM; go on with the same command and")
    assert set(statuses(tmp_path / "stopped")) == {"interrupted"}
    resumed = mtl(*command, "hydra.sweep.dir=stopped", "resume=true")
    assert resumed.code == 0, resumed.err
    for folders in zip(
        *(run_folders(tmp_path / n) for n in ("stopped", "undisturbed")), strict=True
    ):
        ended, expected = map(reproducible_files, folders)
        assert ended == expected


def test_a_signal_before_the_training_is_said_too(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run that is stopped while it reads its data stays "running" for ever."""
    (tmp_path / "signalled.py").write_text(SIGNALLED)
    data = ("data=toy_regression", "data._target_=signalled.Signalled")
    stopped = mtl("mtl-run", *data, "hydra.run.dir=run")
    assert (stopped.code, stopped.last_line.partition(";")[0]) == (
        143,
        "Stopped by SIGTERM at once",
    )
    assert read_summary(tmp_path / "run")["status"] == "interrupted"
    sweep = mtl("mtl-run", "-m", *data, "seed=0,1", "hydra.sweep.dir=sweep")
    assert sweep.code == 143
    assert sweep.last_line.startswith("Stopped by SIGTERM; go on with the same command and")
    assert statuses(tmp_path / "sweep") == ["interrupted"], "the second run did not begin"


def test_nohup_holds(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run that was started with nohup ends when its terminal is closed."""
    (tmp_path / "signalled.py").write_text(SIGNALLED.replace("SIGTERM", "SIGHUP"))
    script = Path(sys.executable).with_name("mtl-run")
    options = (
        "data=toy_regression",
        "data._target_=signalled.Signalled",
        "trainer.epochs=1",
        "record.plots=none",
    )
    ignoring = "import signal, os, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", ignoring, str(script), *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
