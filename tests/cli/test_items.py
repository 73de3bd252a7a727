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


@pytest.mark.long
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


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("data.flaw='an error'", "Item 33 of the train split could not be made: ZeroDivisionError"),
        ("optimizer.lr=1e30", "The loss of task 'y' became "),
    ],
)
def test_an_error_of_a_run_with_workers_is_the_sentence_alone(
    mtl: Command, items: Path, option: str, sentence: str
) -> None:
    """Breaks if workers that are still at work make a traceback when the command ends."""
    config = "_target_: tests.support.item_datasets.Flawed\nflaw: none\n"
    (items / "conf" / "data" / "flawed.yaml").write_text(config)
    command = ("data=flawed", "data.loader.workers=2", "optimizer=sgd", "trainer.epochs=20")
    refused = mtl("mtl-run", *command, "record.plots=none", option)
    assert refused.code == 1
    assert refused.err.startswith(sentence)
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        ("another shape", "Item 40 of the train split has inputs of shape (4,), item "),
        ("text", "Item 0 of the train split: the target of task 'y' is a str; it must be a tensor"),
        ("half a class", "Task 'c' has classes that are not whole numbers in the train split"),
        ("a negative class", "Task 'c' has a negative class in the train split"),
        ("an error", "Item 33 of the train split could not be made: ZeroDivisionError: division"),
        ("not a number", "Item 20 of the train split has NaN or infinity in its inputs; "),
        ("nothing", "Item 9 of the train split is a NoneType; it must be (inputs, {task: target})"),
        ("one target", "Item 0 of the train split has a float as its targets; with several tasks"),
        ("no target", "Item 0 of the train split has no target for task 'c'; allowed: y (None is"),
        ("no label", "Task 'y' has no label in the train split; every split needs some."),
        ("infinity", "Task 'y' has an infinite target in the train split"),
        ("a killed worker", "A data worker was killed, as happens when memory runs out; lower "),
        ("complex numbers", "The model cannot take inputs of complex64 ("),
        ("a number as input", "The model cannot take inputs of one number per sample without a"),
        ("whole numbers", "The model cannot take inputs of int64 ("),
        ("objects", "Item 0 of the train split: input is an array of object; it must hold numbers"),
        ("a loader", "The train split is a DataLoader; give the dataset in it (loader.dataset): "),
        ("a generator", "The train split is a generator, which can be read only once; give a list"),
        ("an empty split", "The val split is empty; every split needs at least one row."),
    ],
)
def test_a_flaw_of_the_items_is_one_sentence(
    mtl: Command, items: Path, flaw: str, sentence: str
) -> None:
    """Breaks if a mistake in somebody's dataset ends in a traceback, or in a loader's words."""
    config = "_target_: tests.support.item_datasets.Flawed\nflaw: none\n"
    (items / "conf" / "data" / "flawed.yaml").write_text(config)
    workers = int(flaw == "a killed worker")
    command = ("data=flawed", f"data.flaw='{flaw}'", f"data.loader.workers={workers}")
    short = ("trainer.epochs=1", "record.plots=none", "model.hidden=[8]")
    refused = mtl("mtl-run", *command, *short)
    assert refused.code == 1
    assert refused.err.strip().startswith(sentence)
    assert len(refused.err.strip().splitlines()) == 1
