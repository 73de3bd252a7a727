"""``trainer.devices`` and ``torchrun``: one run by several processes, and how it may end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.commands import Command, Server, kill_somewhere, send
from tests.support.paths import ROOT
from tests.support.run_files import read_summary, reproducible_files, run_folders

RUN = (
    "mtl-run",
    "data=toy_regression",
    "model=mlp",
    "model.hidden=[8]",
    "data.n=50",
    "trainer.epochs=4",
    "trainer.precision=float64",
    "record.plots=none",
)
TWO = (*RUN, "trainer.devices=2")
IN_TROUBLE = (*TWO, "model._target_=tests.support.trouble.Trouble")
# A run of some seconds.
LONG = (*IN_TROUBLE, "data.n=3000", "data.batch_size=4", "trainer.epochs=2")


def assert_equal_numbers(a: Path, b: Path, tolerance: float = 1e-10) -> None:
    """Assert that two runs recorded the same numbers, but for rounding."""
    tables = [pd.read_csv(path / "metrics.csv") for path in (a, b)]
    pd.testing.assert_frame_equal(*tables, rtol=tolerance, atol=tolerance)


def files_of(run: Path) -> tuple[bytes, dict[str, Any]]:
    """Return what must not depend on how a run ended, and not on how long it may be silent."""
    metrics, summary = reproducible_files(run)
    summary["overrides"] = [o for o in summary["overrides"] if "trainer.timeout" not in o]
    return metrics, summary


def ranks_of(pid: int) -> list[int]:
    """Return the processes that train for a command."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def trains(directory: Path) -> Callable[[], bool]:
    """Return a function that says whether a run has begun to train a moment ago."""
    log = directory / "run.log"

    def has_begun() -> bool:
        is_begun = log.exists() and "epochs of" in log.read_text()
        return is_begun and time.time() - log.stat().st_mtime > 0.5

    return has_begun


