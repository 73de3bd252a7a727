"""An update in a user's own loop, or Lightning module, takes the steps that the runner takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.task import Task
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask, Update
from mtl_runner.weighting import Fixed
from tests.support.builders import assert_same_bits, flat_parameters, make_split, make_tasks, train
from tests.support.own_loop import LightningModule, fit, task_losses
from tests.unit.update.learners import KINDS_OF, Pairs, learner_with, only

pytestmark = pytest.mark.usefixtures("float64")

UPDATES: dict[str, tuple[type[Update], Mapping[str, Any]]] = {
    "joint": (Joint, {}),
    "per_task": (PerTask, {}),
    "adatask": (AdaTask, {}),
    "jacobian": (Jacobian, {"aggregator": "pcgrad"}),
}
for_every_update = pytest.mark.parametrize(
    ("update_class", "options"), UPDATES.values(), ids=UPDATES
)
AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


def runner_model(
    update_class: type[Update],
    options: Mapping[str, Any],
) -> nn.Module:
    """Return the model after 12 steps of the runner."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = learner_with(
        update_class, tasks, split, model=Pairs(tasks), optimizer=AdamW, **options
    )
    train(learner, split, 12)
    return learner.model


@for_every_update
def test_an_update_in_a_loop_of_ones_own_takes_the_runners_steps(
    update_class: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if an update needs the runner, or its defaults are not weight 1 and all active."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    parameters = Parameters.from_losses(model, task_losses(model, split))
    update = update_class(parameters, AdamW, tasks=tasks, **options)
    for _ in range(12):
        update(task_losses(model, split))
    assert_same_bits(model.state_dict(), runner_model(update_class, options).state_dict())


@for_every_update
def test_weights_and_active_tasks_can_be_given(
    update_class: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if the arguments of the call do not mean what they mean in the runner."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    update = update_class(
        Parameters.from_losses(model, task_losses(model, split)), AdamW, tasks=tasks, **options
    )
    weights = torch.tensor([0.5, 2.0, 10.0])
    twin = learner_with(
        update_class,
        tasks,
        split,
        model=Pairs(tasks),
        optimizer=AdamW,
        weighting=Fixed(tasks, {"a": 0.5, "b": 2.0, "c": 10.0}),
        **options,
    )
    for active in ((0, 1, 2), (0, 2), (1,), (0, 1, 2)):
        update(task_losses(model, split), weights, only(*active))
        twin.step(split, only(*active))
    assert_same_bits(model.state_dict(), twin.model.state_dict())


def test_fresh_gradients_in_a_loop_of_ones_own_take_the_runners_steps() -> None:
    """Breaks if `again` is called in another order, or too often."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    update = PerTask(
        Parameters.from_losses(model, task_losses(model, split)), AdamW, tasks, gradients="fresh"
    )
    calls = []

    def again() -> list[Tensor]:
        calls.append(1)
        return task_losses(model, split)

    for _ in range(12):
        update(task_losses(model, split), recompute=again)
    assert_same_bits(model.state_dict(), runner_model(PerTask, {"gradients": "fresh"}).state_dict())
    assert len(calls) == 12 * 2
    with pytest.raises(ConfigError, match="needs `recompute`"):
        update(task_losses(model, split))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@for_every_update
def test_default_weights_have_the_type_of_the_losses(
    update_class: type[Update], options: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """Breaks if a float32 model meets weights of the default type."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks).to(dtype)
    split = split.apply(lambda t: t.to(dtype) if t.is_floating_point() else t)
    before = flat_parameters(model)
    update = update_class(
        Parameters.from_losses(model, task_losses(model, split)), AdamW, tasks=tasks, **options
    )
    update(task_losses(model, split))
    assert flat_parameters(model).dtype == dtype
    assert flat_parameters(model).isfinite().all()
    assert (flat_parameters(model) != before).all()


class Aggregated(LightningModule):
    """Manual optimisation with an update."""

    automatic_optimization = False

    def __init__(
        self, model: nn.Module, tasks: Sequence[Task], make_update: Callable[..., Update]
    ) -> None:
        super().__init__()
        self.model, self.tasks, self.make_update = model, tasks, make_update
        self.update: Update | None = None

    def training_step(self, batch: Split, batch_idx: int) -> None:
        del batch_idx
        losses = task_losses(self.model, batch)
        if self.update is None:
            self.update = self.make_update(
                Parameters.from_losses(self.model, losses), AdamW, tasks=self.tasks
            )
        self.update(losses)


@for_every_update
def test_an_update_in_a_lightning_module_takes_the_runners_steps(
    update_class: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if an update cannot be made at the first batch, or leaves something to a trainer."""
    tasks = make_tasks(**KINDS_OF)
    module = Aggregated(Pairs(tasks), tasks, partial(update_class, **options))
    fit(module, [make_split(tasks)] * 12)
    assert_same_bits(module.model.state_dict(), runner_model(update_class, options).state_dict())
