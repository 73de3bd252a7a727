"""Numbers: squared and absolute errors, mean and median."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.tasks.kinds import Regression, RegressionL1
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(("kind", "power"), [("regression", 2), ("regression_l1", 1)])
def test_the_loss_is_the_mean_error_over_the_labels(kind: str, power: int) -> None:
    """Breaks if the path of fully labelled tasks is another loss, or a missing label counts."""
    output, target = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    expected = (output - target).abs().pow(power)
    full, gaps = Task("a", kind, size=3), Task("a", kind, size=3, missing=True)
    assert_near(full.loss({"a": output}, {"a": target}), expected.mean(), 1e-12)
    assert_near(gaps.loss({"a": output}, {"a": target}), expected.mean(), 1e-12)
    target[0, 1] = target[4] = torch.nan
    assert_near(gaps.loss({"a": output}, {"a": target}), expected[~target.isnan()].mean(), 1e-12)


def test_the_trivial_predictors_are_the_mean_and_the_median() -> None:
    """Breaks if losses are reported relative to another constant than the best."""
    target = torch.tensor([[1.0], [2.0], [torch.nan], [9.0]])
    task = Task("a", size=1)
    assert Regression().trivial(target, task).tolist() == [4.0]
    assert RegressionL1().trivial(target, task).tolist() == [2.0]
