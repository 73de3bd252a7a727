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
from tests.support.run_files import reproducible_files

STRATEGIES = ("uncertainty", "per_task_adam", "staged")
# Long enough to be hit after its first checkpoint, also on a busy machine.
SLOW = (
    "data=toy_regression",
    "model.hidden=[16]",
    "trainer.epochs=600",
    "trainer.evaluate_every=30",
    "record.plots=none",
)
LONGER = (*SLOW[:2], "trainer.epochs=60", "trainer.evaluate_every=3", "record.plots=none")


def kill_until_done(mtl: Command, tmp_path: Path, strategy: str, kills: int, seed: int) -> None:
    """Assert that runs that are killed, some more than once, end like one that is left alone."""
    chance = random.Random(seed)
    options = (f"weighting={strategy}", *LONGER)
    for folder in ("warm", "undisturbed"):
        started = time.monotonic()
        done = mtl("mtl-run", *options, f"hydra.run.dir={folder}")
        seconds = time.monotonic() - started
        assert done.code == 0, done.err
    expected = reproducible_files(tmp_path / "undisturbed")
    hits = number = 0
    while hits < kills:
        number += 1
        assert number < 5 * kills + 10, "hardly any kill hits a running process"
        folder = f"killed{number}"
        command = ("mtl-run", *options, f"hydra.run.dir={folder}")
        # Some are killed again while they resume.
        for _ in range(chance.randrange(1, 4)):
            hits += mtl(*command, meanwhile=kill_somewhere(chance, seconds)).code == -signal.SIGKILL
        resumable = (tmp_path / folder / ".hydra" / "config.yaml").exists()
        by_resume = resumable and number % 2
        ended = mtl("mtl-run", f"resume={folder}") if by_resume else mtl(*command)
        assert ended.code == 0, ended.err
        assert reproducible_files(tmp_path / folder) == expected


