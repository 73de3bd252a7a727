"""The base class of weightings that measure gradients every few steps."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.weighting.measured_gradients import MeasuredGradients
from tests.support.builders import make_tasks, only_active

TASKS = make_tasks(a="regression", b="regression")


def test_the_first_step_measures_and_then_every_few() -> None:
    """Breaks if the weights stay 1 for long, or a measurement is paid for at every step."""
    weighting = MeasuredGradients(TASKS, 3)
    assert [weighting.measures_now() for _ in range(7)] == [True, False, False] * 2 + [True]


def test_the_number_of_steps_and_the_weights_are_in_the_checkpoint() -> None:
    """Breaks if a resumed run measures at other steps, or begins with weights of 1."""
    weighting, resumed = MeasuredGradients(TASKS, 3), MeasuredGradients(TASKS, 3)
    weighting.task_weights.copy_(torch.tensor([2.0, 5.0]))
    for _ in range(4):
        weighting.measures_now()
    resumed.load_state_dict(weighting.state_dict())
    assert [resumed.measures_now() for _ in range(3)] == [False, False, True]
    assert resumed.weigh(torch.ones(2))[0].tolist() == [2, 5]


def test_the_weights_stay_between_two_measurements() -> None:
    """Breaks if a look at the weights moves them, or idle tasks get some."""
    weighting = MeasuredGradients(TASKS, 3)
    weights, objective = weighting.weigh(torch.tensor([3.0, 4.0]), only_active(1))
    assert (weights.tolist(), objective.item()) == ([0, 1], 4)
    weights += 1
    assert weighting.weigh(torch.tensor([3.0, 4.0]))[0].tolist() == [1, 1]


@pytest.mark.parametrize("every", [0, 1.5, "often", True])
def test_a_number_of_steps_is_asked_for(every: object) -> None:
    """Breaks if a typo measures never."""
    words = r"weighting\.every must be a whole number of at least 1; found"
    with pytest.raises(ConfigError, match=words):
        MeasuredGradients(TASKS, every)  # type: ignore[arg-type]
