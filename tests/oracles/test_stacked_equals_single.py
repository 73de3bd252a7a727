"""A replica of a stack against the same run trained by itself: rows, failures, early ends and checkpoints."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.build import build
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.stack import Stack
from mtl_runner.train.stack.eligibility import config_key, reason_against, signature
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import FEW_ROWS, compose, prepare, start

SMALL = ("model.hidden=[8]", "trainer.device=cpu", "trainer.epochs=20", "record.plots=none")
TOY_MIXED = (
    "data=toy_mixed",
    *FEW_ROWS,
    "data.batch_size=40",
    *SMALL,
)  # the last batch of an epoch is smaller
TOY_REGRESSION = ("data=toy_regression", "data.n=50", *SMALL)
DIGITS = ("data=digits", "data.batch_size=256", *SMALL)
FIRST_TASK = {TOY_MIXED: "value", TOY_REGRESSION: "y1", DIGITS: "digit"}

FOUR = ([], [], [], [])
NUMBERS: dict[
    str, tuple[Sequence[str], ...]
] = {  # options in which the four replicas differ, beside seed and learning rate
    "fixed": tuple([f"weighting.weights={{FIRST: {w}}}"] for w in (1, 2, 3, 4)),
    "uncertainty_softmax": tuple([f"weighting.temperature={t}"] for t in (0.5, 1.0, 2.0, 5.0)),
    "famo": tuple([f"weighting.gamma={g}"] for g in (0.001, 0.01, 0.02, 0.1)),
}
METHODS: dict[str, tuple[str, ...]] = {
    **{
        name: (f"weighting={name}",)
        for name in (
            *(
                "fixed",
                "uncertainty",
                "uncertainty_simplified",
                "uncertainty_analytic",
                "uncertainty_softmax",
            ),
            *(
                "uncertainty_exact",
                "heteroscedastic",
                "learned",
                "imtl_l",
                "log_sum",
                "geometric_mean",
                "dwa",
                "famo",
            ),
            *("per_task_adam", "staged", "single_task"),
        )
    },
    "ramp": ("weighting=uncertainty", "schedule=ramp"),
    "alternate": ("weighting=uncertainty", "schedule=alternate"),
    "clip": ("weighting=uncertainty", "trainer.clip=0.5"),
    "sgd": ("weighting=uncertainty", "optimizer=sgd"),
    "adamw": ("weighting=uncertainty", "optimizer=adamw"),
    "share_false": ("weighting=uncertainty", "share=false"),
    "dwa_homoscedastic": ("weighting=dwa", "likelihood=homoscedastic"),
    "groups": ("weighting=uncertainty", "update.groups={shared: {lr: 0.004}}"),
    "parts": ("weighting=uncertainty", "optimizer.parts={shared: {lr: 0.004}}"),
}
RATES = (0.001, 0.003, 0.01, 0.003)


def some_quickly(methods: Sequence[str], *quick: str) -> list[Any]:
    """All the methods; most of them behind the marker."""
    return [
        method if method in quick else pytest.param(method, marks=pytest.mark.long)
        for method in methods
    ]


every_method = pytest.mark.parametrize("method", METHODS)
in_float64 = pytest.mark.usefixtures("float64")


def jobs(method: str, problem: tuple[str, ...] = TOY_MIXED, *further: str) -> list[tuple[str, ...]]:
    """The options of four runs that differ in seed and learning rate, two of them with the same learning rate."""
    found = []
    for seed, (lr, numbers) in enumerate(zip(RATES, NUMBERS.get(method, FOUR), strict=True)):
        own = [option.replace("FIRST", FIRST_TASK[problem]) for option in numbers]
        found.append(
            (*problem, *METHODS[method], *further, f"seed={seed}", f"optimizer.lr={lr}", *own)
        )
    return found


def trainers_of(folder: Path, runs: Sequence[tuple[str, ...]]) -> list[Trainer]:
    return [start(prepare(folder / str(i), *options)) for i, options in enumerate(runs)]


def again(trainers: Sequence[Trainer]) -> list[Trainer]:
    """What a new process makes of the same directories."""
    return [start(trainer.directory) for trainer in trainers]


def singly(folder: Path, runs: Sequence[tuple[str, ...]]) -> list[Trainer]:
    trainers = []
    for i, options in enumerate(
        runs
    ):  # one after another: each seeds the global generators for itself
        trainers += [start(prepare(folder / str(i), *options))]
        trainers[-1].run()
    return trainers


def stacked(folder: Path, runs: Sequence[tuple[str, ...]], compiled: bool = False) -> list[Trainer]:
    trainers = trainers_of(folder, runs)
    stack = Stack(trainers, compiled=compiled)
    stack.run()
    assert not stack.failed
    if compiled:
        assert stack.replica_step.compiled  # it has not gone on without
    return trainers


def stopped(trainers: Sequence[Trainer], epoch: int) -> None:
    """Train as a stack up to an epoch, as after Ctrl-C."""
    stack = Stack(trainers)

    def stop(done: int, objective: float) -> None:
        del objective
        stack.stop = done == epoch

    stack.on_epoch = stop
    with pytest.raises(Interrupted):
        stack.run()
    assert stack.epoch == epoch


def rows(trainer: Trainer) -> list[list[str]]:
    with (trainer.directory / "metrics.csv").open() as file:
        return list(csv.reader(file))


def assert_same_rows(found: Trainer, expected: Trainer, tolerance: float) -> None:
    """Every cell of metrics.csv, within a relative tolerance; numbers near 0 within 1/1000 of it."""
    ours, theirs = rows(found), rows(expected)
    assert len(theirs) > 1
    assert len(ours) == len(theirs)
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        for name, a, b in zip(theirs[0], mine, other, strict=True):
            if a != b:
                x, y = float(a), float(b)
                close = math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance / 1000)
                assert close, f"row {i} {other[:4]}, {name}: {x} in the stack, {y} alone"


def assert_all_same(
    found: Sequence[Trainer], expected: Sequence[Trainer], tolerance: float = 1e-9
) -> None:
    for mine, other in zip(found, expected, strict=True):
        assert_same_rows(mine, other, tolerance)


def assert_same_model(found: Trainer, expected: Trainer, name: str = "checkpoint.pt") -> None:
    mine, other = (checkpoint.load(trainer.directory / name) for trainer in (found, expected))
    for key in ("epoch", "epochs"):
        assert mine.get(key) == other.get(key)
    for key in ("model", "weights"):
        torch.testing.assert_close(mine.get(key, {}), other.get(key, {}), rtol=1e-7, atol=1e-9)


# Every method


@every_method
@in_float64
def test_replica_is_the_single_run(method: str, tmp_path: Path) -> None:
    """Breaks if a method's weights, updates or evaluations differ in a stack, or numbers of one replica reach another."""
    runs = jobs(method)
    alone = singly(tmp_path / "single", runs)
    assert_all_same(stacked(tmp_path / "stack", runs), alone)
    assert len({tuple(map(tuple, rows(trainer))) for trainer in alone}) == len(
        alone
    )  # the runs are not all the same


