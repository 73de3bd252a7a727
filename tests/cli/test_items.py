"""Runs on datasets that are read item by item, as typed."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest

from tests.support.commands import Command, kill_somewhere, send

OWN_DATA = """
_target_: tests.support.item_datasets.AugmentedPictures
n: 100
"""


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Return a folder in which ``data=pictures`` is a dataset of augmented items."""
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    (folder / "pictures.yaml").write_text(OWN_DATA)
    return tmp_path


def options(epochs: int = 5) -> tuple[str, ...]:
    """Return the options of a run of a second."""
    return (
        "data=pictures",
        "model.hidden=[16]",
        "model.dropout=0.2",
        "record.plots=none",
        "data.batch_size=16",
        f"trainer.epochs={epochs}",
    )


def test_workers_change_no_byte(mtl: Command, items: Path) -> None:
    """Breaks if order, augmentation, dropout or missing labels depend on who makes an item."""
    for workers in (0, 2):
        done = mtl(
            "mtl-run", *options(3), f"data.loader.workers={workers}", f"hydra.run.dir=w{workers}"
        )
        assert done.code == 0, done.err
    alone, helped = (items / f"w{workers}" / "metrics.csv" for workers in (0, 2))
    assert alone.read_bytes() == helped.read_bytes()


def test_an_epoch_may_have_any_number_of_steps(mtl: Command, items: Path) -> None:
    """Breaks if epochs of steps are other batches than the passes that they cut."""
    done = mtl("mtl-run", *options(2), "data.steps_per_epoch=10", "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert "2 epochs of 10 steps" in done.err + done.out
    assert json.loads((items / "run" / "summary.json").read_text())["status"] == "finished"


def test_a_run_that_is_stopped_inside_a_pass_goes_on(mtl: Command, items: Path) -> None:
    """Breaks if a resumed pass shows other items, or augments them in another way."""
    long = options(40)
    assert mtl("mtl-run", *long, "hydra.run.dir=whole").code == 0
    stop = send(signal.SIGTERM, after=(items / "stopped" / "checkpoint.pt").exists)
    stopped = mtl("mtl-run", *long, "hydra.run.dir=stopped", meanwhile=stop)
    assert stopped.code != 0
    done = mtl("mtl-run", "resume=stopped", "data.loader.workers=1")
    assert done.code == 0, done.err
    assert (items / "stopped" / "metrics.csv").read_bytes() == (
        items / "whole" / "metrics.csv"
    ).read_bytes()


@pytest.mark.long
def test_twenty_kills_change_no_byte(mtl: Command, items: Path) -> None:
    """Breaks if a SIGKILL inside a pass, and another number of workers after it, is seen."""
    long = options(25)
    assert mtl("mtl-run", *long, "hydra.run.dir=whole").code == 0
    expected = (items / "whole" / "metrics.csv").read_bytes()
    chance, kills, chain = random.Random(0), 0, 0
    while kills < 20:
        run = f"killed{chain}"
        chain += 1
        for attempt in range(4):
            workers = f"data.loader.workers={chance.randrange(4)}"
            command = ("mtl-run", *long, workers, f"hydra.run.dir={run}")
            meanwhile = kill_somewhere(chance, 4.0) if attempt < 3 else None
            ended = mtl(*command, meanwhile=meanwhile)
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.err
            kills += 1
        assert (items / run / "metrics.csv").read_bytes() == expected
