"""The training step, and the same step as a function of its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.learner import Learner, pure_step
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.experiment.step_hooks import GradientNormHook, LossChangeHook
from mtl_runner.gradients.loss_scale import LossScale
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.tasks.activity import Active
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask
from mtl_runner.weighting import DWA, FAMO, Fixed, GradNorm, Uncertainty
from tests.support.builders import (
    SGD,
    assert_near,
    flat_parameters,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.unit.update.learners import KINDS_OF, only

pytestmark = pytest.mark.usefixtures("float64")


def test_a_record_holds_losses_weights_and_objective_of_the_step() -> None:
    """Breaks if what is logged is from after the update, or leaves the activity out."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    losses = losses_of(model, tasks, split).detach()
    learner = make_learner(
        tasks, split, model=model, weighting=Fixed(tasks, {"a": 3.0}), optimizer=SGD
    )
    record = learner.step(split, Active((0.5, 1.0, 0.0)))
    assert_near(record.loss, losses, 1e-14)
    assert_near(record.weight, torch.tensor([1.5, 1.0, 0.0]), 1e-14)
    assert_near(record.objective, 3 * losses[0] + losses[1], 1e-14)
    assert (losses_of(model, tasks, split) != losses).any()


def test_every_measured_field_is_announced() -> None:
    """Breaks if a record has no room for what a step measures, or a column stays empty."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    pytest.importorskip("torchjd")
    learner = make_learner(tasks, split, update=Jacobian, aggregator="mgda")
    learner.likelihood = Homoscedastic(tasks)
    learner.conflicts = Conflicts(learner.update.parameters, 3)
    record = learner.step(split, only(0, 1, 2))
    widths = {name: tensor.numel() for name, tensor in record.measured.items()}
    assert widths == learner.layout.measured
    assert set(widths) == {"aggregator_weight", "norm_ratio", "gradient_norm", "cosine", "nll"}


def test_the_own_optimizers_step_last() -> None:
    """Breaks if a weighting is told of losses after its parameters have moved."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = make_learner(tasks, split, weighting=GradNorm(tasks))
    learner.conflicts = Conflicts(learner.update.parameters, 3)
    kinds = [type(hook) for hook in learner.hooks]
    assert kinds == [GradientNormHook, Conflicts, OwnOptimizers]
    famo = make_learner(tasks, split, weighting=FAMO(tasks))
    assert [type(hook) for hook in famo.hooks] == [LossChangeHook, OwnOptimizers]
    assert make_learner(tasks, split).hooks == []


def test_only_those_who_ask_pay_for_a_second_pass() -> None:
    """Breaks if every step keeps what is needed to recompute its losses, or FAMO has nothing."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    assert not make_learner(tasks, split).needs_recompute
    assert make_learner(tasks, split, weighting=FAMO(tasks)).needs_recompute
    assert make_learner(tasks, split, update=PerTask, gradients="fresh").needs_recompute


@pytest.mark.parametrize(
    ("update", "weighting", "expected"),
    [(Joint, Fixed, 1), (PerTask, Fixed, 3), (AdaTask, Fixed, 3), (Joint, GradNorm, 4)],
)
def test_backward_passes_are_those_of_update_and_weighting(
    update: Any, weighting: Any, expected: int
) -> None:
    """Breaks if a comparison calls a method cheaper than it is."""
    tasks = make_tasks(**KINDS_OF)
    learner = make_learner(tasks, make_split(tasks), update=update, weighting=weighting(tasks))
    assert learner.backward_passes == expected


def state_of(learner: Learner) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the trained tensors and the constants of a learner, by part."""
    parts = {
        "model": learner.model,
        "likelihood": learner.likelihood,
        "weighting": learner.weighting,
    }
    return (
        {part: dict(module.named_parameters()) for part, module in parts.items()},
        {part: dict(module.named_buffers()) for part, module in parts.items()},
    )


