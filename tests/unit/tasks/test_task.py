"""A task: its kind, its metrics, and what a checkpoint keeps of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.metrics import Metric
from mtl_runner.tasks.task import Task, log_variance_key
from tests.unit.tasks.ordinal import Ordinal


def test_a_kind_that_is_none_is_named() -> None:
    """Breaks if a typing mistake in a dataset is an error deep in an evaluation."""
    with pytest.raises(
        ConfigError, match=r"^Task 'a' has the unknown kind 'regresion'; did you mean 'regression'"
    ):
        Task("a", "regresion")


def test_unknown_metrics_are_named() -> None:
    """Breaks if a typing mistake in a dataset is an error deep in an evaluation."""
    with pytest.raises(
        ConfigError,
        match=r"^Task 'a' of kind 'direction' has no metric 'angle'; did you mean 'angle_mean'\? allowed: angle_mean, angle_median, rmse, within_11, within_22, within_30\.$",
    ):
        Task("a", "direction", metrics=("angle",))


def test_the_main_metric_has_a_direction() -> None:
    """Breaks if models are ranked by a number of which nobody says which end is the good one."""
    bias = Metric("bias", None, sums=lambda o, t, task: (o - t).mean(), finish=lambda s, task: s)
    assert Task("t", metrics=("rmse", bias)).main_metric == "rmse"
    with pytest.raises(ConfigError) as error:
        Task("t", metrics=(bias, "rmse"))
    assert str(error.value) == (
        "Task 't': its first metric is the main one, by which models are ranked, but nobody says whether a higher bias is better; put it after another, or give it `higher_is_better`."
    )


def test_a_term_needs_a_function_and_names_must_differ() -> None:
    """Breaks if a task that cannot be trained, or two columns of one name, go through."""
    with pytest.raises(ConfigError, match=r"^Task 'a' is of kind 'term' and needs a `loss_term`"):
        Task("a", "term")
    with pytest.raises(ConfigError, match=r"^Task 'a' has two metrics called 'mae'"):
        Task("a", metrics=("mae", "rmse", "mae"))


def test_the_metrics_of_a_loss_term_are_those_of_its_task() -> None:
    """Breaks if what a term measures beside its loss has no column, or no direction."""

    def agree(outputs: object, targets: object) -> torch.Tensor:
        return torch.tensor(0.0)

    def gap(outputs: object, targets: object) -> torch.Tensor:
        return torch.tensor(1.0)

    agree.metrics = {"gap": gap}  # type: ignore[attr-defined]
    task = Task("t", "term", loss_term=agree)
    assert task.metric_names == ["gap"]
    assert task.main_metric == "loss"
    assert task.directions == {"loss": False, "relative_loss": False, "gap": None}
    gap.higher_is_better = True  # type: ignore[attr-defined]
    assert task.directions["gap"] is True
    assert (task.has_target, task.has_likelihood) == (False, False)


def test_metrics_of_a_loss_term_that_have_no_names_are_refused() -> None:
    """Breaks if a list of functions ends in an error about `items`."""

    def agree(outputs: object, targets: object) -> torch.Tensor:
        return torch.tensor(0.0)

    agree.metrics = [agree]  # type: ignore[attr-defined]
    words = "^The metrics of the loss term 't' must be a dict from names to functions; found "
    with pytest.raises(ConfigError, match=words):
        Task("t", "term", loss_term=agree)


def test_a_row_is_labelled_if_any_of_its_entries_is() -> None:
    """Breaks if a task counts as idle although a batch holds a label of it."""
    target = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]])
    assert Task("a", size=2).labelled(target).tolist() == [True, False]
    assert Task("c", "classification", size=2).labelled(torch.tensor([1, -100])).tolist() == [
        True,
        False,
    ]


def test_answers_and_targets_have_the_same_units() -> None:
    """Breaks if a prediction is in other units than the label beside it."""
    task = Task("a", size=1, offset=5.0, scale=2.0)
    assert task.answer(torch.tensor(1.5)) == task.in_units(torch.tensor(1.5)) == 8.0
    assert log_variance_key("a") == "a/log_variance"


def test_a_checkpoint_holds_plain_numbers() -> None:
    """Breaks if a checkpoint of a user who gave NumPy's numbers cannot be loaded safely."""
    fields = Task("a", size=np.int64(2), offset=np.float32(1.5), scale=np.float64(2.0)).plain()
    assert [type(fields[name]) for name in ("size", "offset", "scale")] == [int, float, float]
    assert not {"loss_term", "metrics"} & set(fields)