@every_method
def test_method_stacks(method: str) -> None:
    """Breaks if runs of the method that differ in these numbers are not put into one stack."""
    configs = [compose(*options) for options in jobs(method)]
    assert (
        len({config_key(OmegaConf.to_container(config, resolve=True)) for config in configs}) == 1
    )  # type: ignore[arg-type]
    experiments = [build(config) for config in configs]
    assert [reason_against(experiment) for experiment in experiments] == [""] * 4
    assert len({signature(experiment) for experiment in experiments}) == 1


@pytest.mark.long
@every_method
@in_float64
def test_replica_is_the_single_run_on_toy_regression(method: str, tmp_path: Path) -> None:
    """Breaks if targets with units of their own, or a model without shared layers, come out differently in a stack."""
    if method in ("groups", "parts"):
        pytest.skip("the model of toy_regression shares nothing")
    runs = jobs(method, TOY_REGRESSION)
    assert_all_same(stacked(tmp_path / "stack", runs), singly(tmp_path / "single", runs))


# Without heteroscedastic: on digits its training is chaotic, and rounding grows over the epochs.
@pytest.mark.long
@pytest.mark.parametrize("method", [name for name in METHODS if name != "heteroscedastic"])
@in_float64
def test_replica_is_the_single_run_on_digits(method: str, tmp_path: Path) -> None:
    """Breaks if a replica drifts from its single run over many steps on real data."""
    runs = jobs(method, DIGITS)
    assert_all_same(stacked(tmp_path / "stack", runs), singly(tmp_path / "single", runs))


