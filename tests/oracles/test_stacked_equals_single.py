"""A replica of a stack equals the single run: rows, failures, early stops and checkpoints."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from mtl_runner import weighting
from mtl_runner.errors import DivergedError
from mtl_runner.experiment.build import build
from mtl_runner.launch.catalog import Catalog
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.stack import StackTrainer
from mtl_runner.train.stack.eligibility import (
    config_key,
    experiment_key,
    reason_in_batches,
    reason_not_to_stack,
)
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import FEW_ROWS, compose, prepare, start
from tests.support.paths import CONF

SMALL = ("model.hidden=[8]", "trainer.device=cpu", "trainer.epochs=20", "record.plots=none")
# The last batch of an epoch is smaller.
TOY_MIXED = ("data=toy_mixed", *FEW_ROWS, "data.batch_size=40", *SMALL)
TOY_REGRESSION = ("data=toy_regression", "data.n=50", *SMALL)
DIGITS = ("data=digits", "data.batch_size=256", *SMALL)
FIRST_TASK = {TOY_MIXED: "value", TOY_REGRESSION: "y1", DIGITS: "digit"}

NO_OPTIONS = ([], [], [], [])
# Options in which the four replicas differ, besides seed and learning rate.
OPTIONS: dict[str, tuple[Sequence[str], ...]] = {
    "fixed": tuple([f"weighting.weights={{FIRST: {w}}}"] for w in (1, 2, 3, 4)),
    "uncertainty_softmax": tuple([f"weighting.temperature={t}"] for t in (0.5, 1.0, 2.0, 5.0)),
    "relobralo": tuple([f"weighting.memory={m}"] for m in (0.1, 0.5, 0.9, 0.999)),
    "softadapt": tuple([f"weighting.beta={b}"] for b in (0.01, 0.1, 1.0, 2.0)),
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
                "cov",
                "softadapt",
                "relobralo",
                "igb",
                "famo",
                "gradnorm",
                "norm_balance",
                "random",
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
    "norm_balance_staged": ("weighting=norm_balance", "schedule=staged"),
    "gradnorm_staged": ("weighting=gradnorm", "schedule=staged"),
    "random_dirichlet": ("weighting=random", "weighting.distribution=dirichlet"),
    "groups": ("weighting=uncertainty", "update.groups={shared: {lr: 0.004}}"),
    "parts": ("weighting=uncertainty", "optimizer.parts={shared: {lr: 0.004}}"),
}
RATES = (0.001, 0.003, 0.01, 0.003)


def test_every_weighting_that_stacks_is_here() -> None:
    """Breaks if a new method promises to stack and nobody compares it with single runs."""
    classes = (getattr(weighting, name) for name in weighting.__all__)
    stackable = {c.__name__ for c in classes if vars(c).get("replica_options") is not None}
    options = Catalog([CONF]).options("weighting")
    compared = {str(o.target).rpartition(".")[2] for o in options if o.name in METHODS}
    assert stackable <= compared


def some_quickly(methods: Sequence[str], *quick: str) -> list[Any]:
    """Return all methods as parameters of a test, all but the quick ones marked ``long``."""
    return [
        method if method in quick else pytest.param(method, marks=pytest.mark.long)
        for method in methods
    ]


every_method = pytest.mark.parametrize("method", METHODS)
# One that keeps no state, one with parameters of its own, one with optimizers of its own.
QUICK = ("dwa", "uncertainty", "per_task_adam")
every_method_in_time = pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[] if m in QUICK else [pytest.mark.long]) for m in METHODS],
)
in_float64 = pytest.mark.usefixtures("float64")


def four_runs(
    method: str, problem: tuple[str, ...] = TOY_MIXED, *options: str
) -> list[tuple[str, ...]]:
    """Return the options of four runs of a method on a problem.

    They differ in their seeds, in their learning rates, of which two are the same, and in the
    ``OPTIONS`` of the method.
    """
    runs = []
    for seed, (lr, differing) in enumerate(
        zip(RATES, OPTIONS.get(method, NO_OPTIONS), strict=True)
    ):
        replica_options = [option.replace("FIRST", FIRST_TASK[problem]) for option in differing]
        common = (*problem, *METHODS[method], *options)
        runs.append((*common, f"seed={seed}", f"optimizer.lr={lr}", *replica_options))
    return runs


def trainers_of(folder: Path, runs: Sequence[tuple[str, ...]]) -> list[Trainer]:
    """Return a new trainer for each of the runs, which is not trained yet."""
    return [start(prepare(folder / str(i), *options)) for i, options in enumerate(runs)]


def reloaded(trainers: Sequence[Trainer]) -> list[Trainer]:
    """Return new trainers for the same run directories, as a new process makes them."""
    return [start(trainer.directory) for trainer in trainers]


def trained_singly(folder: Path, runs: Sequence[tuple[str, ...]]) -> list[Trainer]:
    """Train the runs one by one, and return their trainers."""
    trainers = []
    # Each is made just before it is trained, since it seeds the global random generators.
    for i, options in enumerate(runs):
        trainers += [start(prepare(folder / str(i), *options))]
        trainers[-1].run()
    return trainers


def trained_as_stack(
    folder: Path, runs: Sequence[tuple[str, ...]], compiled: bool = False
) -> list[Trainer]:
    """Train the runs as one stack, and return their trainers."""
    trainers = trainers_of(folder, runs)
    stack = StackTrainer(trainers, compiled=compiled)
    stack.run()
    assert not stack.failed
    if compiled:
        # Otherwise the stack would have fallen back to the uncompiled step.
        assert stack.replica_step.compiled
    return trainers


def stop_stack_after(trainers: Sequence[Trainer], epoch: int) -> None:
    """Train as a stack that is stopped after an epoch, as by Ctrl-C."""
    stack = StackTrainer(trainers)

    def stop(finished_epoch: int, objective: float) -> None:
        del objective
        stack.stop = finished_epoch == epoch

    stack.on_epoch = stop
    with pytest.raises(Interrupted):
        stack.run()
    assert stack.epoch == epoch


def rows(trainer: Trainer) -> list[list[str]]:
    """Return the rows of the trainer's metrics.csv, with the header."""
    with (trainer.directory / "metrics.csv").open() as file:
        return list(csv.reader(file))


