"""Runs with trackers, killed on the way, and the numbers that their trackers should have."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.support.commands import Command

RUN = "run"
OPTIONS = ("data=toy_regression", "model.hidden=[4]", "trainer.epochs=6", "weighting=uncertainty")
EPOCHS = [(5, 1), (10, 2), (15, 3), (20, 4), (25, 5), (30, 6)]  # of the evaluations, by step
KILLED_AT = 15  # step of the third evaluation

Points = list[tuple[int, float]]

# A tracker of a user's own. The first time that it gets a certain step, it kills its process.
DIARY = """
import json, os, signal
from mtl_runner import Tracker

class Diary(Tracker):
    def __init__(self, kill_at=0, fail_at=0):
        self.kill_at, self.fail_at = kill_at, fail_at

    def start(self, run):
        self.folder = run.directory
        self.write("start", run.last_step, run.id)
        return super().start(run)

    def log(self, step, values):
        if step == self.fail_at:
            raise ConnectionError("the server is away")
        self.write("log", step, values)
        killed = self.folder / "killed"
        if step == self.kill_at and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def end(self, status, step, values, pictures):
        self.write("end", step, [status, values, [path.name for path in pictures]])

    def write(self, event, step, content):
        with open(self.folder / "diary.jsonl", "a") as file:
            file.write(json.dumps([event, step, content]) + "\\n")
"""


def killed_and_resumed(mtl: Command, folder: Path, *options: str, **environment: str) -> Path:
    """Return the directory of a run that was killed when its trackers had three evaluations.

    Args:
        mtl: The commands.
        folder: Where they are typed.
        *options: The options of the tracker that is looked at.
        **environment: Variables for the commands.
    """
    (folder / "diary.py").write_text(DIARY)
    diary = ("+tracker.z_diary._target_=diary.Diary", f"+tracker.z_diary.kill_at={KILLED_AT}")
    command = ("mtl-run", *OPTIONS, *options, *diary, f"hydra.run.dir={RUN}")
    killed = mtl(*command, **environment)
    assert killed.code != 0, killed.out
    assert (folder / RUN / "killed").exists(), killed.err
    resumed = mtl("mtl-run", f"resume={RUN}", **environment)
    assert resumed.code == 0, resumed.err
    assert "is left out" not in resumed.out
    return folder / RUN


def curves(run: Path) -> dict[str, Points]:
    """Return every curve of metrics.csv by the name that trackers give it, without the test."""
    points: dict[str, Points] = {}
    with (run / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] != "test":
                for column, cell in row.items():
                    if cell and column not in ("epoch", "step", "split", "task"):
                        name = f"{row['split']}/{row['task']}/{column}"
                        points.setdefault(name, []).append((int(row["step"]), float(cell)))
    return points


def numbers_of_test(run: Path) -> dict[str, float]:
    """Return the numbers of the test split by the names that trackers give them."""
    with (run / "metrics.csv").open(newline="") as file:
        return {
            f"test/{row['task']}/{column}": float(cell)
            for row in csv.DictReader(file)
            for column, cell in row.items()
            if row["split"] == "test" and cell and column not in ("epoch", "step", "split", "task")
        }
