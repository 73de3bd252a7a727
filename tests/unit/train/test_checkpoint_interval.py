"""Checkpoints inside epochs: when they are written, and that they change no result."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.config.times import RunLength
from mtl_runner.errors import ConfigError
from mtl_runner.train import checkpoint
from mtl_runner.train.checkpoint_interval import CheckpointInterval
from mtl_runner.train.position import Position
from tests.unit.train.small_trainers import make_trainer
from tests.unit.train.test_stop_inside_epoch import assert_equal_ends

LENGTH = RunLength(epochs=4, steps_per_epoch=4)


@pytest.mark.parametrize(
    ("option", "steps"),
    [(2, [8, 16]), ("0.5 epochs", [2, 4, 6, 8, 10, 12, 14, 16]), ("5 steps", [5, 10, 15])],
)
def test_steps_that_are_due(option: Any, steps: list[int]) -> None:
    """Breaks if a time is read in another unit."""
    interval = CheckpointInterval.parse(option, LENGTH)
    assert [step for step in range(1, 17) if interval.is_due(step)] == steps


def test_minutes_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if every step after the first interval writes a checkpoint."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    interval = CheckpointInterval(minutes=2, since=now)
    due = []
    for seconds in (119, 120, 121, 239, 241):
        now = 100.0 + seconds
        due.append(interval.is_due(1))
    assert due == [False, True, False, False, True]


@pytest.mark.parametrize("option", [0, -1, True, "soon", "0 minutes", "x minutes", "inf minutes"])
def test_what_is_no_interval_is_one_sentence(option: Any) -> None:
    """Breaks if a run never saves, or always, without a word."""
    sentence = f"trainer.checkpoint_every={option!r} is not a time of at least one step; write '500 steps', epochs (2), '10 minutes' or a share of the run ('25%')."
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        CheckpointInterval.parse(option, LENGTH)


@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "famo"])
@pytest.mark.parametrize("every", ["'1 step'", "'3 steps'", "'1e-9 minutes'"])
def test_checkpoints_inside_epochs_change_nothing(
    tmp_path: Path, weighting: str, every: str
) -> None:
    """Breaks if a save disturbs the records of the epoch or a random state."""
    options = (f"weighting={weighting}", "model.dropout=0.3")
    runs = []
    for name, value in (("with", every), ("without", "null")):
        option = f"trainer.checkpoint_every={value}"
        # One after the other: making a trainer sets the random state.
        runs.append(make_trainer(tmp_path / name, *options, option, gaps=True))
        runs[-1].run()
    assert_equal_ends(runs[:1], runs[1:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_a_killed_run_loses_at_most_the_interval(tmp_path: Path) -> None:
    """Breaks if nothing is on the disk before the end of the epoch."""
    options = ("weighting=dwa", "trainer.checkpoint_every='3 steps'")
    child = os.fork()
    if not child:
        trainer = make_trainer(tmp_path / "killed", *options)
        step = trainer.learner.step

        def step_or_die(*batch: Any) -> Any:
            if trainer.step == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*batch)

        trainer.learner.step = step_or_die  # type: ignore[method-assign]
        trainer.run()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert checkpoint.saved_positions(tmp_path / "killed")[0] == Position(1, steps=2)
    resumed = make_trainer(tmp_path / "killed", *options)
    resumed.run()
    undisturbed = make_trainer(tmp_path / "undisturbed", "weighting=dwa")
    undisturbed.run()
    assert_equal_ends([resumed], [undisturbed])
