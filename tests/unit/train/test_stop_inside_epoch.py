"""A run or a stack that stops between two steps of an epoch goes on to the same bytes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_runner.train import checkpoint
from mtl_runner.train.batches import block_starts
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.position import Position
from mtl_runner.train.stack import StackTrainer
from mtl_runner.train.trainer import Trainer
from tests.support.builders import assert_same_bits
from tests.unit.train.small_trainers import make_trainer

STEPS = 4  # steps of an epoch


def stop_during(loop: Trainer | StackTrainer, step: int) -> None:
    """Let the scheduler ask a loop to stop while it takes a step, counted from 1."""
    batches = (loop if isinstance(loop, Trainer) else loop.first).batches
    active = batches.active

    def ask(at: int, *labelled: Any) -> Any:
        if at == step - 1:
            loop.stop, loop.stop_now, loop.stop_signal = True, True, signal.SIGTERM
        return active(at, *labelled)

    batches.active = ask  # type: ignore[method-assign]


def run_until(loop: Trainer | StackTrainer, step: int) -> None:
    """Train until the scheduler stops the loop after a step."""
    stop_during(loop, step)
    with pytest.raises(Interrupted) as interrupt:
        loop.run()
    assert (interrupt.value.number, loop.step) == (signal.SIGTERM, step)


def assert_equal_ends(ended: Sequence[Trainer], expected: Sequence[Trainer]) -> None:
    """Assert that runs left the same rows, weights and states as others."""
    for trainer, reference in zip(ended, expected, strict=True):
        assert (trainer.directory / "metrics.csv").read_bytes() == (
            reference.directory / "metrics.csv"
        ).read_bytes()
        for part in ("model", "likelihood", "weighting"):
            assert_same_bits(
                getattr(trainer.learner, part).state_dict(),
                getattr(reference.learner, part).state_dict(),
            )
        step = reference.step
        assert_same_bits(trainer.batches.state(step), reference.batches.state(step))
        assert trainer.best.progress() == reference.best.progress()


def assert_near_ends(ended: Sequence[Trainer], expected: Sequence[Trainer]) -> None:
    """Assert that runs ended with the same weights, but for rounding."""
    for trainer, reference in zip(ended, expected, strict=True):
        torch.testing.assert_close(
            trainer.learner.model.state_dict(),
            reference.learner.model.state_dict(),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    "options",
    [
        ("weighting=uncertainty",),
        ("weighting=gradnorm",),
        ("weighting=famo", "model.dropout=0.3"),
        ("weighting=dwa", "schedule=staged", "schedule.start={multilabel: 2}"),
        ("weighting=stch", "weighting.form=log_nadir", "weighting.warmup_epochs=2"),
        ("weighting=random", "update=per_task"),
        ("update=jacobian", "weighting=pcgrad"),
        ("weighting=excess_mtl",),
        ("weighting=sdmgrad", "model.dropout=0.3"),
        ("schedule=plateau", "schedule.patience=1"),
        ("schedule=ramp", "likelihood=heteroscedastic", "record.gradients=true"),
        ("schedule=alternate", "update=adatask"),
    ],
    ids=lambda options: " ".join(options),
)
@pytest.mark.parametrize("gaps", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_run_that_stops_inside_its_epochs_goes_on_to_the_same_bytes(
    tmp_path: Path, options: tuple[str, ...], gaps: bool
) -> None:
    """Breaks if the state inside an epoch lacks something, or its first rows are forgotten."""
    undisturbed = make_trainer(tmp_path / "undisturbed", *options, gaps=gaps)
    undisturbed.run()
    # In the first epoch, twice in one epoch, at the end of that epoch, in the last epoch.
    for step in (1, 6, 7, 8, 15):
        run_until(make_trainer(tmp_path / "stopped", *options, gaps=gaps), step)
    resumed = make_trainer(tmp_path / "stopped", *options, gaps=gaps)
    assert (resumed.resumed, resumed.position) == (True, Position(3, steps=3))
    resumed.run()
    assert resumed.position == Position(4)
    assert_equal_ends([resumed], [undisturbed])


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "famo"])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_stack_that_stops_inside_its_epochs_goes_on_to_the_same_bytes(
    tmp_path: Path, weighting: str, compiled: bool
) -> None:
    """Breaks if replicas stop at different steps, or a weighting loses the losses before."""

    def stack(name: str) -> StackTrainer:
        options = (f"weighting={weighting}", "trainer.evaluate_every=2")
        folder = tmp_path / name
        return StackTrainer(
            [make_trainer(folder / str(k), f"seed={k}", *options) for k in range(3)], compiled
        )

    undisturbed = stack("undisturbed")
    undisturbed.run()
    for step in (3, 9, 10, 12, 16):
        run_until(stack("stopped"), step)
    resumed = stack("stopped")
    assert [trainer.position for trainer in resumed.trainers] == [Position(3, steps=4)] * 3
    resumed.run()
    # Compiled anew inside an epoch, the step of FAMO rounds otherwise (6e-6), as compiled
    # steps may; the others are held to bytes.
    if compiled and weighting == "famo":
        assert_near_ends(resumed.trainers, undisturbed.trainers)
    else:
        assert_equal_ends(resumed.trainers, undisturbed.trainers)


def test_a_run_goes_on_with_what_a_stack_has_begun(tmp_path: Path) -> None:
    """Breaks if a weighting does not get the losses that the stack was keeping for it."""
    options = ("weighting=dwa", "trainer.epochs=3")
    undisturbed = make_trainer(tmp_path / "undisturbed", *options)
    undisturbed.run()
    run_until(StackTrainer([make_trainer(tmp_path / "stopped", *options)]), 6)
    resumed = make_trainer(tmp_path / "stopped", *options)
    resumed.run()
    weighting, expected = resumed.learner.weighting, undisturbed.learner.weighting
    assert weighting.state_dict()["count"].tolist() == [STEPS] * 4
    torch.testing.assert_close(weighting.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-5)


def test_replicas_go_on_together_also_if_one_was_trained_alone(tmp_path: Path) -> None:
    """Breaks if a stack forgets or doubles losses of a run whose weighting has them already."""
    folders = [tmp_path / name for name in ("alone", "stacked")]
    for folder in folders:
        trainer = make_trainer(folder, "weighting=dwa")
        run_until(trainer if folder.name == "alone" else StackTrainer([trainer]), 6)
    stack = StackTrainer([make_trainer(folder, "weighting=dwa") for folder in folders])
    stack.run()
    for trainer in stack.trainers:
        assert trainer.learner.weighting.state_dict()["count"].tolist() == [STEPS] * 4


@pytest.mark.parametrize("batch_size", [24, 1000])
def test_a_smaller_last_batch_and_small_blocks_change_nothing(
    tmp_path: Path, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if an epoch that goes on gathers other rows, or the last batch of it twice."""
    monkeypatch.setattr("mtl_runner.train.batches.BLOCK_BYTES", 1)
    monkeypatch.setattr("mtl_runner.train.stack.stack_trainer.GATHERED_BYTES", 1)

    def loops(name: str) -> list[Trainer | StackTrainer]:
        single = make_trainer(tmp_path / name / "single", gaps=True, batch_size=batch_size)
        stacked = make_trainer(tmp_path / name / "stack", batch_size=batch_size)
        return [single, StackTrainer([stacked])]

    undisturbed = loops("undisturbed")
    for loop in undisturbed:
        loop.run()
    steps = make_trainer(tmp_path / "count", batch_size=batch_size).batches.count
    for step in range(1, 2 * steps + 1):
        for loop in loops("stopped"):
            run_until(loop, step)
    resumed = loops("stopped")
    for loop, expected in zip(resumed, undisturbed, strict=True):
        loop.run()
        assert_equal_ends(
            *([run if isinstance(run, Trainer) else run.first] for run in (loop, expected))
        )