def assert_same_rows(replica: Trainer, single: Trainer, tolerance: float) -> None:
    """Assert that two runs have the same metrics.csv.

    Numbers agree within the relative tolerance, those near 0 within a thousandth of it.
    """
    replica_rows, single_rows = rows(replica), rows(single)
    assert len(single_rows) > 1
    assert len(replica_rows) == len(single_rows)
    for i, (replica_row, single_row) in enumerate(zip(replica_rows, single_rows, strict=True)):
        for name, a, b in zip(single_rows[0], replica_row, single_row, strict=True):
            if a != b:
                x, y = float(a), float(b)
                close = math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance / 1000)
                assert close, f"row {i} {single_row[:4]}, {name}: {x} in the stack, {y} alone"


def assert_all_same(
    replicas: Sequence[Trainer], singles: Sequence[Trainer], tolerance: float = 1e-9
) -> None:
    """Assert that the runs have the same metrics.csv, pair by pair."""
    for replica, single in zip(replicas, singles, strict=True):
        assert_same_rows(replica, single, tolerance)


def assert_same_model(replica: Trainer, single: Trainer, name: str = "checkpoint.pt") -> None:
    """Assert that two runs have the same epoch and model in a file of their directories."""
    actual, expected = (checkpoint.load(trainer.directory / name) for trainer in (replica, single))
    for key in ("epoch", "epochs"):
        assert actual.get(key) == expected.get(key)
    for key in ("model", "weights"):
        torch.testing.assert_close(actual.get(key, {}), expected.get(key, {}), rtol=1e-7, atol=1e-9)


# Missing labels


