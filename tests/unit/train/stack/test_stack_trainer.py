"""A stack of runs leaves what the runs would leave by themselves, also where one of them fails."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from mtl_runner.errors import DivergedError
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.stack import StackTrainer
from mtl_runner.train.trainer import Trainer
from tests.unit.train.small_trainers import make_trainer

pytestmark = pytest.mark.usefixtures("float64")


def make_trainers(folder: Path, *overrides: str) -> list[Trainer]:
    """Return trainers of three runs that differ in their seed."""
    return [make_trainer(folder / str(seed), f"seed={seed}", *overrides) for seed in range(3)]


def numbers(trainer: Trainer) -> list[float]:
    """Return all numbers in a run's metrics.csv, row by row."""
    with (trainer.directory / "metrics.csv").open() as file:
        cells = [cell for row in csv.DictReader(file) for cell in row.values()]
    return [float(cell) for cell in cells if cell.replace(".", "").replace("e-", "").isdigit()]


@pytest.mark.parametrize("likelihood", ["standard", "heteroscedastic"])
def test_every_replica_records_what_its_single_run_records(likelihood: str, tmp_path: Path) -> None:
    """Breaks if the evaluation of a stack differs from the evaluation of single runs."""
    options = (f"likelihood={likelihood}", "weighting=fixed", "trainer.epochs=3")
    replicas = make_trainers(tmp_path / "stack", *options)
    stack = StackTrainer(replicas)
    assert stack.evaluates_as_stack == (likelihood == "standard")
    stack.run()
    for seed, replica in enumerate(replicas):
        single = make_trainer(tmp_path / "single" / str(seed), f"seed={seed}", *options)
        single.run()
        assert numbers(replica) == pytest.approx(numbers(single), rel=1e-9)
        assert len(numbers(single)) > 50


def test_a_replica_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    """Breaks if one run of a sweep takes the others with it, or its error is lost."""
    replicas = make_trainers(tmp_path, "optimizer=sgd")
    replicas[1] = make_trainer(tmp_path / "diverges", "optimizer=sgd", "optimizer.lr=1e200")
    stack = StackTrainer(replicas)
    stack.run()
    assert list(stack.failed) == [1]
    assert isinstance(stack.failed[1], DivergedError)
    assert stack.live == {0, 2}
    assert [checkpoint.saved_positions(replicas[k].directory) for k in (0, 2)] == [
        [(4, 0)],
        [(4, 0)],
    ]


def test_a_request_to_stop_is_honoured_after_saving(tmp_path: Path) -> None:
    """Breaks if Ctrl-C loses the epochs of a stack since its last snapshot."""
    replicas = make_trainers(tmp_path, "trainer.evaluate_every=1")
    stack = StackTrainer(replicas)
    objectives = {}

    def stop(epoch: int, objective: float) -> None:
        objectives[epoch] = objective
        stack.stop = epoch == 2

    stack.on_epoch = stop
    with pytest.raises(Interrupted):
        stack.run()
    assert list(objectives) == [1, 2]
    assert [checkpoint.saved_positions(r.directory) for r in replicas] == [[(2, 0)]] * 3