@pytest.mark.parametrize(
    "strategy",
    [STRATEGIES[0], *(pytest.param(name, marks=pytest.mark.long) for name in STRATEGIES[1:])],
)
def test_a_killed_run_resumes_to_the_same_bytes(
    mtl: Command, tmp_path: Path, strategy: str
) -> None:
    """Breaks if a checkpoint lacks what a step depends on, or files are written in wrong order."""
    kill_until_done(mtl, tmp_path, strategy, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_seventeen_kills_at_random_instants_change_nothing(
    mtl: Command, tmp_path: Path, strategy: str
) -> None:
    """Breaks if a kill at some rare instant changes a run; these are 51 kills in all."""
    kill_until_done(mtl, tmp_path, strategy, kills=17, seed=2)


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
    assert mtl("mtl-run", *options, "hydra.run.dir=undisturbed").code == 0
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    first = mtl(
        "mtl-run",
        *options,
        "hydra.run.dir=killed",
        meanwhile=send(signal.SIGKILL, checkpoint.exists),
    )
    assert first.code == -signal.SIGKILL
    resumed = mtl("mtl-run", "resume=killed")
    assert resumed.code == 0, resumed.err
    assert reproducible_files(tmp_path / "killed") == reproducible_files(tmp_path / "undisturbed")


@pytest.mark.long
def test_ctrl_c_saves_and_says_how_to_resume(mtl: Command, tmp_path: Path) -> None:
    """Breaks if an interrupt loses the epochs before it, or the resumed run differs."""
    options = ("model.hidden=[16]", "trainer.epochs=400", "record.plots=none")
    assert mtl("mtl-run", *options, "hydra.run.dir=undisturbed").code == 0
    checkpoint = tmp_path / "stopped" / "checkpoint.pt"
    first = mtl(
        "mtl-run",
        *options,
        "hydra.run.dir=stopped",
        meanwhile=send(signal.SIGINT, checkpoint.exists),
    )
    assert first.code == 130
    assert first.last_line == "Stopped; go on with: mtl-run resume=stopped"
    assert "Traceback" not in first.err
    assert (
        json.loads((tmp_path / "stopped" / "summary.json").read_text())["status"] == "interrupted"
    )
    assert mtl("mtl-run", "resume=stopped").code == 0
    assert reproducible_files(tmp_path / "stopped") == reproducible_files(tmp_path / "undisturbed")


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
    assert reproducible_files(tmp_path / "first")[0] == reproducible_files(tmp_path / "second")[0]
    assert mtl("mtl-run", "repeat=first", "seed=5", "hydra.run.dir=third").code == 0
    assert reproducible_files(tmp_path / "first")[0] != reproducible_files(tmp_path / "third")[0]
    regrouped = mtl("mtl-run", "repeat=first", "weighting=fixed", "hydra.run.dir=fourth")
    assert regrouped.code == 0, regrouped.err
    config = (tmp_path / "fourth" / ".hydra" / "config.yaml").read_text()
    assert "epochs: 60" in config
    assert "mtl_runner.schedule.Schedule" in config


@pytest.mark.long
def test_a_repeated_run_can_be_repeated_with_another_group(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the first run's overrides are forgotten, so that another problem is trained."""
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

    assert mtl(*command, meanwhile=start_again).code == 0
    assert refused[0].code == 1
    assert (
        "run' is being written by another process; wait for it, or choose another hydra.run.dir."
        in refused[0].last_line
    )
    assert mtl("mtl-run", *SLOW, "hydra.run.dir=undisturbed").code == 0
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == (
        tmp_path / "undisturbed" / "metrics.csv"
    ).read_bytes()


def test_what_only_hydra_can_resolve_is_recorded_as_its_value(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run with ${hydra:...} in its options cannot be resumed."""
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i},{i % 5}\n" for i in range(60)))
    options = (
        *SLOW,
        "data=table",
        "data.path=${hydra:runtime.cwd}/t.csv",
        "data.targets={y: regression}",
    )
    killed = mtl(
        "mtl-run",
        *options,
        "hydra.run.dir=run",
        meanwhile=send(signal.SIGKILL, (tmp_path / "run" / "checkpoint.pt").exists),
    )
    assert killed.code == -signal.SIGKILL
    assert mtl("mtl-run", "resume=run").code == 0


@pytest.mark.long  # every edit by itself: tests/unit/train/test_metrics_file.py
def test_edited_files_are_written_anew_or_refused(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a resumed run goes on from something that it did not write."""
    command = ("mtl-run", *SLOW, "hydra.run.dir=run")
    assert (
        mtl(
            *command, meanwhile=send(signal.SIGKILL, (tmp_path / "run" / "checkpoint.pt").exists)
        ).code
        == -signal.SIGKILL
    )
    run = tmp_path / "run"
    config = run / ".hydra" / "config.yaml"
    recorded = config.read_text()
    config.write_text(recorded.replace("lr: 0.001", "lr: 0.5", 1))
    assert config.read_text() != recorded
    refused = mtl("mtl-run", "resume=run")
    assert refused.code == 1
    assert (
        "is not the one that its checkpoint was trained with (optimizer.lr is 0.001 there and 0.5 here); put it back to resume, or train anew with mtl-run repeat="
        in refused.last_line
    )
    config.write_text(recorded)
    edited = (run / "metrics.csv").read_bytes().replace(b"\n", b"\r\n")
    (run / "metrics.csv").write_bytes(edited)
    resumed = mtl("mtl-run", "resume=run")
    assert resumed.code == 0, resumed.err
    assert (
        "metrics.csv was edited; it is set aside as metrics.csv.edited and written anew from the checkpoint."
        in resumed.out + resumed.err
    )
    assert (run / "metrics.csv.edited").read_bytes() == edited
    assert not (run / ".previous").exists()
    assert mtl("mtl-run", *SLOW, "hydra.run.dir=undisturbed").code == 0
    assert reproducible_files(run) == reproducible_files(tmp_path / "undisturbed")


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
