"""The trainer: what it records, when it stops, and that a resumed run goes on where it stopped."""

from __future__ import annotations

import logging
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_runner.errors import ConfigError, DivergedError, RunDirectoryError
from mtl_runner.experiment.build import build
from mtl_runner.tasks.metrics import Metric
from mtl_runner.tasks.task import log_variance_key
from mtl_runner.train import checkpoint
from mtl_runner.train.epoch_record import EpochBuffer, EpochMeans
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.trainer import Trainer
from tests.support.builders import KINDS, assert_same_bits
from tests.support.likelihoods import nll_by_hand
from tests.support.whole_runs import everything_config, read_rows
from tests.unit.train.small_trainers import make_trainer


def means(objective: float = 1.0) -> EpochMeans:
    """Return the means of an epoch of four tasks."""
    return EpochMeans([1.0] * 4, [1.0] * 4, [1.0] * 4, objective)


def evaluation(loss: float) -> Evaluation:
    """Return an evaluation with the same loss of every task."""
    return Evaluation({kind: {"loss": loss, "relative_loss": loss} for kind in KINDS})


def test_a_run_records_every_evaluated_epoch(tmp_path: Path) -> None:
    """Breaks if an evaluated epoch has no row, a row of another epoch, or another objective."""
    objectives = {}
    trainer = make_trainer(tmp_path, "trainer.epochs=6", "trainer.evaluate_every=3")
    trainer.on_epoch = objectives.__setitem__
    trainer.run()
    final, best = trainer.finish()
    assert (trainer.epoch, trainer.step) == (6, 24)
    assert list(objectives) == [1, 2, 3, 4, 5, 6]
    totals = read_rows(tmp_path, split="train", task="total")
    assert [(row["epoch"], row["step"]) for row in totals] == [("1", "4"), ("3", "12"), ("6", "24")]
    assert [float(row["loss"]) for row in totals] == [objectives[epoch] for epoch in (1, 3, 6)]
    (row,) = read_rows(tmp_path, split="test", task="regression")
    assert float(row["rmse"]) == final["test"].values["regression"]["rmse"]
    assert best["val"].relative_loss == trainer.best.value


@pytest.mark.parametrize("judge", ["best", "final"])
def test_test_is_reported_where_the_run_is_judged(tmp_path: Path, judge: str) -> None:
    """Breaks if the test rows belong to another model than the numbers that judge the run."""
    # It learns its 60 rows by heart, so that its last epoch is far from its best one.
    worse = ("optimizer.lr=0.05", "trainer.lr_scheduler=null", "trainer.epochs=30")
    trainer = make_trainer(tmp_path, f"trainer.judge={judge}", "trainer.evaluate_every=1", *worse)
    trainer.run()
    final, best = trainer.finish()
    assert trainer.best.latest_epoch < 30
    epoch, judged = (trainer.best.latest_epoch, best) if judge == "best" else (30, final)
    for row in read_rows(tmp_path, split="test"):
        assert (row["epoch"], row["step"]) == (str(epoch), str(4 * epoch))
        if row["task"] != "total":
            assert float(row["loss"]) == judged["test"].values[row["task"]]["loss"]
    assert len(read_rows(tmp_path, split="test")) == len(KINDS) + 1
    with trainer.judged():
        assert trainer.measure("test").values == judged["test"].values
    assert trainer.measure("test").values == final["test"].values


def test_copies_are_judged_at_a_best_epoch_each(tmp_path: Path) -> None:
    """Breaks if the test rows of single-task runs name one epoch for all tasks."""
    worse = ("optimizer.lr=0.5", "trainer.lr_scheduler=null", "trainer.epochs=6", "share=false")
    trainer = make_trainer(tmp_path, "trainer.judge=best", "trainer.evaluate_every=1", *worse)
    trainer.run()
    trainer.finish()
    rows = {row["task"]: int(row["epoch"]) for row in read_rows(tmp_path, split="test")}
    assert rows == {**trainer.best.epochs, "total": trainer.best.latest_epoch}
    assert len(set(trainer.best.epochs.values())) > 1