def test_a_stack_that_a_scheduler_stops_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Breaks if the end of an epoch that was not evaluated is no place to go on from."""
    options = ("trainer.epochs=9", "trainer.evaluate_every=3", "trainer.patience=5")
    uninterrupted = make_trainers(tmp_path / "uninterrupted", *options)
    StackTrainer(uninterrupted).run()
    stopped = StackTrainer(make_trainers(tmp_path / "stopped", *options))
    stopped.stop_signal = signal.SIGTERM

    def stop(epoch: int, objective: float) -> None:
        stopped.stop = stopped.stop_now = epoch == 4

    stopped.on_epoch = stop
    with pytest.raises(Interrupted) as interrupt:
        stopped.run()
    assert interrupt.value.number == signal.SIGTERM
    resumed = make_trainers(tmp_path / "stopped", *options)
    assert [(r.epoch, r.step, r.last_evaluated_epoch) for r in resumed] == [(4, 16, 3)] * 3
    StackTrainer(resumed).run()
    for ended, expected in zip(resumed, uninterrupted, strict=True):
        files = (trainer.directory / "metrics.csv" for trainer in (ended, expected))
        assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize("limits", [(-1, 9, 9), (-1, -1, -1)])
def test_replicas_that_give_up_are_no_longer_computed(
    tmp_path: Path, limits: tuple[int, ...]
) -> None:
    """Breaks if a stack takes as long as without an early end, or the others notice it."""

    def trainers(folder: Path) -> list[Trainer]:
        options = ("weighting=uncertainty", "trainer.epochs=5", "trainer.evaluate_every=1")
        return [
            make_trainer(folder / str(k), f"seed={k}", f"trainer.give_up={{2: {limit}}}", *options)
            for k, limit in enumerate(limits)
        ]

    stack = StackTrainer(trainers(tmp_path / "stack"))
    stack.run()
    singles = trainers(tmp_path / "single")
    goes_on = [k for k, limit in enumerate(limits) if limit > 0]
    assert stack.stacked == (goes_on or [0, 1, 2])
    for replica, single in zip(stack.trainers, singles, strict=True):
        single.run()
        assert replica.epoch == single.epoch
        assert numbers(replica) == pytest.approx(numbers(single), rel=1e-9)
    assert [trainer.epoch for trainer in singles] == [5 if k in goes_on else 2 for k in range(3)]


def test_a_compiled_stack_is_not_compiled_anew_for_a_few_steps(tmp_path: Path) -> None:
    """Breaks if an early end costs more seconds of a compiler than it saves."""
    options = ("trainer.epochs=3", "trainer.evaluate_every=1")
    replicas = make_trainers(tmp_path, *options)
    replicas[1] = make_trainer(tmp_path / "ends", "trainer.give_up={1: -1}", *options)
    stack = StackTrainer(replicas)

    def pretend(epoch: int, objective: float) -> None:
        stack.replica_step.compiled = True

    stack.on_epoch = pretend
    stack.run()
    assert [trainer.epoch for trainer in replicas] == [3, 1, 3]
    assert stack.stacked == [0, 1, 2]


def test_a_stack_goes_on_without_those_that_have_come_to_an_early_end(tmp_path: Path) -> None:
    """Breaks if a kill before the end of a stack lets a replica train after its early end."""
    options = ("trainer.give_up={2: -1}", "trainer.evaluate_every=1")
    StackTrainer(make_trainers(tmp_path, *options)).run()
    rows = [(tmp_path / str(seed) / "metrics.csv").read_bytes() for seed in range(3)]
    resumed = StackTrainer(make_trainers(tmp_path, *options))
    resumed.run()
    assert [trainer.epoch for trainer in resumed.trainers] == [2, 2, 2]
    assert rows == [(tmp_path / str(seed) / "metrics.csv").read_bytes() for seed in range(3)]


@pytest.mark.parametrize(("snapshots", "saves"), [(True, 1), (False, 4)])
def test_snapshots_are_fewer_than_evaluations(
    snapshots: bool, saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a stack of many short runs spends its time on files."""
    calls = []
    save = StackTrainer.save
    monkeypatch.setattr(
        StackTrainer, "save", lambda stack: (calls.append(stack.epoch), save(stack))
    )
    stack = StackTrainer(make_trainers(tmp_path, "trainer.evaluate_every=1"), snapshots=snapshots)
    stack.run()
    assert len(calls) == saves
    assert calls[-1] == 4


def test_a_full_disk_ends_one_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if an error while one run's files are written ends the runs beside it."""
    replicas = make_trainers(tmp_path)

    def full_disk(self: Trainer, in_stack: bool = False) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replicas[2], "save", full_disk.__get__(replicas[2]))
    on_replica: list[int] = []
    stack = StackTrainer(replicas, on_replica=on_replica.append)
    stack.run()
    assert list(stack.failed) == [2]
    assert [checkpoint.saved_positions(replicas[k].directory) for k in (0, 1)] == [
        [(4, 0)],
        [(4, 0)],
    ]
    assert on_replica[-1] == 2
