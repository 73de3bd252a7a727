"""A finished run goes on for more epochs, or says why that would be another run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.run_files import reproducible_files

CONSTANT = (
    "model.hidden=[8]",
    "record.plots=none",
    "trainer.lr_scheduler=null",
)


def test_a_longer_run_ends_as_if_it_had_been_so_long_from_the_start(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the second part of a run does not know all of the first one."""
    options = ("data=toy_regression", "weighting=famo", *CONSTANT)
    for folder, epochs in (("long", 5), ("run", 3)):
        done = mtl("mtl-run", *options, f"trainer.epochs={epochs}", f"hydra.run.dir={folder}")
        assert done.code == 0, done.err
    longer = mtl("mtl-run", "resume=run", "trainer.epochs=5")
    assert longer.code == 0, longer.err
    assert "resuming after epoch 3, 5 epochs of" in longer.out + longer.err
    expected, found = (tmp_path / name / "metrics.csv" for name in ("long", "run"))
    assert found.read_bytes() == expected.read_bytes()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["epochs"]) == ("finished", 5)
    assert "trainer.epochs=5" in summary["overrides"]
    # The same command again has nothing left to do, and fewer epochs are a mistake.
    assert "finished already" in mtl("mtl-run", "resume=run", "trainer.epochs=5").out
    shorter = mtl("mtl-run", "resume=run", "trainer.epochs=4")
    assert shorter.code == 1
    assert shorter.err.strip() == (
        "trainer.epochs=4 is less than the 5 epochs of 'run'; leave it out to resume the run, or give more."
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("trainer.lr_scheduler=cosine",),
            "its learning rate (trainer.lr_scheduler=cosine) falls towards that end",
        ),
        (
            ("weighting=uncertainty",),
            "the learning rate of its weighting falls over the last 30% of them",
        ),
        (("trainer.warmup=50%",), "trainer.warmup=50% is a share of them"),
    ],
)
def test_a_run_that_was_made_for_its_length_says_what_depends_on_it(
    mtl: Command, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    """Breaks if a run goes on that would have begun otherwise, or a refusal harms the run."""
    run = ("data=toy_regression", "weighting=fixed", *CONSTANT, "trainer.epochs=2", *options)
    assert mtl("mtl-run", *run, "hydra.run.dir=run").code == 0
    before = reproducible_files(tmp_path / "run")
    refused = mtl("mtl-run", "resume=run", "trainer.epochs=4")
    assert refused.code == 1
    assert refused.err.strip() == (
        f"'run' was to end after 2 epochs, and {reason}, so with 4 epochs it would have begun otherwise; train anew with mtl-run repeat=run trainer.epochs=4."
    )
    assert reproducible_files(tmp_path / "run") == before


def test_a_run_without_a_checkpoint_cannot_go_on(mtl: Command) -> None:
    """Breaks if what a run did not keep ends in a traceback, or the run starts anew unasked."""
    run = ("data=toy_regression", "weighting=fixed", *CONSTANT, "trainer.epochs=2")
    assert mtl("mtl-run", *run, "record.checkpoints=none", "hydra.run.dir=run").code == 0
    refused = mtl("mtl-run", "resume=run", "trainer.epochs=4")
    assert refused.code == 1
    assert "has finished and kept no checkpoint.pt" in refused.err
