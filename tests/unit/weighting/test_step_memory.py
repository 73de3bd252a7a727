"""The base class of weightings that remember every step."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.step_memory import StepMemory
from tests.support.builders import assert_same_bits, make_tasks, only_active


class LastLosses(StepMemory):
    """Weighs every loss by the task's loss in the step before."""

    previous: Tensor

    def __init__(self) -> None:
        super().__init__(make_tasks(a="regression", b="regression"))
        self.add_memory("previous")

    def weights(self, losses: Tensor, active: Active | None = None) -> Tensor:
        return self.of_active(self.previous, active)

    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        return {"previous": self.with_active(self.previous, losses, active)}


def test_a_step_is_remembered_once_after_its_weights_are_known() -> None:
    """Breaks if a step sees its own losses in the memory, or an idle task's are kept."""
    weighting = LastLosses()
    first, objective = weighting.weigh(torch.tensor([2.0, 3.0]))
    assert (first.tolist(), objective.item()) == ([0, 0], 0)
    second, _ = weighting.weigh(torch.tensor([5.0, 7.0]), only_active(1))
    assert second.tolist() == [0, 3]
    third, objective = weighting.weigh(torch.tensor([1.0, 1.0]))
    assert (third.tolist(), objective.item()) == ([2, 7], 9)


def test_the_formula_and_autograd_agree() -> None:
    """Breaks if the quick way to the weights leaves a step out, or counts it twice."""
    by_formula, by_autograd = LastLosses(), LastLosses()
    for losses in (torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])):
        values = losses.clone().requires_grad_()
        objective = by_autograd(values)
        (weights,) = torch.autograd.grad(objective, values)
        assert_same_bits(by_formula.weigh(losses), (weights, objective.detach()))
