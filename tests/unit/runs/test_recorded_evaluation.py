"""Evaluations of a user's own loop have the numbers of ours."""

from __future__ import annotations

import pytest
import torch

from mtl_runner import Task
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.runs.recorded_evaluation import RecordedEvaluation

TASK = Task("depth", size=1, trivial=(1.0,), metrics=("mae",))


def recorded(*batches: tuple[list[float], list[float]]) -> dict[str, float]:
    """Return what is measured of batches of outputs and targets."""
    evaluation = RecordedEvaluation([TASK])
    for outputs, targets in batches:
        evaluation.add(
            None, None, {"depth": torch.tensor(outputs)}, {"depth": torch.tensor(targets)}
        )
    return evaluation.evaluation().values["depth"]


def test_batches_add_up() -> None:
    """Breaks if a short last batch counts as much as the others."""
    together = recorded(([1.0, 2.0, 5.0], [2.0, 4.0, 9.0]))
    apart = recorded(([1.0, 2.0], [2.0, 4.0]), ([5.0], [9.0]))
    assert apart == pytest.approx(together)
    assert apart["loss"] == pytest.approx((1 + 4 + 16) / 3)
    assert apart["relative_loss"] == pytest.approx((1 + 4 + 16) / (1 + 9 + 64))


def test_numbers_can_be_given_instead() -> None:
    """Breaks if a loop that has its own metrics cannot be recorded."""
    evaluation = RecordedEvaluation([TASK])
    evaluation.add([0.5], {"depth": {"mae": torch.tensor(0.25), "relative_loss": 0.1}}, None, None)
    assert evaluation.evaluation().values["depth"] == {
        "loss": 0.5,
        "mae": 0.25,
        "relative_loss": 0.1,
    }


def test_a_task_whose_target_is_constant_has_no_relative_loss() -> None:
    """Breaks if a loss is divided by zero."""
    assert "relative_loss" not in recorded(([1.0], [1.0]))


def test_what_is_missing_or_unknown_is_named() -> None:
    """Breaks if a mistake in a loop becomes a wrong number in a comparison."""
    evaluation = RecordedEvaluation([TASK])
    with pytest.raises(ConfigError, match=r"Task 'depth' has no metric 'maee'; did you mean 'mae'"):
        evaluation.add(None, {"depth": {"maee": 1.0}}, None, None)
    with pytest.raises(ConfigError, match=r"There is no task 'dept'; did you mean 'depth'"):
        evaluation.add(None, {"dept": {"mae": 1.0}}, None, None)
    with pytest.raises(ConfigError, match="An evaluation needs outputs"):
        evaluation.add(None, None, None, None)
    with pytest.raises(ConfigError, match="The evaluation has no loss of task 'depth'"):
        evaluation.evaluation()
    evaluation.add([1.0], None, None, None)
    with pytest.raises(ConfigError, match="The evaluation has no mae of task 'depth'; log metrics"):
        evaluation.evaluation()
    tensor = torch.ones(1)
    with pytest.raises(ConfigError, match="Task 'depth' has no output"):
        evaluation.add(None, None, {"dept": tensor}, {"depth": tensor})
    with pytest.raises(ConfigError, match="Task 'depth' has no target"):
        evaluation.add(None, None, {"depth": tensor}, {"dept": tensor})
    with pytest.raises(DataError, match="has an infinite target in the evaluation"):
        evaluation.add(None, None, {"depth": tensor}, {"depth": tensor / 0})