def write_table_with_gaps(path: Path) -> None:
    """Write a table with a number, of which 3 % are missing, and a class, of which 2 % are."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 4))
    size = inputs @ [1.0, -2.0, 0.5, 0.0] + generator.normal(size=400)
    size[generator.random(400) < 0.03] = np.nan
    kind = np.where(inputs[:, 0] > 0, "high", "low").astype(object)
    kind[generator.random(400) < 0.02] = None
    frame = pd.DataFrame(inputs, columns=list("abcd")).assign(size=size, kind=kind)
    frame.to_csv(path, index=False)


@pytest.mark.parametrize(
    "method",
    some_quickly(("fixed", "uncertainty", "dwa", "famo", "staged", "per_task_adam"), "uncertainty"),
)
@in_float64
def test_runs_with_missing_labels_stack(method: str, tmp_path: Path) -> None:
    """Breaks if a stack counts a missing label, or leaves an evaluation with one out."""
    write_table_with_gaps(tmp_path / "table.csv")
    table = (
        *("data=table", f"data.path={tmp_path / 'table.csv'}", "data.batch_size=40"),
        "data.targets={size: regression, kind: classification}",
        # A decay would reach the heads of other tasks' optimizers.
        *("optimizer.weight_decay=0", "trainer.clip=null", *SMALL),
    )
    runs = [(*table, *METHODS[method], f"seed={k}", f"optimizer.lr={RATES[k]}") for k in range(3)]
    alone = trained_singly(tmp_path / "single", runs)
    assert reason_not_to_stack(alone[0].experiment) == ""
    for trainer in alone:
        assert [task.missing for task in trainer.tasks] == [True, True]
        assert reason_in_batches(trainer.batches, 20, trainer.tasks) == ""
    assert_all_same(trained_as_stack(tmp_path / "stack", runs), alone)


# Every method


@every_method_in_time
@in_float64
def test_replica_is_the_single_run(method: str, tmp_path: Path) -> None:
    """Breaks if a method trains differently in a stack, or replicas are mixed up."""
    runs = four_runs(method)
    alone = trained_singly(tmp_path / "single", runs)
    assert_all_same(trained_as_stack(tmp_path / "stack", runs), alone)
    # The runs themselves differ.
    assert len({tuple(map(tuple, rows(trainer))) for trainer in alone}) == len(alone)


@every_method
def test_method_stacks(method: str) -> None:
    """Breaks if runs of the method that differ in their OPTIONS are not put into one stack."""
    configs = [compose(*options) for options in four_runs(method)]
    plain: list[Any] = [OmegaConf.to_container(config, resolve=True) for config in configs]
    assert len({config_key(config) for config in plain}) == 1
    experiments = [build(config) for config in configs]
    assert [reason_not_to_stack(experiment) for experiment in experiments] == [""] * 4
    assert len({experiment_key(experiment) for experiment in experiments}) == 1


@pytest.mark.long
@every_method
@in_float64
def test_replica_is_the_single_run_on_toy_regression(method: str, tmp_path: Path) -> None:
    """Breaks if target units, or a model without shared layers, are wrong in a stack."""
    if method in ("groups", "parts") or method.startswith(("gradnorm", "norm_balance")):
        pytest.skip("the model of toy_regression shares nothing")
    runs = four_runs(method, TOY_REGRESSION)
    assert_all_same(
        trained_as_stack(tmp_path / "stack", runs), trained_singly(tmp_path / "single", runs)
    )


# Without heteroscedastic: on digits its training is chaotic, and rounding grows over the epochs.
@pytest.mark.long
@pytest.mark.parametrize("method", [name for name in METHODS if name != "heteroscedastic"])
@in_float64
def test_replica_is_the_single_run_on_digits(method: str, tmp_path: Path) -> None:
    """Breaks if a replica drifts from its single run over many steps on real data."""
    runs = four_runs(method, DIGITS)
    assert_all_same(
        trained_as_stack(tmp_path / "stack", runs), trained_singly(tmp_path / "single", runs)
    )


@pytest.mark.parametrize(
    "method", some_quickly(["fixed", "uncertainty", "dwa", "per_task_adam"], "fixed")
)
def test_replica_is_the_single_run_in_float32(method: str, tmp_path: Path) -> None:
    """Breaks if a stack computes something in another precision than a single run."""
    runs = four_runs(method)
    assert_all_same(
        trained_as_stack(tmp_path / "stack", runs), trained_singly(tmp_path / "single", runs), 1e-4
    )


@pytest.mark.parametrize(
    "method", some_quickly(["fixed", "uncertainty", "heteroscedastic"], "uncertainty")
)
@in_float64
def test_every_replica_has_its_own_data(method: str, tmp_path: Path) -> None:
    """Breaks if a replica uses the data, target units or trivial losses of another one."""
    datasets = [
        ("data.seed=1", "data.noise={y1: 10.0, y2: 1.0}"),
        ("data.seed=2", "data.noise={y1: 10.0, y2: 1.0}"),
        ("data.seed=1", "data.noise={y1: 3.0, y2: 2.0}"),
        ("data.seed=3", "data.noise={y1: 1.0, y2: 20.0}"),
    ]
    runs = [
        (*options, *dataset)
        for options, dataset in zip(four_runs(method, TOY_REGRESSION), datasets, strict=True)
    ]
    # This run differs from the first in its data alone.
    runs.append((*runs[0][:-2], "data.seed=2", "data.noise={y1: 3.0, y2: 2.0}"))
    assert_all_same(
        trained_as_stack(tmp_path / "stack", runs), trained_singly(tmp_path / "single", runs)
    )


# torch imports its compiler at the first compilation, which warns of deprecated functions.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore:.*torch.jit.script_method.*:DeprecationWarning"
)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.long
@pytest.mark.parametrize("method", ["uncertainty", "gradnorm", "random"])
def test_compiled_replica_is_the_single_run(method: str, tmp_path: Path) -> None:
    """Breaks if the compiled step computes something else, or cannot be compiled at all."""
    runs = four_runs(method, TOY_MIXED, "trainer.epochs=5")
    assert_all_same(
        trained_as_stack(tmp_path / "stack", runs, compiled=True),
        trained_singly(tmp_path / "single", runs),
        1e-4,
    )


# Stopped and resumed

# Methods, an optimizer and groups whose state must be in the checkpoint.
WITH_STATE = (
    "uncertainty",
    "dwa",
    "famo",
    "gradnorm",
    "random",
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
def test_stopped_stack_resumes(method: str, tmp_path: Path) -> None:
    """Breaks if a state of a stack is not in its checkpoints, or not as a single run needs it."""
    runs = four_runs(method)
    uninterrupted = trained_as_stack(tmp_path / "through", runs)
    halves = trainers_of(tmp_path / "stack", runs)
    stop_stack_after(halves, epoch=9)
    shutil.copytree(tmp_path / "stack", tmp_path / "single")
    resumed = reloaded(halves)
    assert all(trainer.resumed and trainer.epoch == 9 for trainer in resumed)
    stack = StackTrainer(resumed)
    stack.run()
    assert not stack.failed
    assert_all_same(resumed, uninterrupted)
    for i, expected in enumerate(uninterrupted):
        assert_same_model(resumed[i], expected)
        alone = start(tmp_path / "single" / str(i))
        alone.run()
        assert_same_rows(alone, expected, 1e-9)
        assert_same_model(alone, expected)


@pytest.mark.parametrize(
    "method", some_quickly(["uncertainty", "famo", "per_task_adam", "sgd"], "per_task_adam")
)
@in_float64
def test_stopped_single_runs_resume_as_a_stack(method: str, tmp_path: Path) -> None:
    """Breaks if a stack does not start from the state of single runs."""
    runs = four_runs(method)
    halves = []
    for i, options in enumerate(runs):
        trainer = start(prepare(tmp_path / "stack" / str(i), *options))

        def stop(epoch: int, objective: float, trainer: Trainer = trainer) -> None:
            del objective
            trainer.stop = epoch == 9

        trainer.on_epoch = stop
        with pytest.raises(Interrupted):
            trainer.run()
        halves.append(trainer)
    resumed = reloaded(halves)
    StackTrainer(resumed).run()
    assert_all_same(resumed, trained_singly(tmp_path / "single", runs))


# Replicas that end before the others


@pytest.mark.parametrize("method", ["fixed", "uncertainty"])
@in_float64
def test_diverging_replica_fails_alone(method: str, tmp_path: Path) -> None:
    """Breaks if a replica's NaN reaches the others, or is not reported as in a single run."""
    runs = four_runs(method, TOY_MIXED, "optimizer=sgd")
    runs[1] = (*runs[1], "optimizer.lr=1e6")
    trainers = trainers_of(tmp_path / "stack", runs)
    stack = StackTrainer(trainers)
    stack.run()
    assert list(stack.failed) == [1]
    assert isinstance(stack.failed[1], DivergedError)
    alone = start(prepare(tmp_path / "single_diverged", *runs[1]))
    with pytest.raises(DivergedError) as error:
        alone.run()
    assert str(stack.failed[1]) == str(error.value)
    finite = [0, 2, 3]
    assert_all_same(
        [trainers[i] for i in finite],
        trained_singly(tmp_path / "single", [runs[i] for i in finite]),
    )


