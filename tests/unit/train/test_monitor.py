"""The monitor: which number judges a run, and that less of it is better."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.monitor import Monitor
from tests.support.builders import make_tasks

TASKS = make_tasks(a="regression", b="classification")
EVALUATION = Evaluation(
    {
        "a": {"loss": 4.0, "relative_loss": 0.5, "rmse": 2.0},
        "b": {"loss": 1.0, "relative_loss": 0.25, "accuracy": 0.75},
    }
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("relative_loss", 0.375), ("a.loss", 4.0), ("a.rmse", 2.0), ("b.accuracy", -0.75)],
)
def test_less_is_better_whatever_is_monitored(text: str, value: float) -> None:
    """Breaks if a metric of which more is better keeps the worst model."""
    assert Monitor.parse(text, TASKS).value(EVALUATION) == value


@pytest.mark.parametrize(
    ("text", "suggestion"), [("b.acuracy", "b.accuracy"), ("c.loss", "relative_loss")]
)
def test_an_unknown_monitor_is_answered_with_what_is_allowed(text: str, suggestion: str) -> None:
    """Breaks if a misspelt monitor ends in a KeyError after the first epoch."""
    with pytest.raises(ConfigError) as error:
        Monitor.parse(text, TASKS)
    assert str(error.value).startswith(f"trainer.monitor={text!r} is unknown; ")
    assert suggestion in str(error.value)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("b.auc", "it is recorded only with data.metrics.b='[accuracy, f1, ece, auc]'."),
        ("b.rmse", "allowed: a.loss, a.mae, a.r2, a.rmse, a.rrmse, b.accuracy, b.ece, b.f1, b.loss, relative_loss."),
        ("accuracy", "write b.accuracy."),
        ("loss", "write a.loss or b.loss."),
    ],
)  # fmt: skip
def test_a_metric_that_is_not_recorded_is_not_mistaken_for_another(text: str, end: str) -> None:
    """Breaks if ``label.auc`` is answered with the name of another metric that looks like it."""
    with pytest.raises(ConfigError) as error:
        Monitor.parse(text, TASKS)
    assert str(error.value) == f"trainer.monitor={text!r} is unknown; {end}"


@pytest.mark.parametrize(
    ("text", "task", "value"),
    [
        ("relative_loss", "a", 0.5),
        ("b.accuracy", "b", -0.75),
        ("b.accuracy", "a", 0.5),
    ],
)
def test_a_copy_is_judged_by_its_own_task(text: str, task: str, value: float) -> None:
    """Breaks if the copy of a task is kept or dropped by what another copy does."""
    assert Monitor.parse(text, TASKS).value(EVALUATION, task) == value


def test_without_a_trivial_predictor_a_copy_is_judged_by_its_loss() -> None:
    """Breaks if a task whose relative loss is not defined stops the run."""
    evaluation = Evaluation({"a": {"loss": 4.0}, "b": {"loss": 1.0, "relative_loss": 0.25}})
    assert Monitor(None, "relative_loss").value(evaluation, "a") == 4.0


def test_an_undefined_number_is_the_worst() -> None:
    """Breaks if an epoch whose metric is NaN becomes the best one."""
    evaluation = Evaluation({"a": {"loss": math.nan}, "b": {"loss": 1.0, "accuracy": math.nan}})
    assert Monitor("a", "loss").value(evaluation) == math.inf
    assert Monitor("b", "accuracy", higher_is_better=True).value(evaluation) == math.inf


def term_with_metric(higher: bool | None = None) -> Task:
    """Return a loss term with a metric of its own, whose direction may be known."""

    def my_error(outputs: object, targets: object) -> Tensor:
        return torch.tensor(1.0)

    def agree(outputs: object, targets: object) -> Tensor:
        return torch.tensor(0.0)

    if higher is not None:
        my_error.higher_is_better = higher  # type: ignore[attr-defined]
    agree.metrics = {"my_error": my_error}  # type: ignore[attr-defined]
    return Task("agree", "term", loss_term=agree)


def test_a_metric_without_a_direction_is_no_monitor() -> None:
    """Breaks if a number of unknown direction counts as better when it grows."""
    with pytest.raises(ConfigError) as error:
        Monitor.parse("agree.my_error", [term_with_metric()])
    assert str(error.value) == (
        "trainer.monitor='agree.my_error': nobody says whether a higher my_error is better; set the attribute `higher_is_better` "
        "of the callable that measures it to True or False."
    )


@pytest.mark.parametrize("higher", [True, False])
def test_a_term_can_give_its_metric_a_direction(higher: bool) -> None:
    """Breaks if what a user says of a metric is not what decides which epoch is best."""
    monitor = Monitor.parse("agree.my_error", [term_with_metric(higher)])
    assert monitor.higher_is_better is higher
