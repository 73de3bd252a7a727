"""Numbers on a logarithmic scale: trained as logarithms, answered in their own units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from mtl_runner.errors import DataError
from mtl_runner.tasks.kinds import RegressionLog
from mtl_runner.tasks.task import Task
from tests.unit.tasks.problems import measured

pytestmark = pytest.mark.usefixtures("float64")


def test_answers_undo_what_the_column_went_through() -> None:
    """Breaks if a price is answered as its logarithm."""
    prices = np.array([0.0, 3.0, 250.0, 1e6, np.nan])
    task = Task("price", "regression_log", size=1, offset=4.0, scale=2.5)
    trained = (RegressionLog().from_column(prices) - task.offset) / task.scale
    target = torch.tensor(trained).unsqueeze(1)
    np.testing.assert_allclose(task.in_units(target).squeeze(1).numpy(), prices, rtol=1e-12)
    np.testing.assert_allclose(task.answer(target).squeeze(1).numpy(), prices, rtol=1e-12)


def test_metrics_are_those_of_the_numbers_and_of_their_logarithms() -> None:
    """Breaks if an error in euros is one of logarithms, or the other way round."""
    random = np.random.default_rng(0)
    truth, answer = np.exp(random.normal(3, 1, size=(2, 50)))
    task = Task("price", "regression_log", size=1, offset=3.0, scale=1.2, trivial=(0.1,))
    output, target = (
        torch.tensor((np.log1p(values) - 3.0) / 1.2).unsqueeze(1) for values in (answer, truth)
    )
    values = measured(task, output, target)
    assert list(values) == ["rmsle", "mae", "rmse", "r2_log"]
    assert values == pytest.approx(
        {
            "rmsle": reference.root_mean_squared_log_error(truth, answer),
            "mae": reference.mean_absolute_error(truth, answer),
            "rmse": reference.root_mean_squared_error(truth, answer),
            "r2_log": reference.r2_score(np.log1p(truth), np.log1p(answer)),
        }
    )


def test_the_loss_is_that_of_the_logarithms() -> None:
    """Breaks if a few large numbers outweigh all others after all."""
    task = Task("price", "regression_log", size=1)
    loss = task.loss({"price": torch.tensor([[1.0], [2.0]])}, {"price": torch.zeros(2, 1)})
    assert loss.item() == 2.5


def test_a_number_without_a_logarithm_is_refused() -> None:
    """Breaks if a debt becomes NaN, that is a missing label."""
    with pytest.raises(DataError, match=r"^holds -2, of which there is no log\(1 \+ y\)"):
        RegressionLog().from_column(np.array([1.0, -2.0]))