def test_late_divergence_keeps_the_rows_before(tmp_path: Path) -> None:
    """Breaks if metrics.csv lacks the evaluated epochs before a divergence."""
    runs = four_runs(
        "fixed", TOY_REGRESSION, "optimizer=sgd", "optimizer.momentum=0", "model.hidden=[]"
    )
    # The model is linear, and its error grows by a factor in every step.
    runs[1] = (*runs[1], "optimizer.lr=4.0")
    trainers = trainers_of(tmp_path / "stack", runs)
    stack = StackTrainer(trainers)
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
    """Breaks if a replica stops at another epoch than its single run, or trains after its stop."""
    runs = four_runs(method, TOY_MIXED, "trainer.patience=2", "trainer.epochs=40")
    runs = [
        (*options, f"optimizer.lr={lr}")
        for options, lr in zip(runs, (0.3, 0.001, 0.1, 0.03), strict=True)
    ]
    replicas, singles = (
        trained_as_stack(tmp_path / "stack", runs),
        trained_singly(tmp_path / "single", runs),
    )
    assert len({trainer.epoch for trainer in singles}) > 1
    assert_all_same(replicas, singles)
    for replica, single in zip(replicas, singles, strict=True):
        assert replica.epoch == single.epoch
        torch.testing.assert_close(
            replica.learner.model.state_dict(),
            single.learner.model.state_dict(),
            rtol=1e-7,
            atol=1e-9,
        )
        assert_same_model(replica, single)
        assert_same_model(replica, single, "best.pt")