def test_a_kind_of_ones_own_is_saved_by_its_path_and_options() -> None:
    """Breaks if a saved task cannot be made again from its checkpoint."""
    saved = Task("a", Ordinal(levels=5)).plain()["kind"]
    assert saved == {"_target_": "tests.unit.tasks.ordinal.Ordinal", "levels": 5}


@pytest.mark.parametrize("name", ["", "  ", 3, None])
def test_a_task_has_a_name(name: object) -> None:
    """Breaks if rows of metrics.csv belong to nobody."""
    with pytest.raises(ConfigError) as error:
        Task(name)  # type: ignore[arg-type]
    assert str(error.value) == (
        f"The name of a task must be a text that is not empty; found {name!r}."
    )


def test_no_task_is_called_total() -> None:
    """Breaks if metrics.csv has two kinds of rows that nobody can tell apart."""
    with pytest.raises(ConfigError) as error:
        Task("total", "classification")
    assert str(error.value) == (
        "A task cannot be called 'total', the name of the objective in metrics.csv; give it another one (for a column of a table: {name: other, column: total})."
    )


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["scale", "true_sigma"])
def test_units_and_true_noise_are_positive(field: str, value: float) -> None:
    """Breaks if every target of a task is NaN, or its pictures show a noise that cannot be."""
    words = f"^Task 'a': {field} must be a positive number; found {float(value)}\\.$"
    with pytest.raises(ConfigError, match=words):
        Task("a", **{field: value})


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"size": "x"}, "size must be a finite number; found 'x'."),
        ({"size": -1}, "size must be at least 0; found -1."),
        ({"offset": float("nan")}, "offset must be a finite number; found nan."),
        ({"scale": "x"}, "scale must be a finite number; found 'x'."),
        ({"scale": None}, "scale must be a finite number; found None."),
        (
            {"offset": 1e300},
            "offset must lie within ±3.4e+38, the range of single precision; found 1e+300.",
        ),
        ({"metrics": "rmse"}, "metrics must be a tuple; found 'rmse'."),
        ({"classes": 3}, "classes must be a tuple; found 3."),
        (
            {"loss_term": 3},
            "loss_term must be a callable of (outputs, targets) or (model, batch); found 3.",
        ),
        (
            {"loss_term": lambda outputs: 1},
            "loss_term must take two arguments, (outputs, targets) or (model, batch); its own are (outputs).",
        ),
    ],
)
def test_an_argument_of_another_type_is_named(arguments: dict[str, object], rule: str) -> None:
    """Breaks if a user's own dataset ends in a TypeError of ours."""
    with pytest.raises(ConfigError) as error:
        Task("a", **arguments)  # type: ignore[arg-type]
    assert str(error.value) == f"Task 'a': {rule}"


@pytest.mark.parametrize("metric", [lambda: 1, lambda outputs: 1, lambda o, t, more: 1])
def test_a_metric_of_a_loss_term_takes_outputs_and_targets(metric: Callable[..., int]) -> None:
    """Breaks if a function of other arguments is a TypeError in the first evaluation."""

    def agree(outputs: object, targets: object) -> torch.Tensor:
        return torch.tensor(0.0)

    agree.metrics = {"gap": metric}  # type: ignore[attr-defined]
    words = (
        r"^Task 't': the loss term's metric 'gap' must take two arguments, \(outputs, targets\); "
    )
    with pytest.raises(ConfigError, match=words):
        Task("t", "term", loss_term=agree)
    # A function in C need not say what it takes, and other arguments may have defaults.
    assert Task("t", "term", loss_term=max)
    assert Task("t", "term", loss_term=lambda outputs, targets, weight=1: 0)
