"""When a run evaluates: at the ends of epochs or between their steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.config.times import RunLength
from mtl_runner.errors import ConfigError
from mtl_runner.train.evaluation_interval import EvaluationInterval
from mtl_runner.train.position import Position
from tests.support.whole_runs import read_rows
from tests.unit.train.small_trainers import make_trainer
from tests.unit.train.test_stop_inside_epoch import assert_equal_ends, run_until


def due(option: Any, length: RunLength) -> list[int]:
    """Return the steps after which a run evaluates."""
    interval = EvaluationInterval.parse(option, length)
    return [step for step in range(1, length.steps + 1) if interval.is_due(step)]


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (3, None, [1, 2, 3]),
        (7, 3, [1, 3, 6, 7]),
        (1, 5, [1]),
        (401, None, [1, *range(3, 402, 3), 401]),
    ],
)
def test_the_first_and_the_last_epoch_are_evaluated(
    epochs: int, every: int | None, expected: list[int]
) -> None:
    """Breaks if a curve lacks its first or last epoch, or has more than 200 points."""
    length = RunLength(epochs, steps_per_epoch=10)
    assert due(every, length) == [10 * epoch for epoch in sorted(set(expected))]


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("6 steps", [6, 12, 18, 24, 30]),
        ("7 steps", [7, 14, 21, 28, 30]),
        ("20 steps", [10, 20, 30]),
        (0.5, [5, 10, 15, 20, 25, 30]),
        ("50%", [15, 30]),
        ("1 step", list(range(1, 31))),
    ],
)
def test_steps_and_shares_of_the_run_are_times_too(every: Any, expected: list[int]) -> None:
    """Breaks if a time is read in another unit, or the end of the run has no evaluation."""
    assert due(every, RunLength(epochs=3, steps_per_epoch=10)) == expected


@pytest.mark.parametrize("option", [0, "0 steps", -1, "ten steps", "10 minutes", "0.1 steps", True])
def test_what_is_no_time_is_refused(option: Any) -> None:
    """Breaks if a run never evaluates, or takes a word for a number."""
    with pytest.raises(
        ConfigError,
        match=re.escape(
            f"trainer.evaluate_every={option!r} is not a time of at least one step; write epochs (2), '500 steps' or a share of the run ('25%')."
        ),
    ):
        EvaluationInterval.parse(option, RunLength(3, steps_per_epoch=10))


def test_rows_between_two_epochs_average_over_the_steps_since_the_last_ones(
    tmp_path: Path,
) -> None:
    """Breaks if steps count twice in the records, or an epoch is not the fraction that it is."""
    each = make_trainer(tmp_path / "each", "trainer.evaluate_every='1 step'")  # 4 epochs of 4 steps
    each.run()
    losses = [
        float(row["loss"]) for row in read_rows(each.directory, split="train", task="regression")
    ]
    assert len(losses) == 16
    trainer = make_trainer(tmp_path / "run", "trainer.evaluate_every='3 steps'")
    trainer.run()
    rows = read_rows(trainer.directory, split="train", task="regression")
    assert [(row["epoch"], row["step"]) for row in rows] == [
        ("0.75", "3"),
        ("1.5", "6"),
        ("2.25", "9"),
        ("3", "12"),
        ("3.75", "15"),
        ("4", "16"),
    ]
    # At most the steps of one epoch, and none that an earlier row is about.
    spans = [(0, 3), (4, 6), (8, 9), (9, 12), (12, 15), (15, 16)]
    for row, (first, end) in zip(rows, spans, strict=True):
        mean = sum(losses[first:end]) / (end - first)
        assert float(row["loss"]) == pytest.approx(mean, rel=1e-5)
    trainer.finish()
    epoch = trainer.best.latest_epoch
    for row in read_rows(trainer.directory, split="test"):
        assert (float(row["epoch"]), int(row["step"])) == (epoch, 4 * epoch)


def test_an_evaluation_changes_no_step(tmp_path: Path) -> None:
    """Breaks if an evaluation between two steps leaves a trace in the training."""
    options = ("weighting=uncertainty", "model.dropout=0.3")
    ends = []
    for name, every in (("steps", "'3 steps'"), ("epochs", "1")):
        trainer = make_trainer(tmp_path / name, *options, f"trainer.evaluate_every={every}")
        trainer.run()
        ends.append(trainer.learner.model.state_dict())
    assert all((ends[0][key] == ends[1][key]).all() for key in ends[0])


@pytest.mark.parametrize("gaps", [False, True])
def test_a_run_that_stops_between_such_evaluations_goes_on_to_the_same_bytes(
    tmp_path: Path, gaps: bool
) -> None:
    """Breaks if a resumed run does not know what its last rows were about."""
    options = ("weighting=dwa", "trainer.evaluate_every='3 steps'")
    undisturbed = make_trainer(tmp_path / "undisturbed", *options, gaps=gaps)
    undisturbed.run()
    for step in (2, 3, 5, 6, 7, 14):
        run_until(make_trainer(tmp_path / "stopped", *options, gaps=gaps), step)
    resumed = make_trainer(tmp_path / "stopped", *options, gaps=gaps)
    assert resumed.position == Position(3, steps=2)
    resumed.run()
    assert_equal_ends([resumed], [undisturbed])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Plateau", ("schedule=plateau",)),
        (
            "ReduceLROnPlateau",
            ("trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}",),
        ),
    ],
)
def test_who_looks_at_the_ends_of_epochs_says_so(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    """Breaks if a schedule waits in vain for evaluations."""
    with pytest.raises(ConfigError) as error:
        make_trainer(tmp_path, "trainer.evaluate_every='3 steps'", *options)
    assert (
        str(error.value)
        == f"{name} looks at evaluations at the ends of epochs; give trainer.evaluate_every in epochs instead of '3 steps', or set data.steps_per_epoch, the length of an epoch."
    )
    make_trainer(tmp_path / "epochs", "trainer.evaluate_every='8 steps'", *options)