@pytest.mark.parametrize(
    "method", some_quickly(["fixed", "uncertainty", "dwa", "per_task_adam"], "fixed")
)
def test_replica_is_the_single_run_in_float32(method: str, tmp_path: Path) -> None:
    """Breaks if a stack computes something in another precision than a single run."""
    runs = jobs(method)
    assert_all_same(stacked(tmp_path / "stack", runs), singly(tmp_path / "single", runs), 1e-4)


@pytest.mark.parametrize(
    "method", some_quickly(["fixed", "uncertainty", "heteroscedastic"], "uncertainty")
)
@in_float64
def test_every_replica_has_its_own_data(method: str, tmp_path: Path) -> None:
    """Breaks if replicas train on or are evaluated with the data, units or trivial losses of another one."""
    own = [
        ("data.seed=1", "data.noise={y1: 10.0, y2: 1.0}"),
        ("data.seed=2", "data.noise={y1: 10.0, y2: 1.0}"),
        ("data.seed=1", "data.noise={y1: 3.0, y2: 2.0}"),
        ("data.seed=3", "data.noise={y1: 1.0, y2: 20.0}"),
    ]
    runs = [
        (*options, *numbers)
        for options, numbers in zip(jobs(method, TOY_REGRESSION), own, strict=True)
    ]
    runs.append(
        (*runs[0][:-2], "data.seed=2", "data.noise={y1: 3.0, y2: 2.0}")
    )  # differs from the first in its data alone
    assert_all_same(stacked(tmp_path / "stack", runs), singly(tmp_path / "single", runs))


# torch's own compiler is imported at the first compilation, and uses what torch itself calls deprecated.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore:.*torch.jit.script_method.*:DeprecationWarning"
)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.long
def test_compiled_replica_is_the_single_run(tmp_path: Path) -> None:
    """Breaks if the compiled step computes something else, or cannot be compiled at all."""
    # Not init=log_loss: s starts where its first gradient is 0 but for rounding, of which Adam makes a whole step.
    runs = jobs("uncertainty", TOY_MIXED, "trainer.epochs=5", "weighting.init=0.0")
    assert_all_same(
        stacked(tmp_path / "stack", runs, compiled=True), singly(tmp_path / "single", runs), 1e-4
    )


# Stopped and resumed

WITH_STATE = (
    "uncertainty",
    "dwa",
    "famo",
    "imtl_l",
    "per_task_adam",
    "staged",
    "alternate",
    "sgd",
    "groups",
    "dwa_homoscedastic",
)


@pytest.mark.parametrize("method", some_quickly(WITH_STATE, "famo", "groups"))
@in_float64
def test_stopped_stack_goes_on(method: str, tmp_path: Path) -> None:
    """Breaks if something of a stack is not in its replicas' checkpoints, or a single run reads it differently."""
    runs = jobs(method)
    expected = stacked(tmp_path / "through", runs)
    halves = trainers_of(tmp_path / "stack", runs)
    stopped(halves, epoch=9)
    shutil.copytree(tmp_path / "stack", tmp_path / "single")
    resumed = again(halves)
    assert all(trainer.resumed and trainer.epoch == 9 for trainer in resumed)
    stack = Stack(resumed)
    stack.run()
    assert not stack.failed
    assert_all_same(resumed, expected)
    for i, other in enumerate(expected):
        assert_same_model(resumed[i], other)
        alone = start(tmp_path / "single" / str(i))
        alone.run()
        assert_same_rows(alone, other, 1e-9)
        assert_same_model(alone, other)


