"""Answers as tensors and columns: probabilities, noise scales and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Standard
from mtl_runner.runs.answers import answer_columns, answer_tensors, describe_answer, shape_text
from mtl_runner.tasks.task import Task

PRICE = Task("price", size=2, offset=100.0, scale=10.0)
SORT = Task("sort", "classification", size=2, classes=("cat", "dog"))


@pytest.mark.parametrize(
    ("kind", "noise"),
    [
        ("regression", np.random.default_rng(0).normal),
        ("regression_l1", np.random.default_rng(0).laplace),
    ],
)
def test_an_interval_holds_its_share_of_the_noise(kind: str, noise: object) -> None:
    """Breaks if an interval is too wide or too narrow for the noise that was learned."""
    task = Task("y", kind, size=1, offset=3.0, scale=2.0)
    answers = answer_tensors(task, {"y": torch.zeros(1, 1)}, Standard([task]), 5.0, interval=0.8)
    targets = 3.0 + 5.0 * noise(size=200_000)  # type: ignore[operator]
    inside = (targets > answers["y.low"].item()) & (targets < answers["y.high"].item())
    assert inside.mean() == pytest.approx(0.8, abs=0.005)


def test_an_interval_of_a_logarithm_is_one_of_the_number() -> None:
    """Breaks if the interval of a price leaves the units of the price, or holds negative prices."""
    task = Task("y", "regression_log", size=1)
    answers = answer_tensors(task, {"y": torch.ones(1, 1)}, Standard([task]), 0.5, interval=0.95)
    expected = [math.expm1(1 + sign * 1.959964 * 0.5) for sign in (-1, 1)]
    assert [answers[f"y.{end}"].item() for end in ("low", "high")] == pytest.approx(expected)


def test_a_predicted_noise_scale_is_that_of_its_row_and_output() -> None:
    """Breaks if rows exchange their sigmas, or a learned one hides those that the model predicts."""
    outputs = {"price": torch.zeros(2, 2), "price/log_variance": torch.tensor([[0.0, 2], [4, 0]])}
    answers = answer_tensors(PRICE, outputs, Heteroscedastic([PRICE]), 7.0, interval=0.95)
    expected = 10 * torch.tensor([[1.0, math.e], [math.e**2, 1.0]])
    assert torch.allclose(answers["price.sigma"], expected)
    columns = answer_columns(PRICE, answers)
    assert list(columns) == [
        f"price.{i}{end}" for end in ("", ".sigma", ".low", ".high") for i in range(2)
    ]


def test_probabilities_are_those_of_the_learned_temperature() -> None:
    """Breaks if probabilities are those of the raw logits, which the likelihood does not mean."""
    likelihood = Homoscedastic([SORT], frozen={"sort": 2.0})
    outputs = {"sort": torch.tensor([[0.0, 4.0]])}
    answers = answer_tensors(SORT, outputs, likelihood, probabilities=True)
    share = 1 / (1 + math.exp(-1))  # 4 over the temperature, 2 squared
    assert answers["sort.probability"][0].tolist() == pytest.approx([1 - share, share])
    columns = answer_columns(SORT, answers)
    assert {name: list(column) for name, column in columns.items()} == {
        "sort": ["dog"],
        "sort.probability.cat": pytest.approx([1 - share]),
        "sort.probability.dog": pytest.approx([share]),
    }


def test_a_task_without_noise_has_no_interval() -> None:
    """Breaks if a class gets a sigma in units that it does not have, or a regression invents one."""
    for task in (SORT, PRICE):
        answers = answer_tensors(
            task, {task.name: torch.zeros(1, 2)}, Standard([task]), interval=0.5
        )
        assert list(answers) == [task.name]


def test_answers_and_inputs_are_described() -> None:
    """Breaks if a loaded run does not say what it takes and answers."""
    assert describe_answer(PRICE) == "regression of 2"
    assert describe_answer(Task("depth", size=1, places=(2, 2))) == "regression, per pixel"
    assert shape_text(None) == "as the model takes them"
