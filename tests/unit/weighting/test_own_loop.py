"""A weighting in a Lightning module takes the steps that the runner takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import (
    Fixed,
    GeometricMean,
    LogSum,
    Uncertainty,
    UncertaintyAnalytic,
    UncertaintySoftmax,
    Weighting,
)
from tests.support.builders import Adam, assert_near, make_learner, make_split, make_tasks, train
from tests.support.own_loop import LightningModule, fit, task_losses
from tests.unit.update.learners import KINDS_OF, Pairs

pytestmark = pytest.mark.usefixtures("float64")

WEIGHTINGS: dict[str, Callable[[Sequence[Task]], Weighting]] = {
    "fixed": partial(Fixed, weights={"a": 3.0}, normalize="mean"),
    "kendall": partial(Uncertainty, init=0.0, anneal=False),
    "liebel": partial(Uncertainty, form="liebel", init=0.5, anneal=False),
    "analytic": UncertaintyAnalytic,
    "softmax": UncertaintySoftmax,
    "log_sum": LogSum,
    "geometric_mean": GeometricMean,
}


class Weighted(LightningModule):
    """Automatic optimisation with a weighting as a submodule."""

    def __init__(self, model: nn.Module, weighting: Weighting) -> None:
        super().__init__()
        self.model, self.weighting = model, weighting

    def training_step(self, batch: Split, batch_idx: int) -> Tensor:
        del batch_idx
        objective: Tensor = self.weighting(torch.stack(task_losses(self.model, batch)))
        return objective

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learned = list(self.weighting.parameters())
        groups: list[dict[str, Any]] = [{"params": self.model.parameters()}]
        if learned:
            settings = {"lr": 0.025, "eps": self.weighting.smallest_slope, "weight_decay": 0}
            groups.append({"params": learned, **settings})
        return Adam(groups)


@pytest.mark.parametrize("make_weighting", WEIGHTINGS.values(), ids=WEIGHTINGS)
def test_a_weighting_in_a_lightning_module_takes_the_runners_steps(
    make_weighting: Callable[[Sequence[Task]], Weighting],
) -> None:
    """Breaks if a weighting has another gradient outside the runner, or hides its parameters."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = make_learner(tasks, split, model=Pairs(tasks), weighting=make_weighting(tasks))
    module = Weighted(Pairs(tasks), make_weighting(tasks))
    train(learner, split, 15)
    fit(module, [split] * 15)
    assert_near(module.model.state_dict(), learner.model.state_dict(), 1e-12)
    assert_near(
        dict(module.weighting.named_parameters()), dict(learner.weighting.named_parameters()), 1e-12
    )
    assert set(module.parameters()) == {*module.model.parameters(), *module.weighting.parameters()}