def test_a_save_inside_the_first_epoch_can_be_undone(tmp_path: Path) -> None:
    """Breaks if a stack that is killed while it saves there is taken for one at its start."""
    directory = tmp_path / "run"
    run_until(make_trainer(directory), 2)
    trainer = make_trainer(directory)
    stop_during(trainer, 3)
    with pytest.raises(Interrupted):
        trainer.train_epoch(trainer_buffer(trainer))
    trainer.save(in_stack=True)
    assert checkpoint.saved_positions(directory) == [Position(0, 3), Position(0, 2)]
    checkpoint.restore_previous(directory)
    assert checkpoint.saved_positions(directory) == [Position(0, 2)]
    assert make_trainer(directory).position == Position(0, 2)


def trainer_buffer(trainer: Trainer) -> Any:
    """Return a buffer for the epochs of a trainer."""
    from mtl_runner.train.epoch_record import EpochBuffer

    return EpochBuffer(
        trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
    )


def test_an_older_checkpoint_is_one_of_the_end_of_an_epoch(tmp_path: Path) -> None:
    """Breaks if runs from before cannot be resumed any more."""
    trainer = make_trainer(tmp_path)
    trainer.on_epoch = lambda epoch, objective: setattr(trainer, "stop", epoch == 2)
    with pytest.raises(Interrupted):
        trainer.run()
    state = dict(checkpoint.load(tmp_path / "checkpoint.pt"))
    assert (state.pop("steps_in_epoch"), state.pop("unfinished")) == (0, None)
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    assert checkpoint.saved_positions(tmp_path) == [Position(2)]
    resumed = make_trainer(tmp_path)
    assert resumed.position == Position(2)
    resumed.run()


def test_blocks_keep_their_places() -> None:
    """Breaks if a batch lies elsewhere in its block after a stop: sums may differ in a bit."""
    for done in range(6):
        starts = block_starts(rows=50, block_rows=20, batch_size=10, done=done)
        assert list(starts) == [s for s in (0, 20, 40) if s >= done * 10 // 20 * 20]
