"""Killed at any instant and resumed, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import QUICK, Command, Result, kill_somewhere, send

STRATEGIES = ("uncertainty", "per_task_adam", "staged")
# Long enough to be hit after its first checkpoint, also on a busy machine.
SLOW = ("model.hidden=[16]", "trainer.epochs=600", "trainer.evaluate_every=30", "record.plots=none")
LONGER = ("model.hidden=[16]", "trainer.epochs=60", "trainer.evaluate_every=3", "record.plots=none")


def result(directory: Path) -> tuple[bytes, dict]:
    """What must not depend on interruptions: metrics.csv, and summary.json without its times."""
    summary = json.loads((directory / "summary.json").read_text())
    summary.pop("time")
    return (directory / "metrics.csv").read_bytes(), summary


def killed_until_done(mtl: Command, tmp_path: Path, strategy: str, kills: int, seed: int) -> None:
    """Runs hit by at least so many kills, some of them more than once, all end like the run that was left alone."""
    chance = random.Random(seed)
    options = (f"weighting={strategy}", *LONGER)
    for folder in ("warm", "whole"):
        started = time.monotonic()
        done = mtl("mtl-run", *options, f"hydra.run.dir={folder}")
        seconds = time.monotonic() - started
        assert done.code == 0, done.err
    whole = result(tmp_path / "whole")
    hits = number = 0
    while hits < kills:
        number += 1
        assert number < 5 * kills + 10, "hardly any kill hits a running process"
        folder = f"killed{number}"
        command = ("mtl-run", *options, f"hydra.run.dir={folder}")
        for _ in range(chance.randrange(1, 4)):  # some are killed again while they resume
            hits += mtl(*command, meddle=kill_somewhere(chance, seconds)).code == -signal.SIGKILL
        resumable = (tmp_path / folder / ".hydra" / "config.yaml").exists()
        last = mtl("mtl-run", f"resume={folder}") if resumable and number % 2 else mtl(*command)
        assert last.code == 0, last.err
        assert result(tmp_path / folder) == whole


@pytest.mark.parametrize(
    "strategy",
    [STRATEGIES[0], *(pytest.param(name, marks=pytest.mark.long) for name in STRATEGIES[1:])],
)
def test_a_killed_run_resumes_to_the_same_bytes(
    mtl: Command, tmp_path: Path, strategy: str
) -> None:
    """Breaks if anything that a step depends on is missing from the checkpoint, or written in the wrong order."""
    killed_until_done(mtl, tmp_path, strategy, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_seventeen_kills_at_random_instants_change_nothing(
    mtl: Command, tmp_path: Path, strategy: str
) -> None:
    """As above, for 51 kills in all."""
    killed_until_done(mtl, tmp_path, strategy, kills=17, seed=2)


@pytest.mark.long
def test_dropout_and_numpy_randomness_resume_too(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a global random state is not part of the checkpoint."""
    (tmp_path / "noisy.py").write_text(
        "import numpy as np, random, torch\nfrom mtl_runner.models import SeparateMLPs\n"
        "class Noisy(SeparateMLPs):\n"
        "    def forward(self, x):\n"
        "        shift = 0.01 * (np.random.rand() + random.random()) if self.training else 0.0\n"
        "        return super().forward(x + shift)\n"
    )
    options = ("model._target_=noisy.Noisy", "model.dropout=0.3", *SLOW)
    assert mtl("mtl-run", *options, "hydra.run.dir=whole").code == 0
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    first = mtl(
        "mtl-run", *options, "hydra.run.dir=killed", meddle=send(signal.SIGKILL, checkpoint.exists)
    )
    assert first.code == -signal.SIGKILL
    last = mtl("mtl-run", "resume=killed")
    assert last.code == 0, last.err
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


@pytest.mark.long
def test_ctrl_c_saves_and_says_how_to_resume(mtl: Command, tmp_path: Path) -> None:
    """Breaks if an interrupt loses the epochs before it, or the resumed run differs."""
    options = ("model.hidden=[16]", "trainer.epochs=400", "record.plots=none")
    assert mtl("mtl-run", *options, "hydra.run.dir=whole").code == 0
    checkpoint = tmp_path / "stopped" / "checkpoint.pt"
    first = mtl(
        "mtl-run", *options, "hydra.run.dir=stopped", meddle=send(signal.SIGINT, checkpoint.exists)
    )
    assert first.code == 130
    assert first.last_line == "Stopped; go on with: mtl-run resume=stopped"
    assert "Traceback" not in first.err
    assert (
        json.loads((tmp_path / "stopped" / "summary.json").read_text())["status"] == "interrupted"
    )
    assert mtl("mtl-run", "resume=stopped").code == 0
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")


