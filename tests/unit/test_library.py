"""Use without the runner: updates and weightings in a loop of one's own, and in a Lightning module, take the runner's steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.likelihood import Homoscedastic, Standard
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask, Update
from mtl_runner.weighting import (
    Fixed,
    GeometricMean,
    LogSum,
    Uncertainty,
    UncertaintyAnalytic,
    UncertaintySoftmax,
    Weighting,
)
from tests.support.builders import (
    Adam,
    copied,
    flat,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    near,
    same_bits,
    train,
)
from tests.unit.update.learners import KINDS_OF, Pairs, learner_with, only

pytestmark = pytest.mark.usefixtures("float64")

UPDATES: dict[str, tuple[type[Update], Mapping[str, Any]]] = {
    "joint": (Joint, {}),
    "per_task": (PerTask, {}),
    "adatask": (AdaTask, {}),
    "jacobian": (Jacobian, {"aggregator": "pcgrad"}),
}
update_is = pytest.mark.parametrize(("update", "options"), UPDATES.values(), ids=UPDATES)
AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


def task_losses(model: nn.Module, split: Split) -> list[Tensor]:
    """The losses of a user, who has never heard of a likelihood."""
    outputs, functional = model(split.inputs), torch.nn.functional
    return [
        functional.mse_loss(outputs["a"], split.targets["a"]),
        functional.cross_entropy(outputs["b"], split.targets["b"]),
        functional.binary_cross_entropy_with_logits(outputs["c"], split.targets["c"]),
    ]


def by_the_runner(
    update: type[Update],
    options: Mapping[str, Any],
    steps: int = 12,
    weighting: Weighting | None = None,
) -> nn.Module:
    """The model after the runner's own steps."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = learner_with(
        update, tasks, split, model=Pairs(tasks), optimizer=AdamW, weighting=weighting, **options
    )
    train(learner, split, steps)
    return learner.model


# A plain loop