@pytest.mark.long
def test_two_processes_do_what_one_does(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run on several devices is another run."""
    assert mtl(*RUN, "hydra.run.dir=one").code == 0
    result = mtl(*TWO, "hydra.run.dir=two", "record.predictions=true")
    assert (result.code, result.err) == (0, "")
    assert "on 2 processes (cpu)" in result.out
    assert result.out.count("\nrelative_loss ") == 1
    assert_equal_numbers(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "predictions.csv").exists()
    assert read_summary(tmp_path / "two")["devices"] == 2


def torchrun(*options: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the runner by two processes of torchrun."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("-m", "mtl_runner", *options),
        ],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.long
def test_torchrun_starts_runs_and_sweeps(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a process of torchrun takes a directory of its own, or misses a job."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return torchrun(*RUN[1:], *options, cwd=tmp_path)

    assert mtl(*TWO, "hydra.run.dir=two").code == 0
    assert run("hydra.run.dir=by_torchrun").returncode == 0
    a, b = tmp_path / "two", tmp_path / "by_torchrun"
    assert (a / "metrics.csv").read_bytes() == (b / "metrics.csv").read_bytes()
    assert "devices: 2" in (b / ".hydra" / "config.yaml").read_text()
    sweep = run("-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert (sweep.returncode, sweep.stdout.count(" of 2] ")) == (0, 2)
    logs = [(folder / "run.log").read_text() for folder in run_folders(tmp_path / "sweep")]
    assert ["on 2 processes" in text for text in logs] == [True, True]
    wrong = run("trainer.devices=3")
    assert wrong.returncode == 1
    assert (
        "trainer.devices=3, but torchrun has started 2 processes; leave trainer.devices out."
        in wrong.stderr
    )


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_of_torchrun_that_is_killed_loses_no_run(tmp_path: Path, rank: int) -> None:
    """Breaks if torchrun cannot go on with what it began, also after the process that writes."""
    options = IN_TROUBLE[1:-2] + IN_TROUBLE[-1:]
    assert torchrun(*options, "hydra.run.dir=undisturbed", cwd=tmp_path).returncode == 0
    began = time.monotonic()
    killed = torchrun(*options, "hydra.run.dir=killed", cwd=tmp_path, TROUBLE=f"{rank} 5 SIGKILL")
    # torchrun itself gives the others 30 seconds.
    assert time.monotonic() - began < 60 + 30
    assert killed.returncode != 0
    assert read_summary(tmp_path / "killed")["status"] in ("running", "failed", "interrupted")
    assert torchrun("resume=killed", cwd=tmp_path).returncode == 0
    assert reproducible_files(tmp_path / "killed") == reproducible_files(tmp_path / "undisturbed")


ENDS = {
    "raise": "ValueError: no good (raised in trouble.py, line 38); run.log holds the traceback, HYDRA_FULL_ERROR=1 shows it.",
    "memory": "Out of memory; set trainer.accumulate, lower data.batch_size or model.hidden, or choose another trainer.device.",
    "exit": "Process {} of 2 ended with exit status 3; what it printed last says more.",
    "nan": "The loss of task 'y1' became nan in epoch 2, step 5; lower optimizer.lr, set trainer.clip or scale the target.",
    "SIGKILL": "Process {} of 2 was killed by SIGKILL, as happens when memory runs out.",
    "hang": "Process {} of 2 has not answered for 5 seconds; if that is no mistake, raise trainer.timeout.",
}


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the disturbed ones are when they have gone on; tests only read it."""
    top = tmp_path_factory.mktemp("undisturbed")
    command = (*IN_TROUBLE, "hydra.run.dir=run")
    result = server.run(*command, cwd=top, env={}, meanwhile=None)
    assert result.code == 0, result.err
    return top / "run"


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ENDS)
def test_an_end_of_one_process_is_that_of_the_run(
    mtl: Command, tmp_path: Path, undisturbed: Path, kind: str, rank: int
) -> None:
    """Breaks if the survivors hang, or say that a connection was reset instead of why."""
    ended = tmp_path / "ended"
    timeout = "trainer.timeout=5" if kind == "hang" else "trainer.timeout=60"
    began = time.monotonic()
    result = mtl(*IN_TROUBLE, timeout, "hydra.run.dir=ended", TROUBLE=f"{rank} 5 {kind}")
    assert time.monotonic() - began < 60
    sentence = ENDS[kind].format(rank + 1)
    assert (result.code, result.err.strip()) == (1, sentence)
    summary = read_summary(ended)
    assert (summary["status"], summary["reason"]) == ("failed", sentence)
    if kind == "raise":
        assert 'raise ValueError("no good")' in (ended / "run.log").read_text()
        shown = mtl(*IN_TROUBLE, TROUBLE=f"{rank} 5 raise", HYDRA_FULL_ERROR="1")
        assert 'raise ValueError("no good")' in shown.err
    assert mtl("mtl-run", "resume=ended").code == 0
    assert files_of(ended) == files_of(undisturbed)