@pytest.mark.parametrize(
    "method", some_quickly(["uncertainty", "famo", "per_task_adam", "sgd"], "per_task_adam")
)
@in_float64
def test_stopped_single_runs_go_on_as_a_stack(method: str, tmp_path: Path) -> None:
    """Breaks if a stack does not start from the state of single runs."""
    runs = jobs(method)
    halves = []
    for i, options in enumerate(runs):
        trainer = start(prepare(tmp_path / "stack" / str(i), *options))
        trainer.on_epoch = lambda done, _, trainer=trainer: setattr(trainer, "stop", done == 9)  # type: ignore[misc]
        with pytest.raises(Interrupted):
            trainer.run()
        halves.append(trainer)
    resumed = again(halves)
    Stack(resumed).run()
    assert_all_same(resumed, singly(tmp_path / "single", runs))


# Replicas that end before the others


@pytest.mark.parametrize("method", ["fixed", "uncertainty"])
@in_float64
def test_diverging_replica_is_out_alone(method: str, tmp_path: Path) -> None:
    """Breaks if a replica's NaN reaches the others, or is reported at another step than in a single run."""
    runs = jobs(method, TOY_MIXED, "optimizer=sgd")
    runs[1] = (*runs[1], "optimizer.lr=1e6")
    trainers = trainers_of(tmp_path / "stack", runs)
    stack = Stack(trainers)
    stack.run()
    assert list(stack.failed) == [1]
    assert isinstance(stack.failed[1], DivergedError)
    alone = start(prepare(tmp_path / "single_diverged", *runs[1]))
    with pytest.raises(DivergedError) as error:
        alone.run()
    assert str(stack.failed[1]) == str(error.value)
    others = [0, 2, 3]
    assert_all_same(
        [trainers[i] for i in others], singly(tmp_path / "single", [runs[i] for i in others])
    )


def test_late_divergence_keeps_the_rows_before(tmp_path: Path) -> None:
    """Breaks if the evaluated epochs before a divergence are lost, which a single run keeps in metrics.csv."""
    runs = jobs("fixed", TOY_REGRESSION, "optimizer=sgd", "optimizer.momentum=0", "model.hidden=[]")
    runs[1] = (*runs[1], "optimizer.lr=4.0")  # a linear model: its error grows by a factor a step
    trainers = trainers_of(tmp_path / "stack", runs)
    stack = Stack(trainers)
    stack.run()
    assert list(stack.failed) == [1]
    alone = start(prepare(tmp_path / "single", *runs[1]))
    with pytest.raises(DivergedError) as error:
        alone.run()
    assert str(stack.failed[1]) == str(error.value)
    assert alone.epoch > 2
    assert_same_rows(trainers[1], alone, 1e-3)


@pytest.mark.parametrize(
    "method", some_quickly(["uncertainty", "dwa", "per_task_adam", "sgd"], "dwa")
)
@in_float64
def test_early_stopping(method: str, tmp_path: Path) -> None:
    """Breaks if a replica stops at another epoch than its single run, or is trained on after its end."""
    runs = jobs(method, TOY_MIXED, "trainer.patience=2", "trainer.epochs=40")
    runs = [
        (*options, f"optimizer.lr={lr}")
        for options, lr in zip(runs, (0.3, 0.001, 0.1, 0.03), strict=True)
    ]
    found, expected = stacked(tmp_path / "stack", runs), singly(tmp_path / "single", runs)
    assert len({trainer.epoch for trainer in expected}) > 1
    assert_all_same(found, expected)
    for mine, other in zip(found, expected, strict=True):
        assert mine.epoch == other.epoch
        torch.testing.assert_close(
            mine.learner.model.state_dict(), other.learner.model.state_dict(), rtol=1e-7, atol=1e-9
        )
        assert_same_model(mine, other)
        assert_same_model(mine, other, "best.pt")
