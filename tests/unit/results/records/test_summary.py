"""summary.json as typed values: NaN or empty for what is missing, of a wrong type, or old."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mtl_runner.results.records.reading import UnreadableError
from mtl_runner.results.records.summary import Summary, as_float, check_summary, mapping

CONTENT: dict[str, Any] = {
    "seed": 3,
    "epochs": 20,
    "device": "cpu",
    "threads": 2,
    "plots": "all",
    "monitor": {"name": "relative_loss", "best": 0.25, "best_epoch": 7, "final": 0.5},
    "tasks": {
        "a": {
            "kind": "regression",
            "weight": 0.5,
            "sigma": 2,
            "true_sigma": None,
            "final": {"val": {"loss": 1.0, "rmse": None}, "test": {"loss": 2.0}},
            "best": {"val": {"loss": 0.5}},
        }
    },
    "marks": {"a starts": 4},
    "time": {"seconds": 1.5, "backward_passes": 2},
    "versions": {"torch": "2.13.0"},
    "interference": {"cosine": 0.5, "condition": None},
}


def test_every_field_is_read() -> None:
    """Breaks if a number of the summary is lost, or read from another place."""
    summary = Summary.of(CONTENT)
    assert (summary.seed, summary.epochs, summary.plots) == (3, 20, "all")
    assert (summary.seconds, summary.backward_passes) == (1.5, 2.0)
    monitor = summary.monitor
    assert (monitor.name, monitor.best_epoch) == ("relative_loss", 7)
    assert (monitor.at("final"), monitor.at("best")) == (0.5, 0.25)
    task = summary.tasks["a"]
    assert (task.weight, task.sigma, task.metrics.main) == (0.5, 2.0, "rmse")
    assert task.at("final", "test") == {"loss": 2.0}
    assert task.at("best", "val") == {"loss": 0.5}
    assert summary.marks == {"a starts": 4.0}
    assert summary.interference["cosine"] == 0.5
    assert math.isnan(summary.interference["condition"])
    assert summary.environment == {"device": "cpu", "threads": "2", "version of torch": "2.13.0"}


def test_a_run_says_at_which_epoch_it_is_judged() -> None:
    """Breaks if an older run, which does not say it, is judged at its best epoch."""
    assert Summary.of(CONTENT).judge == "final"
    assert Summary.of({**CONTENT, "judge": "best"}).judge == "best"
    with pytest.raises(UnreadableError, match=r"^judge must be final or best$"):
        check_summary({"status": "running", "judge": "last"})


def test_what_is_missing_is_nan_or_empty() -> None:
    """Breaks if a run that was killed early stops the comparison of the others."""
    summary = Summary.of({})
    assert (summary.seed, summary.epochs, summary.tasks, summary.marks) == (None, None, {}, {})
    assert (summary.environment, summary.plots, summary.monitor.name) == ({}, "", "")
    assert summary.monitor.best_epoch is None
    unknown = (
        summary.seconds,
        summary.backward_passes,
        summary.monitor.at("final"),
        summary.monitor.at("best"),
    )
    assert all(map(math.isnan, unknown))


def test_a_task_without_numbers_has_none() -> None:
    """Breaks if a metric that could not be computed, or a split that was not, is a zero."""
    task = Summary.of(CONTENT).tasks["a"]
    assert math.isnan(task.true_sigma)
    assert math.isnan(task.at("final", "val")["rmse"])
    assert task.at("best", "test") == {}
    bare = Summary.of({"tasks": {"a": {"kind": "regression"}}}).tasks["a"]
    assert bare.at("final", "val") == {}
    assert all(map(math.isnan, (bare.weight, bare.sigma)))


@pytest.mark.parametrize("wrong", [None, 3, "text", [1, 2]])
@pytest.mark.parametrize("field", ["monitor", "tasks", "marks", "time", "versions", "interference"])
def test_a_field_of_a_wrong_type_is_as_if_missing(field: str, wrong: object) -> None:
    """Breaks if one file that somebody edited stops the whole comparison."""
    summary = Summary.of({**CONTENT, field: wrong})
    empty = Summary.of({key: value for key, value in CONTENT.items() if key != field})
    assert repr(summary) == repr(empty)


def test_a_task_of_a_wrong_type_is_one_without_numbers() -> None:
    """Breaks if a damaged entry of one task hides the other tasks."""
    tasks = {**CONTENT["tasks"], "b": None, "c": {"final": [1]}, "d": {"final": {"val": 3}}}
    summary = Summary.of({**CONTENT, "tasks": tasks})
    assert summary.tasks["a"].weight == 0.5
    assert all(summary.tasks[name].at("final", "val") == {} for name in "bcd")


@pytest.mark.parametrize(
    ("value", "number"), [("0.5", 0.5), (2, 2.0), (True, 1.0), ("inf", math.inf)]
)
def test_numbers_may_be_text(value: object, number: float) -> None:
    """Breaks if a learning rate as it was typed is no number."""
    assert as_float(value) == number


@pytest.mark.parametrize("value", [None, "", "auto", {}, [0.5]])
def test_what_is_no_number_is_nan(value: object) -> None:
    """Breaks if a missing number is a zero, or a wrong one an exception."""
    assert math.isnan(as_float(value))


def test_only_mappings_are_mappings() -> None:
    """Breaks if a list is read as a dictionary."""
    assert mapping({"a": 1}) == {"a": 1}
    assert mapping([("a", 1)]) == mapping(None) == {}


def test_separate_best_epochs_stay_apart() -> None:
    """Breaks if the best epochs of separately trained tasks are taken for one number."""
    content = {"monitor": {"name": "loss", "best_epoch": {"a": 3, "b": 9}}}
    assert Summary.of(content).monitor.best_epoch == {"a": 3, "b": 9}