@pytest.mark.long
def test_a_full_disk_is_named_and_costs_no_checkpoint(
    mtl: Command, tmp_path: Path, undisturbed: Path
) -> None:
    """Breaks if the others hide why the process that writes has failed."""
    result = mtl(*IN_TROUBLE, "hydra.run.dir=full", TROUBLE="0 5 disk")
    assert result.code == 1
    assert result.err.startswith("The disk is full (writing ")
    assert mtl("mtl-run", "resume=full").code == 0
    assert reproducible_files(tmp_path / "full") == reproducible_files(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_to_one_process_stops_all(
    mtl: Command, tmp_path: Path, undisturbed: Path, name: str, code: int, rank: int
) -> None:
    """Breaks if one process stops and the others wait for it."""
    result = mtl(*IN_TROUBLE, "hydra.run.dir=stopped", TROUBLE=f"{rank} 5 {name}")
    by = "" if name == "SIGINT" else f" by {name}"
    sentence = f"Stopped{by}; go on with: mtl-run resume=stopped"
    assert (result.code, result.last_line) == (code, sentence)
    assert read_summary(tmp_path / "stopped")["status"] == "interrupted"
    assert mtl("mtl-run", "resume=stopped").code == 0
    assert reproducible_files(tmp_path / "stopped") == reproducible_files(undisturbed)


@pytest.mark.long
def test_a_signal_to_the_command_reaches_its_processes(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a scheduler, or a Ctrl-C, stops the command and not those that train."""
    stopped, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    meanwhile = send(signal.SIGTERM, trains(stopped))
    result = mtl(*LONG, "hydra.run.dir=stopped", meanwhile=meanwhile)
    sentence = "Stopped by SIGTERM; go on with: mtl-run resume=stopped"
    assert (result.code, result.last_line) == (143, sentence)
    # One process goes on where two have stopped.
    assert mtl("mtl-run", "resume=stopped", "trainer.devices=1").code == 0
    assert mtl(*LONG, "trainer.devices=1", "hydra.run.dir=undisturbed").code == 0
    assert_equal_numbers(stopped, undisturbed)


@pytest.mark.long
def test_a_killed_command_leaves_no_process_behind(mtl: Command, tmp_path: Path) -> None:
    """Breaks if processes go on writing into a directory whose lock is free."""
    ranks: list[int] = []
    has_begun = trains(tmp_path / "killed")

    def kill(pid: int) -> None:
        while not has_begun():
            time.sleep(0.05)
        ranks.extend(ranks_of(pid))
        os.kill(pid, signal.SIGKILL)

    mtl(*LONG, "hydra.run.dir=killed", meanwhile=kill)
    assert len(ranks) == 2
    end = time.monotonic() + 30
    while any(Path(f"/proc/{rank}/cmdline").exists() and alive(rank) for rank in ranks):
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Return whether a process is more than an entry in the list of its parent."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.long
def test_a_run_survives_kills_of_its_processes_at_any_instant(mtl: Command, tmp_path: Path) -> None:
    """Breaks if an instant is left at which a kill loses a run, or a survivor hangs."""
    chance = random.Random(0)
    options = (*LONG, "trainer.checkpoint_every=100 steps")
    assert mtl(*options, "hydra.run.dir=undisturbed").code == 0
    reasons = []

    def kill_one(pid: int) -> None:
        wait = chance.uniform(0, 6)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                ranks = ranks_of(pid)
            except OSError:
                return
            if len(ranks) == 2:
                time.sleep(wait)
                kill_somewhere(chance, 0)(chance.choice(ranks))
                return
            time.sleep(0.05)

    for _ in range(20):
        began = time.monotonic()
        result = mtl(*options, "hydra.run.dir=killed", meanwhile=kill_one)
        assert time.monotonic() - began < 180
        if result.code == 0:
            break
        reasons.append(result.last_line)
    while (result := mtl(*options, "hydra.run.dir=killed")).code:
        reasons.append(result.last_line)
    assert all("was killed by SIGKILL" in reason for reason in reasons)
    assert reproducible_files(tmp_path / "killed") == reproducible_files(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["trainer.devices=0"],
            "trainer.devices must be auto or a whole number of at least 1; found 0.",
        ),
        (
            ["trainer.devices=two"],
            "trainer.devices='two' is not a number of devices; give 1, 2, ... or auto.",
        ),
        (
            ["trainer.devices=2", "trainer.device=cuda:1"],
            "trainer.device=cuda:1 is one device, but trainer.devices=2 asks for several; give trainer.device=cuda, or leave trainer.devices out.",
        ),
        (["trainer.timeout=0"], "trainer.timeout must be a positive number; found 0."),
    ],
)
def test_wrong_devices_are_refused(mtl: Command, options: list[str], sentence: str) -> None:
    """Breaks if a wrong number of devices ends in an error of torch."""
    result = mtl(*RUN, *options)
    assert (result.code, result.last_line) == (1, sentence)


@pytest.mark.long
def test_runs_on_several_devices_are_not_stacked(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a stack trains replicas on one device that asked for two."""
    options = ("seed=0,1,2,3", "trainer.epochs=1", "hydra.sweep.dir=sweep")
    result = mtl(*TWO, "-m", "hydra/launcher=stacked", *options)
    assert result.code == 0
    assert (
        "4 of 4 jobs run one by one (0, 1, 2, 3): trainer.devices shares the batches of each run out among several processes."
        in result.out
    )
    logs = [(run / "run.log").read_text() for run in run_folders(tmp_path / "sweep")]
    assert ["on 2 processes" in text for text in logs] == [True] * 4