def test_a_resumed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Breaks if something that training depends on is missing from the checkpoint."""
    options = ("weighting=uncertainty", "schedule=staged", "schedule.start={multilabel: 2}")
    uninterrupted = make_trainer(tmp_path / "uninterrupted", *options)
    uninterrupted.run()
    stopped = make_trainer(tmp_path / "stopped", *options)
    stopped.on_epoch = lambda epoch, objective: setattr(stopped, "stop", epoch == 2)
    with pytest.raises(Interrupted):
        stopped.run()
    resumed = make_trainer(tmp_path / "stopped", *options)
    assert (resumed.resumed, resumed.epoch, resumed.means) == (True, 2, stopped.means)
    resumed.run()
    assert_same_bits(resumed.learner.model.state_dict(), uninterrupted.learner.model.state_dict())
    assert (resumed.directory / "metrics.csv").read_bytes() == (
        uninterrupted.directory / "metrics.csv"
    ).read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        ("weighting=uncertainty", "trainer.patience=5"),
        ("weighting=dwa", "schedule=staged", "schedule.start={multilabel: 4}"),
        ("schedule=plateau", "schedule.patience=2"),
        ("trainer.give_up={6: 0}",),
    ],
)
@pytest.mark.parametrize("last_epoch", [1, 4, 5])
def test_a_run_that_a_scheduler_stops_goes_on_to_the_same_bytes(
    tmp_path: Path, options: tuple[str, ...], last_epoch: int
) -> None:
    """Breaks if the end of an epoch that was not evaluated is no place to go on from."""
    options = (*options, "trainer.epochs=9", "trainer.evaluate_every=3")
    uninterrupted = make_trainer(tmp_path / "uninterrupted", *options)
    uninterrupted.run()
    stopped = make_trainer(tmp_path / "stopped", *options)
    stopped.stop_signal = signal.SIGTERM

    def stop(epoch: int, objective: float) -> None:
        stopped.stop = stopped.stop_now = epoch == last_epoch

    stopped.on_epoch = stop
    with pytest.raises(Interrupted) as interrupt:
        stopped.run()
    assert interrupt.value.number == signal.SIGTERM
    resumed = make_trainer(tmp_path / "stopped", *options)
    assert (resumed.epoch, resumed.last_evaluated_epoch) == (last_epoch, last_epoch // 3 * 3 or 1)
    resumed.run()
    assert resumed.epoch == uninterrupted.epoch
    assert_same_bits(resumed.learner.model.state_dict(), uninterrupted.learner.model.state_dict())
    assert (resumed.directory / "metrics.csv").read_bytes() == (
        uninterrupted.directory / "metrics.csv"
    ).read_bytes()


def test_a_run_that_is_stopped_before_its_first_evaluation_goes_on(tmp_path: Path) -> None:
    """Breaks if a checkpoint without a best model or the means of an epoch cannot be read."""
    trainer = make_trainer(tmp_path, "trainer.epochs=9", "trainer.evaluate_every=3")
    trainer.save()
    resumed = make_trainer(tmp_path, "trainer.epochs=9", "trainer.evaluate_every=3")
    assert (resumed.resumed, resumed.epoch, resumed.means) == (True, 0, None)
    resumed.run()
    assert resumed.epoch == 9


def test_rows_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    """Breaks if a kill between metrics.csv and checkpoint.pt leaves an epoch there twice."""
    trainer = make_trainer(tmp_path)
    trainer.run()
    content = (tmp_path / "metrics.csv").read_bytes()
    trainer.record(means(), evaluation(1.0), save=False)
    trainer.write_metrics_and_best()  # and is killed here
    make_trainer(tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == content


@pytest.mark.parametrize("options", [(), ("schedule=staged", "schedule.start={multilabel: 3}")])
def test_patience_counts_from_the_best_epoch_and_the_last_start(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """Breaks if a run stops too late, or before a late task had its chance to get better."""
    trainer = make_trainer(
        tmp_path, "trainer.patience=2", "trainer.epochs=20", "trainer.evaluate_every=1", *options
    )
    first_counted = max(1, trainer.experiment.schedule.last_start())
    for epoch in range(1, 10):
        trainer.epoch = epoch
        trainer.record(means(), evaluation(1.0), save=False)  # only the first one is better
        assert trainer.out_of_patience() == (epoch - first_counted >= 2)


def test_without_patience_a_run_never_stops_early(tmp_path: Path) -> None:
    """Breaks if a run that gets no better ends before its last epoch unasked."""
    trainer = make_trainer(tmp_path)
    trainer.last_evaluated_epoch = 1000
    assert not trainer.out_of_patience()


def test_a_run_is_given_up_where_its_best_monitor_is_worse_than_the_limit(tmp_path: Path) -> None:
    """Breaks if the limit of an epoch is asked for earlier, or of the last value, not the best."""
    limits = "trainer.give_up={2: 0.8, 4: 0.6}"
    trainer = make_trainer(tmp_path, limits, "trainer.epochs=20", "trainer.evaluate_every=1")
    ended = []
    for epoch, loss in enumerate((1.0, 0.7, 0.9, 0.65, 0.5), 1):
        trainer.epoch = epoch
        trainer.record(means(), evaluation(loss), save=False)
        ended.append(trainer.ends_early())
    # Whether the last one would have been good enough is not known at epoch 4.
    assert ended == [False, False, False, True, False]


def test_a_limit_has_the_sign_of_its_metric(tmp_path: Path) -> None:
    """Breaks if a run with a high accuracy is given up, and one with a low accuracy goes on."""
    for limit, given_up in ((0.0, False), (1.0, True)):
        trainer = make_trainer(
            tmp_path / str(limit),
            "trainer.monitor=multilabel.accuracy",
            f"trainer.give_up={{2: {limit}}}",
            "trainer.epochs=4",
            "trainer.evaluate_every=1",
        )
        trainer.run()
        assert (trainer.epoch, trainer.gives_up()) == ((2, True) if given_up else (4, False))


def test_a_loss_that_is_not_finite_is_named_with_its_place(tmp_path: Path) -> None:
    """Breaks if a diverged model is recorded as an evaluation, or the error does not help."""
    trainer = make_trainer(tmp_path)
    trainer.epoch, trainer.step = 3, 12
    with pytest.raises(DivergedError) as error:
        trainer.check_losses("val", evaluation(math.nan))
    assert str(error.value) == (
        "The val loss of task 'regression' became nan after epoch 3, step 12; "
        "lower optimizer.lr or set trainer.clip."
    )
    trainer.check_losses("val", evaluation(1.0))


def test_advice_on_losses_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if every epoch, or a resumed run, repeats the advice."""
    caplog.set_level(logging.WARNING, "mtl_runner")
    trainer = make_trainer(tmp_path, "weighting=uncertainty")
    for objective in (1.0, -1.0, -2.0):
        trainer.record(means(objective), evaluation(1.0))
    assert [record.message[:26] for record in caplog.records] == ["The total loss is negative"]
    make_trainer(tmp_path, "weighting=uncertainty").record(means(-3.0), evaluation(1.0))
    assert len(caplog.records) == 1