@update_is
def test_an_update_in_a_loop_of_ones_own_takes_the_runners_steps(
    update: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if an update needs the runner around it, or its default arguments are not weight 1 and everybody active."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    parameters = Parameters.from_losses(model, task_losses(model, split))
    own = update(parameters, AdamW, tasks=tasks, **options)
    for _ in range(12):
        own(task_losses(model, split))
    same_bits(model.state_dict(), by_the_runner(update, options).state_dict())


@update_is
def test_weights_and_active_tasks_can_be_given(
    update: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if the arguments of the call do not mean what they mean in the runner."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    own = update(
        Parameters.from_losses(model, task_losses(model, split)), AdamW, tasks=tasks, **options
    )
    weights = torch.tensor([0.5, 2.0, 10.0])
    twin = learner_with(
        update,
        tasks,
        split,
        model=Pairs(tasks),
        optimizer=AdamW,
        weighting=Fixed(tasks, {"a": 0.5, "b": 2.0, "c": 10.0}),
        **options,
    )
    for active in ((0, 1, 2), (0, 2), (1,), (0, 1, 2)):
        own(task_losses(model, split), weights, only(*active))
        twin.step(split, only(*active))
    same_bits(model.state_dict(), twin.model.state_dict())


def test_fresh_gradients_in_a_loop_of_ones_own_take_the_runners_steps() -> None:
    """Breaks if `again` is called in another order, or too often."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    own = PerTask(
        Parameters.from_losses(model, task_losses(model, split)), AdamW, tasks, gradients="fresh"
    )
    calls = []

    def again() -> list[Tensor]:
        calls.append(1)
        return task_losses(model, split)

    for _ in range(12):
        own(task_losses(model, split), recompute=again)
    same_bits(model.state_dict(), by_the_runner(PerTask, {"gradients": "fresh"}).state_dict())
    assert len(calls) == 12 * 2
    with pytest.raises(ConfigError, match="needs `recompute`"):
        own(task_losses(model, split))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@update_is
def test_default_weights_have_the_type_of_the_losses(
    update: type[Update], options: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """Breaks if a float32 model meets weights of the default type."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks).to(dtype)
    split = split.apply(lambda t: t.to(dtype) if t.is_floating_point() else t)
    before = flat(model)
    own = update(
        Parameters.from_losses(model, task_losses(model, split)), AdamW, tasks=tasks, **options
    )
    own(task_losses(model, split))
    assert flat(model).dtype == dtype
    assert flat(model).isfinite().all()
    assert (flat(model) != before).all()


def test_all_is_everyone() -> None:
    """Breaks if the default of `active` leaves somebody out."""
    everyone = Active.all(3)
    assert everyone.values == (1.0, 1.0, 1.0)
    assert everyone.tasks == (0, 1, 2)
    assert everyone.everyone
    assert everyone.none_if_all is None
    assert not everyone.partial


# Parameters from losses


@pytest.mark.parametrize("make_model", [make_mlp, Pairs], ids=["mlp", "pairs"])
def test_owners_from_losses_are_those_that_the_runner_finds(
    make_model: Callable[[Sequence[Task]], nn.Module],
) -> None:
    """Breaks if a loop of one's own shares other parameters than the runner does."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_model(tasks)
    ours, theirs = (
        Parameters.from_losses(model, task_losses(model, split)),
        find_parameters(model, Standard(tasks), split),
    )
    assert list(map(id, ours.tensors)) == list(map(id, theirs.tensors))
    assert ours.owners == theirs.owners
    assert ours.last_shared is theirs.last_shared is not None


def test_a_parameter_that_no_loss_reaches_or_that_is_frozen_is_left_alone() -> None:
    """Breaks if an update moves, decays or refuses what the losses do not use."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks, hidden=(8, 5))
    model.unused = nn.Linear(2, 2)
    model.trunk[0].requires_grad_(False)
    still = {
        "unused": copied(model.unused.state_dict()),
        "frozen": copied(model.trunk[0].state_dict()),
    }
    parameters = Parameters.from_losses(model, task_losses(model, split))
    assert {id(p) for p in parameters.tensors} == {
        id(p) for p in (*model.trunk[2].parameters(), *model.heads.parameters())
    }
    own = AdaTask(parameters, AdamW, tasks)
    for _ in range(3):
        own(task_losses(model, split))
    same_bits(
        {
            "unused": copied(model.unused.state_dict()),
            "frozen": copied(model.trunk[0].state_dict()),
        },
        still,
    )


def test_stacked_losses_have_no_owners_and_are_refused() -> None:
    """Breaks if heads silently become shared parameters, because all losses hang on one graph."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    with pytest.raises(ModelError, match="Give the losses as a list of scalars, one per task"):
        Parameters.from_losses(model, torch.stack(task_losses(model, split)))


# Lightning


class LightningModule(nn.Module):
    """As much of `lightning.LightningModule` as its trainer asks for."""

    automatic_optimization = True

    def training_step(self, batch: Split, batch_idx: int) -> Tensor | None:
        raise NotImplementedError

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        return None


def fit(module: LightningModule, batches: Iterable[Split]) -> None:
    """As much of `lightning.Trainer.fit` as changes a parameter."""
    optimizer = module.configure_optimizers()
    module.train()
    for index, batch in enumerate(batches):
        loss = module.training_step(batch, index)
        if module.automatic_optimization:
            assert optimizer is not None
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Weighed(LightningModule):
    """Automatic optimisation with a weighting as a submodule."""

    def __init__(self, model: nn.Module, weighting: Weighting) -> None:
        super().__init__()
        self.model, self.weighting = model, weighting

    def training_step(self, batch: Split, batch_idx: int) -> Tensor:
        del batch_idx
        objective: Tensor = self.weighting(torch.stack(task_losses(self.model, batch)))
        return objective

    def configure_optimizers(self) -> torch.optim.Optimizer:
        own = list(self.weighting.parameters())
        groups: list[dict[str, Any]] = [{"params": self.model.parameters()}]
        return Adam([*groups, *([{"params": own, "lr": 0.025, "weight_decay": 0}] if own else [])])


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


WEIGHTINGS: dict[str, Callable[[Sequence[Task]], Weighting]] = {
    "fixed": partial(Fixed, weights={"a": 3.0}, normalize="mean"),
    "kendall": partial(Uncertainty, init=0.0, anneal=False),
    "liebel": partial(Uncertainty, form="liebel", init=0.5, anneal=False),
    "analytic": UncertaintyAnalytic,
    "softmax": UncertaintySoftmax,
    "log_sum": LogSum,
    "geometric_mean": GeometricMean,
}


@pytest.mark.parametrize("make_weighting", WEIGHTINGS.values(), ids=WEIGHTINGS)
def test_a_weighting_in_a_lightning_module_takes_the_runners_steps(
    make_weighting: Callable[[Sequence[Task]], Weighting],
) -> None:
    """Breaks if the gradient through a weighting is not that of the weighted losses, or its own parameters are not in it."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = make_learner(tasks, split, model=Pairs(tasks), weighting=make_weighting(tasks))
    module = Weighed(Pairs(tasks), make_weighting(tasks))
    train(learner, split, 15)
    fit(module, [split] * 15)
    near(module.model.state_dict(), learner.model.state_dict(), 1e-12)
    near(
        dict(module.weighting.named_parameters()), dict(learner.weighting.named_parameters()), 1e-12
    )
    assert set(module.parameters()) == {*module.model.parameters(), *module.weighting.parameters()}


@update_is
def test_an_update_in_a_lightning_module_takes_the_runners_steps(
    update: type[Update], options: Mapping[str, Any]
) -> None:
    """Breaks if an update cannot be made at the first batch, or leaves something to a trainer."""
    tasks = make_tasks(**KINDS_OF)
    module = Aggregated(Pairs(tasks), tasks, partial(update, **options))
    fit(module, [make_split(tasks)] * 12)
    same_bits(module.model.state_dict(), by_the_runner(update, options).state_dict())


def test_a_likelihood_in_a_loop_of_ones_own_takes_the_runners_steps() -> None:
    """Breaks if the noise scales of a likelihood get another gradient than in the runner."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    likelihood, runners = (Homoscedastic(tasks, init=0.3, anneal=False) for _ in range(2))
    twin, weighting = Pairs(tasks), Fixed(tasks)
    parameters = find_parameters(twin, runners, split)
    learner = Learner(
        twin, runners, weighting, Joint(parameters, Adam), OwnOptimizers(weighting, Adam, runners)
    )
    train(learner, split, 10)
    optimizer = Adam(
        [{"params": model.parameters()}, {"params": likelihood.parameters(), "lr": 0.025}]
    )
    for _ in range(10):
        optimizer.zero_grad()
        likelihood(model(split.inputs), split.targets).sum().backward()
        optimizer.step()
    near(model.state_dict(), twin.state_dict(), 1e-12)
    near(dict(likelihood.named_parameters()), dict(runners.named_parameters()), 1e-12)