def test_a_finished_run_is_not_run_again(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a requeued job trains twice or touches its results."""
    command = (
        "mtl-run",
        "model.hidden=[16]",
        "trainer.epochs=3",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert mtl(*command).code == 0
    before = {
        path: path.read_bytes()
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.name != "run.log"
    }
    again = mtl(*command)
    assert again.code == 0
    assert "finished already" in again.out
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.long
def test_repeat_gives_the_same_bytes_and_takes_changes(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the recorded config is not enough to run again."""
    assert mtl("mtl-run", "weighting=staged", *LONGER, "hydra.run.dir=first").code == 0
    assert mtl("mtl-run", "repeat=first", "hydra.run.dir=second").code == 0
    assert result(tmp_path / "first")[0] == result(tmp_path / "second")[0]
    assert mtl("mtl-run", "repeat=first", "seed=5", "hydra.run.dir=third").code == 0
    assert result(tmp_path / "first")[0] != result(tmp_path / "third")[0]
    regrouped = mtl("mtl-run", "repeat=first", "weighting=fixed", "hydra.run.dir=fourth")
    assert regrouped.code == 0, regrouped.err
    config = (tmp_path / "fourth" / ".hydra" / "config.yaml").read_text()
    assert "epochs: 60" in config
    assert "mtl_runner.schedule.Schedule" in config


@pytest.mark.long
def test_a_repeated_run_can_be_repeated_with_another_group(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the overrides of the first run are forgotten on the way, so that another problem is trained."""
    assert mtl("mtl-run", "data=toy_mixed", "weighting.lr=0.1", *QUICK, "hydra.run.dir=a").code == 0
    assert mtl("mtl-run", "repeat=a", "seed=1", "hydra.run.dir=b").code == 0
    assert (
        mtl("mtl-run", "repeat=b", "weighting=uncertainty_simplified", "hydra.run.dir=c").code == 0
    )
    config = (tmp_path / "c" / ".hydra" / "config.yaml").read_text()
    assert "mtl_runner.data.ToyMixed" in config
    assert "seed: 1" in config
    overrides = json.loads((tmp_path / "b" / "summary.json").read_text())["overrides"]
    assert overrides == [
        "data=toy_mixed",
        "++weighting.lr=0.1",
        "++model.hidden=[16]",
        "++trainer.epochs=3",
        "++record.plots=none",
        "seed=1",
    ]


@pytest.mark.long
def test_two_processes_do_not_write_one_directory(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a job that is started twice mixes its rows."""
    command = ("mtl-run", *SLOW, "hydra.run.dir=run")
    refused: list[Result] = []

    def start_again(pid: int) -> None:
        send(signal.SIGCONT, (tmp_path / "run" / "checkpoint.pt").exists)(pid)  # waits only
        script = str(Path(sys.executable).with_name("mtl-run"))
        os.kill(pid, signal.SIGSTOP)
        done = subprocess.run([script, *command[1:]], cwd=tmp_path, capture_output=True, text=True)
        os.kill(pid, signal.SIGCONT)
        refused.append(Result(done.returncode, done.stdout, done.stderr))

    assert mtl(*command, meddle=start_again).code == 0
    assert refused[0].code == 1
    assert (
        "run' is being written by another process; wait for it, or choose another hydra.run.dir."
        in refused[0].last_line
    )
    assert mtl("mtl-run", *SLOW, "hydra.run.dir=whole").code == 0
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_bytes()


def test_what_only_hydra_can_resolve_is_recorded_as_its_value(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run with ${hydra:...} in its options cannot be resumed."""
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i},{i % 5}\n" for i in range(60)))
    options = (
        "data=table",
        "data.path=${hydra:runtime.cwd}/t.csv",
        "data.targets={y: regression}",
        *SLOW,
    )
    killed = mtl(
        "mtl-run",
        *options,
        "hydra.run.dir=run",
        meddle=send(signal.SIGKILL, (tmp_path / "run" / "checkpoint.pt").exists),
    )
    assert killed.code == -signal.SIGKILL
    assert mtl("mtl-run", "resume=run").code == 0


def test_a_metrics_file_that_lost_its_end_is_not_patched_up(mtl: Command, tmp_path: Path) -> None:
    """Breaks if rows that a checkpoint knows of are replaced by zero bytes."""
    command = ("mtl-run", *SLOW, "hydra.run.dir=run")
    assert (
        mtl(*command, meddle=send(signal.SIGKILL, (tmp_path / "run" / "checkpoint.pt").exists)).code
        == -signal.SIGKILL
    )
    (tmp_path / "run" / "metrics.csv").write_text("epoch\n")
    result = mtl("mtl-run", "resume=run")
    assert result.code == 1
    assert (
        "metrics.csv' is shorter than its checkpoint says; run again with mtl-run repeat="
        in result.last_line
    )


def test_a_finished_run_without_a_finite_monitor_stays_finished(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a monitor that is never finite costs the run."""
    (tmp_path / "t.csv").write_text(
        "x,y,z\n"
        + "".join(
            f"{i},{i % 5},{'train' if i < 40 else 'val' if i < 50 else 'test'}\n" for i in range(60)
        )
    )
    frame = (
        (tmp_path / "t.csv")
        .read_text()
        .replace(",4,val", ",1,val")
        .replace(",0,val", ",1,val")
        .replace(",2,val", ",1,val")
        .replace(",3,val", ",1,val")
    )
    (tmp_path / "t.csv").write_text(frame)
    options = (
        "data=table",
        "data.path=t.csv",
        "data.targets={y: regression}",
        "data.split.column=z",
        "trainer.monitor=y.r2",
        *QUICK,
    )
    command = ("mtl-run", *options, "hydra.run.dir=run")
    assert mtl(*command).code == 0
    assert (tmp_path / "run" / "best.pt").exists()
    again = mtl(*command)
    assert again.code == 0, again.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