def test_a_metric_with_the_name_of_another_column_is_refused(tmp_path: Path) -> None:
    """Breaks if a user's metric overwrites the weight or the loss in metrics.csv."""
    metrics = {
        "regression": ["rmse", {"_target_": "tests.unit.train.test_trainer.make_weight_metric"}]
    }
    with pytest.raises(ConfigError, match="has a metric called 'weight', which is another column"):
        make_trainer(tmp_path, metrics=metrics)


def make_weight_metric() -> Metric:
    """Return a metric of a user's own with an unlucky name."""
    return Metric(
        "weight",
        higher_is_better=False,
        sums=lambda output, target, task: output.sum(),
        finish=lambda total, task: total,
    )


def test_an_evaluation_takes_fewer_rows_of_images_at_once(tmp_path: Path) -> None:
    """Breaks if an evaluation of images takes more memory than a training step by far."""
    trainer = make_trainer(tmp_path)
    assert trainer.evaluation_rows("val") == 1024
    val = trainer.experiment.data.splits["val"]
    val.inputs = torch.zeros(1, 3, 256, 256)
    assert trainer.evaluation_rows("val") == max(16, 2**21 // (3 * 256 * 256))
    val.inputs = torch.zeros(1, 3, 2048, 2048)
    assert trainer.evaluation_rows("val") == 16, "a training batch fits"


def test_the_best_model_is_saved_only_when_it_has_changed(tmp_path: Path) -> None:
    """Breaks if best.pt holds another epoch's weights than the checkpoint claims."""
    trainer = make_trainer(tmp_path)
    for epoch, loss in ((1, 0.5), (2, 0.9)):
        trainer.epoch = epoch
        trainer.record(means(), evaluation(loss))
        with torch.no_grad():
            next(trainer.learner.model.parameters()).add_(1.0)
    best = checkpoint.load(tmp_path / "best.pt")
    assert best["epochs"] == {"": 1}
    assert checkpoint.load(tmp_path / "checkpoint.pt")["best"] == {
        "values": {"": 0.5},
        "epochs": {"": 1},
    }


@pytest.mark.usefixtures("float64")
def test_means_are_those_of_the_batches_that_hold_a_label(tmp_path: Path) -> None:
    """Breaks if a batch without a label of a task counts as one with a likelihood of 0."""
    config = everything_config("likelihood=heteroscedastic", "optimizer.lr=1e-12")
    config.data.batch_size = 2  # every fourth row has no label at all, so many batches lack one
    experiment = build(config)
    trainer = Trainer(experiment, tmp_path)
    expected: dict[str, list[float]] = {task.name: [] for task in trainer.tasks}
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    train = experiment.data.splits["train"]
    for rows in order.split(2):
        batch = train.rows(rows)
        outputs = experiment.learner.model(batch.inputs)
        for task in trainer.tasks:
            target = batch.targets[task.name]
            if task.labelled(target).any():
                s = outputs[log_variance_key(task.name)].detach()
                output = outputs[task.name].detach() * (
                    1 if task.kind.startswith("regression") else s.exp()
                )
                expected[task.name].append(nll_by_hand(task, output, target, s).item())
    buffer = EpochBuffer(
        trainer.tasks, trainer.batches.count, experiment.device, trainer.learner.layout
    )
    means = trainer.train_epoch(buffer).means()
    assert all(len(values) < 30 for values in expected.values())
    assert means.measured["nll"] == [
        pytest.approx(np.mean(values), abs=1e-8) for values in expected.values()
    ]


def stopped_and_undisturbed(folder: Path) -> tuple[Path, bytes]:
    """Return a run stopped after two of four epochs, and the metrics.csv of one that was not."""
    options = ("trainer.evaluate_every=1", "weighting=fixed")
    undisturbed = make_trainer(folder / "undisturbed", *options)
    undisturbed.run()
    undisturbed.finish()
    stopped = make_trainer(folder / "stopped", *options)
    stopped.on_epoch = lambda epoch, _: setattr(stopped, "stop", epoch == 2)
    with pytest.raises(Interrupted):
        stopped.run()
    return stopped.directory, (undisturbed.directory / "metrics.csv").read_bytes()


def resumed_metrics(directory: Path) -> bytes:
    """Train a stopped run to its end and return its metrics.csv."""
    resumed = make_trainer(directory, "trainer.evaluate_every=1", "weighting=fixed")
    assert resumed.resumed
    resumed.run()
    resumed.finish()
    assert not (directory / checkpoint.PREVIOUS).exists()
    return (directory / "metrics.csv").read_bytes()


@pytest.mark.parametrize("name", checkpoint.FILES)
def test_a_run_with_a_damaged_file_goes_on_from_the_save_before(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if a bad sector costs a run, or the run ends in other numbers."""
    directory, expected = stopped_and_undisturbed(tmp_path)
    data = bytearray((directory / name).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / name).write_bytes(data[: len(data) // 2 + 1])
    assert resumed_metrics(directory) == expected
    assert f"{name} was damaged; going on from the save before, after epoch 1." in caplog.messages


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """Breaks if a checkpoint without format, identity, config and checksum cannot be resumed."""
    directory, expected = stopped_and_undisturbed(tmp_path)
    for name in checkpoint.FILES:
        state = dict(checkpoint.load(directory / name))
        metrics = state.pop("metrics", None)
        if metrics is not None:
            state["position"] = metrics["position"]
        for key in ("run", "config"):
            state.pop(key, None)
        torch.save(state, directory / name)
    assert resumed_metrics(directory) == expected


def test_a_checkpoint_that_lacks_something_is_named(tmp_path: Path) -> None:
    """Breaks if a checkpoint that lost a field, at any depth, ends in a KeyError."""
    directory, _ = stopped_and_undisturbed(tmp_path)
    path = directory / "checkpoint.pt"
    state = dict(checkpoint.load(path))
    checkpoint.save(path, {**state, "random": {}})
    with pytest.raises(RunDirectoryError, match=r"checkpoint\.pt' does not fit this run \('"):
        make_trainer(directory)
    del state["compiled"]
    checkpoint.save(path, state)
    with pytest.raises(RunDirectoryError, match=r"checkpoint\.pt' has no 'compiled', which"):
        make_trainer(directory)
