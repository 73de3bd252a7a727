"""Steps of a user's own loop: means of losses and weights, however they are given."""

from __future__ import annotations

import pytest
import torch

from mtl_runner import Task
from mtl_runner.errors import ConfigError
from mtl_runner.runs.recorded_steps import RecordedSteps, vector

TASKS = [Task("a"), Task("b")]


def test_means_are_over_the_steps_since_the_last_evaluation() -> None:
    """Breaks if a row holds the last step, or steps of an earlier row."""
    steps = RecordedSteps(TASKS)
    assert steps.take() is None
    steps.add([1.0, 2.0], objective=3.0, weights={"b": 0.5, "a": 1.5}, sigmas=[None, 4.0])
    steps.add(torch.tensor([3.0, 4.0]), objective=torch.tensor(5.0), weights=[0.5, 1.5])
    means = steps.take()
    assert means is not None
    assert (means.loss, means.weight, means.sigma) == ([2.0, 3.0], [1.0, 1.0], [None, 4.0])
    assert means.cells(TASKS)["total"] == {"loss": 4.0}
    assert steps.take() is None


def test_a_step_without_a_label_of_a_task_is_left_out_of_its_mean() -> None:
    """Breaks if one NaN makes the mean of an epoch NaN."""
    steps = RecordedSteps(TASKS)
    steps.add([1.0, None])
    steps.add([3.0, 4.0])
    means = steps.take()
    assert means is not None
    assert means.loss == [2.0, 4.0]
    assert means.weight == [None, None]
    assert means.objective is None


def test_weights_are_the_derivatives_of_the_objective_and_backward_still_works() -> None:
    """Breaks if the logged weight is not what the loop trains with, or uses up the graph."""
    parameter = torch.tensor([2.0, 3.0], requires_grad=True)
    losses = parameter.square()
    objective = losses.log().sum()
    steps = RecordedSteps(TASKS)
    steps.add(losses, objective)
    assert parameter.grad is None
    objective.backward()
    means = steps.take()
    assert means is not None
    assert means.weight == pytest.approx([1 / 4, 1 / 9])


def test_an_objective_that_tells_no_weights_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if the column of weights is empty, and nobody knows why."""
    losses = torch.tensor([2.0, 3.0], requires_grad=True)
    steps = RecordedSteps(TASKS)
    steps.add(losses)
    steps.add(losses, losses.sum())
    steps.add(losses.detach(), 5.0, weights=[1.0, 1.0])
    assert caplog.messages == []
    steps.add(losses.detach(), losses.sum())
    steps.add(losses, 5.0)
    (warning,) = caplog.messages
    assert warning.startswith("No weights are recorded, since the objective does not depend on")


def test_a_task_without_a_number_is_named() -> None:
    """Breaks if numbers end up with the wrong task."""
    with pytest.raises(ConfigError, match=r"^Every task needs a loss: a, b; found a, c\.$"):
        vector({"a": 1.0, "c": 2.0}, ["a", "b"], "loss")
    with pytest.raises(ConfigError, match=r"^Every task needs a weight: a, b; found 3 numbers\.$"):
        vector([1.0, 2.0, 3.0], ["a", "b"], "weight")