@pytest.mark.parametrize("active", [(0, 1, 2), (0, 2)])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("update", [Joint, PerTask])
def test_the_step_as_a_function_has_the_gradients_of_the_step(
    update: Any, clip: float | None, active: tuple[int, ...]
) -> None:
    """Breaks if a stack of replicas takes other steps than single runs."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = make_learner(
        tasks,
        split,
        weighting=Uncertainty(tasks, init=0.5),
        optimizer=SGD,
        update=update,
        clip=clip,
    )
    parameters, constants = state_of(learner)
    step = pure_step(learner, only(*active))
    values = only(*active).tensor(torch.zeros(1))
    batch = (split.inputs, split.targets, {})
    fields, losses, gradients, _ = step(parameters, constants, batch, values)
    assert_near(losses.detach(), losses_of(learner.model, tasks, split).detach(), 1e-14)
    before = flat_parameters(learner.model)
    log_variances = [s.detach().clone() for s in learner.weighting.log_variance]
    record = learner.step(split, only(*active))
    for name in ("loss", "weight", "objective"):
        assert_near(fields[name].detach(), record.fields()[name], 1e-12)
    task_sets = list(gradients["model"])
    assert task_sets == ([None] if update is Joint else [(0,), (1,), (2,)])
    change = sum(
        torch.cat([g.flatten() for g in gradients["model"][tasks_of_set].values()])
        for tasks_of_set in task_sets
    )
    assert_near(before - flat_parameters(learner.model), 0.01 * change.detach(), 1e-12)
    moved = [
        bool(s.detach() != start)
        for s, start in zip(learner.weighting.log_variance, log_variances, strict=True)
    ]
    slopes = [bool(gradient != 0) for gradient in gradients["weighting"].values()]
    assert slopes == moved == [t in active for t in range(3)]


def test_a_step_with_a_scale_is_the_same_step() -> None:
    """Breaks if half precision changes more than the rounding inside the model."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    for update in (Joint, PerTask, Jacobian):
        options = {"aggregator": "sum"} if update is Jacobian else {}
        models = []
        for scale in (None, LossScale()):
            models.append(make_mlp(tasks))
            learner = make_learner(tasks, split, model=models[-1], update=update, **options)
            learner.likelihood, learner.scale = Homoscedastic(tasks), scale
            learner.own_optimizers = OwnOptimizers(learner.weighting, SGD, learner.likelihood)
            for _ in range(3):
                learner.step(split, only(0, 1, 2))
        assert_near(flat_parameters(models[1]), flat_parameters(models[0]), 1e-14)


def test_a_step_whose_gradient_overflows_is_left_out_as_a_whole() -> None:
    """Breaks if one task's optimizer steps and another's does not, or the scale stays."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    learner = make_learner(tasks, split, model=model, update=PerTask)
    learner.likelihood, learner.scale = Homoscedastic(tasks), LossScale()
    learner.own_optimizers = OwnOptimizers(learner.weighting, SGD, learner.likelihood)
    learner.scale.value = 2.0**1023
    before = flat_parameters(model)
    scales = [s.item() for s in learner.likelihood.parameters()]
    record = learner.step(split, only(0, 1, 2))
    assert torch.equal(flat_parameters(model), before)
    assert [s.item() for s in learner.likelihood.parameters()] == scales
    assert learner.scale.value == 2.0**1022
    assert set(record.measured) == set(learner.layout.measured)
    assert record.loss.isfinite().all()
    learner.scale.value = 2.0**16
    learner.step(split, only(0, 1, 2))
    assert not torch.equal(flat_parameters(model), before)


@pytest.mark.parametrize("make_weighting", [Fixed, DWA])
def test_weights_that_are_known_before_save_a_pass(make_weighting: Callable[..., Any]) -> None:
    """Breaks if a batch in parts goes through the model twice although its weights are known."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model.register_forward_hook(count)
    learner = make_learner(tasks, split, model=model, weighting=make_weighting(tasks))
    learner.part_rows = lambda rows: -(-rows // 2)
    calls = 0
    learner.step(split, only(0, 1, 2))
    assert calls == 2


@pytest.mark.parametrize("weighting", ["gradnorm", "uncertainty"])
def test_gradients_before_the_weights_save_a_pass(weighting: str) -> None:
    """Breaks if parts go through the model for the losses alone, where gradients are needed too."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model.register_forward_hook(count)
    is_gradnorm = weighting == "gradnorm"
    learner = make_learner(
        tasks, split, model=model, weighting=(GradNorm if is_gradnorm else Uncertainty)(tasks)
    )
    if not is_gradnorm:
        learner.conflicts = Conflicts(learner.update.parameters, len(tasks))
    learner.part_rows = lambda rows: -(-rows // 2)
    calls = 0
    learner.step(split, only(0, 1, 2))
    assert calls == 4


@pytest.mark.parametrize("overflow", ["before the weights", "in the update"])
def test_an_overflow_of_measured_gradients_leaves_out_the_step(overflow: str) -> None:
    """Breaks if a gradient that is only looked at ends a run in half precision."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    learner = make_learner(tasks, split, model=model, weighting=Uncertainty(tasks))
    learner.scale = LossScale()
    learner.scale.value = torch.inf
    if overflow == "before the weights":
        learner.conflicts = Conflicts(learner.update.parameters, len(tasks))
    before = flat_parameters(model)
    record = learner.step(split, only(0, 2))
    assert torch.equal(flat_parameters(model), before)
    assert record.weight[1] == 0
    assert (record.weight[[0, 2]] > 0).all()
    assert set(record.measured) == set(learner.layout.measured)


def test_a_subclass_has_to_say_itself_that_its_weights_are_known_before() -> None:
    """Breaks if a user's weighting that inherits from Fixed is asked before the losses."""

    class Roots(Fixed):
        def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
            return losses.sqrt().sum()

    assert Roots(make_tasks(a="regression")).uses_losses
    assert not Fixed(make_tasks(a="regression")).uses_losses
