"""Uncertainty weighting: where sigma ends, what moves it and what must not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Fixed, Uncertainty
from tests.support.builders import (
    KINDS,
    NO_DATA,
    QUICK,
    SGD,
    Point,
    assert_near,
    assert_same_bits,
    copy_state,
    gradients_of,
    losses_of,
    make_learner,
    make_linear,
    make_split,
    make_tasks,
    make_terms,
    minimise,
    only_active,
    train,
)
from tests.unit.weighting.autograd import by_autograd

pytestmark = pytest.mark.usefixtures("float64")

FORMS = ("kendall", "simplified", "jde", "liebel")
PER_KIND = [(form, kind) for form in FORMS for kind in KINDS]
losses_over_decades = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


EVERY_KIND = make_tasks(a="regression", b="regression_l1", c="classification", d="multilabel")


def scale_at_optimum(form: str, kind: str, loss: float) -> float:
    """Return e^s where the objective of a constant loss is least, as published."""
    if form == "liebel":
        return (loss + (loss**2 + 8 * loss) ** 0.5) / 4
    return 2 * loss if form == "kendall" and kind in ("classification", "multilabel") else loss


def log_variances(weighting: Uncertainty) -> torch.Tensor:
    """Return a copy of all log-variances."""
    return torch.stack([s.detach().clone() for s in weighting.log_variance])


# Where it ends


@QUICK
@given(loss=losses_over_decades)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "b"), [("simplified", 1.0), ("jde", 0.5), ("kendall", None)])
def test_weighted_loss_at_the_optimum_is_the_constant_b(
    form: str, b: float | None, kind: str, loss: float
) -> None:
    """Breaks if the balance between tasks is not 1 / loss and `a` does more than rename sigma."""
    b = b if b is not None else {"regression_l1": 1.0}.get(kind, 0.5)
    weights, _ = Uncertainty(make_tasks(a=kind), form=form, init="log_loss").weigh(
        torch.tensor([loss])
    )
    assert_near(weights * loss, torch.tensor([b]), 1e-12)


@pytest.mark.parametrize("form", ["kendall", "simplified", "jde"])
def test_sigma_is_the_rms_residual_of_least_squares(form: str) -> None:
    """Breaks if the Gaussian sigma is no standard deviation, or weighting biases a linear model."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets["a"] *= 30
    model, weighting = make_linear(tasks), Uncertainty(tasks, form=form, init=0.0)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, split)),
    )
    design = np.column_stack([split.inputs.numpy(), np.ones(len(split))])
    for name, sigma in zip("ab", weighting.sigmas(), strict=True):
        target = split.targets[name].numpy()
        residual = target - design @ np.linalg.lstsq(design, target)[0]
        assert sigma == pytest.approx(np.sqrt((residual**2).mean()), abs=1e-7)


def test_laplace_scale_is_the_mean_absolute_residual() -> None:
    """Breaks if the sigma of regression_l1 is a root where it must be the scale b itself."""
    tasks = make_tasks(a="regression_l1")
    split = make_split(tasks)
    losses = losses_of(make_linear(tasks), tasks, split).detach()
    weighting = Uncertainty(tasks, init=2.0)
    minimise(weighting.parameters(), lambda: weighting(losses))
    residual = split.targets["a"] - make_linear(tasks)(split.inputs)["a"]
    assert weighting.sigmas()[0] == pytest.approx(residual.abs().mean().item(), abs=1e-7)


@pytest.mark.parametrize("form", ["simplified", "jde", "kendall"])
def test_relative_gradients_cancel_at_convergence(form: str) -> None:
    """Breaks if it does not end where the gradients of log L_t sum to zero (the log family)."""
    tasks = make_terms(
        a=lambda p: (p - 1).square().sum() + 0.5, b=lambda p: 100 * (p + 2).square().sum() + 7
    )
    model, weighting = Point(0.3, -0.7), Uncertainty(tasks, form=form, init=0.0)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, NO_DATA)),
    )
    relative = gradients_of(model, tasks, NO_DATA) / losses_of(model, tasks, NO_DATA).unsqueeze(1)
    # It is a balance of forces, not two minima.
    assert gradients_of(model, tasks, NO_DATA).norm(dim=1).min() > 1e-2
    assert relative.sum(0).norm() < 1e-6


@pytest.mark.parametrize(("form", "kind"), PER_KIND)
def test_closed_form_is_at_the_optimum_after_one_step(form: str, kind: str) -> None:
    """Breaks if the running mean starts biased towards zero."""
    weighting = Uncertainty(make_tasks(a=kind, b=kind), form=form, solver="closed_form")
    weighting.weigh(torch.tensor([3.0, 0.2]))
    expected = torch.tensor([scale_at_optimum(form, kind, 3.0), scale_at_optimum(form, kind, 0.2)])
    assert_near(log_variances(weighting).exp(), expected, 1e-12)


def test_closed_form_follows_the_mean_of_noisy_losses() -> None:
    """Breaks if the closed form follows single batches instead of their running mean."""
    weighting = Uncertainty(make_tasks(a="regression"), solver="closed_form", momentum=0.99)
    noise = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    for loss in 4.0 + 2.0 * (noise - 0.5):
        weighting.weigh(loss.reshape(1))
    assert log_variances(weighting).exp().item() == pytest.approx(4.0, abs=0.15)


def test_closed_form_without_momentum_takes_each_batch_as_it_is() -> None:
    """Breaks if momentum=0 still remembers earlier losses."""
    weighting = Uncertainty(make_tasks(a="regression"), solver="closed_form", momentum=0.0)
    for loss in (5.0, 0.1, 2.0):
        weights, _ = weighting.weigh(torch.tensor([loss]))
        assert_near(weights * loss, torch.tensor([0.5]), 1e-12)


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_default_gradient_solver_arrives_within_a_few_hundred_steps(start: float) -> None:
    """Breaks if the default learning rate leaves the log-variances unconverged."""
    tasks = make_tasks(a="regression", b="classification")
    weighting = Uncertainty(tasks, init=start)
    optimizers = OwnOptimizers(weighting, SGD)
    losses = torch.tensor([2.0, 0.5])
    for step in range(600):
        optimizers.begin_epoch(step / 600)
        weighting.weigh(losses)
        optimizers.step()
    assert_near(log_variances(weighting), torch.tensor([2.0, 1.0]).log(), 1e-4)


# Where it starts


def test_log_loss_starts_each_task_at_the_optimum_of_its_own_first_batch() -> None:
    """Breaks if a late task begins with a sigma from before it was trained, or from 0."""
    weighting = Uncertainty(make_tasks(a="regression", b="regression"))
    first, _ = weighting.weigh(torch.tensor([8.0, 1000.0]), active=only_active(0))
    assert_near(first, torch.tensor([0.5 / 8, 0.0]), 1e-12)
    second, _ = weighting.weigh(torch.tensor([2.0, 40.0]))
    assert_near(second, torch.tensor([0.5 / 8, 0.5 / 40]), 1e-12)


@pytest.mark.parametrize(("init", "expected"), [(1.5, [1.5, 1.5]), ({"b": -2}, [0.0, -2.0])])
def test_init_is_the_log_variance_itself(init: object, expected: list[float]) -> None:
    """Breaks if `init` is read as something other than log sigma^2, per task or for all."""
    assert_near(
        log_variances(Uncertainty(make_tasks(a="regression", b="classification"), init=init)),
        torch.tensor(expected),
        0,
    )


@pytest.mark.parametrize(("form", "weight"), [("simplified", 1.0), ("jde", 0.5)])
def test_frozen_at_one_trains_as_fixed_weights_do(form: str, weight: float) -> None:
    """Breaks if sigma = 1 is not neutral, or a frozen sigma is not frozen."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    frozen = make_learner(
        tasks, split, weighting=Uncertainty(tasks, form=form, frozen={"a": 1.0, "b": 1.0})
    )
    fixed = make_learner(tasks, split, weighting=Fixed(tasks, weight))
    train(frozen, split, 20)
    train(fixed, split, 20)
    assert_same_bits(frozen.model.state_dict(), fixed.model.state_dict())


@pytest.mark.parametrize("solver", ["gradient", "closed_form"])
@pytest.mark.parametrize("kind", ["regression", "regression_l1", "classification"])
def test_a_frozen_sigma_stays_while_the_others_learn(solver: str, kind: str) -> None:
    """Breaks if `frozen` is only an initial value."""
    tasks = make_tasks(a=kind, b="regression")
    split = make_split(tasks)
    weighting = Uncertainty(tasks, solver=solver, init=0.0, frozen={"a": 3.0})
    start = log_variances(weighting)
    train(make_learner(tasks, split, weighting=weighting), split, 20)
    assert_same_bits(log_variances(weighting)[0], start[0])
    assert log_variances(weighting)[1] != start[1]
    assert weighting.sigmas()[0] == pytest.approx(3.0)


@pytest.mark.parametrize(("kind", "scale_power"), [("regression", 2), ("regression_l1", 1)])
def test_sigma_is_in_the_units_of_the_target(kind: str, scale_power: int) -> None:
    """Breaks if standardising a target changes the reported sigma, or the one of `frozen`."""
    raw, standardised = Task("a", kind, size=1), Task("a", kind, size=1, offset=7.0, scale=4.0)
    learned = [Uncertainty([raw]), Uncertainty([standardised])]
    learned[0].weigh(torch.tensor([5.0]))
    learned[1].weigh(torch.tensor([5.0 / 4.0**scale_power]))
    assert learned[1].sigmas()[0] == pytest.approx(learned[0].sigmas()[0])
    frozen = [Uncertainty([raw], frozen={"a": 6.0}), Uncertainty([standardised], frozen={"a": 6.0})]
    assert [w.sigmas()[0] for w in frozen] == [pytest.approx(6.0)] * 2
    weights = [w.weigh(torch.ones(1))[0].item() for w in frozen]
    assert weights[1] == pytest.approx(weights[0] * 4.0**scale_power)


def test_sigma_of_a_classification_ignores_units() -> None:
    """Breaks if a classification's sigma is multiplied by a scale, which only numbers have."""
    task = Task("a", "classification", size=3, scale=4.0)
    assert Uncertainty([task], init=2 * float(np.log(3.0))).sigmas()[0] == pytest.approx(3.0)


# What moves it, and what must not


def test_every_free_log_variance_is_trained_by_exactly_one_optimizer() -> None:
    """Breaks if log-variances are forgotten, or move in the model's optimizer as well."""
    tasks = make_tasks(a="regression", b="regression", c="classification")
    split = make_split(tasks)
    for lr in (0.025, None):
        weighting = Uncertainty(tasks, lr=lr, frozen={"b": 1.0})
        learner = make_learner(tasks, split, weighting=weighting)
        trained = [
            p
            for o in learner.own_optimizers.optimizers
            for group in o.param_groups
            for p in group["params"]
        ]
        assert {id(p) for p in trained} == {
            id(weighting.log_variance[0]),
            id(weighting.log_variance[2]),
        }
        assert len(trained) == 2
        assert not {id(p) for p in learner.update.parameters.tensors} & {id(p) for p in trained}


@pytest.mark.parametrize("optimizer", [partial(torch.optim.AdamW, eps=1.0), torch.optim.SGD])
def test_weight_decay_leaves_log_variances_alone(
    optimizer: Callable[..., torch.optim.Optimizer],
) -> None:
    """Breaks if a weight decay meant for the network pulls every sigma towards 1."""
    tasks = make_terms(a=lambda p: p.sum() * 0 + 9.0)
    weighting = Uncertainty(tasks, lr=None)  # log_loss: at its optimum from the first step on
    decaying = partial(optimizer, lr=0.1, weight_decay=0.5)
    learner = make_learner(
        tasks, NO_DATA, model=Point(1.0), weighting=weighting, optimizer=decaying
    )
    train(learner, NO_DATA, 10)
    assert_near(log_variances(weighting).exp(), torch.tensor([9.0]), 1e-9)
    assert learner.model.point.item() < 0.7  # the decay itself was at work


def test_gradient_clipping_leaves_log_variances_alone() -> None:
    """Breaks if clipping slows the sigmas down, or their gradient shrinks the network's."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    trajectories = []
    for clip in (None, 1e-12):
        weighting = Uncertainty(tasks, init=5.0)
        learner = make_learner(
            tasks,
            split,
            weighting=weighting,
            optimizer=partial(torch.optim.SGD, lr=1e-9),
            clip=clip,
        )
        train(learner, split, 20)
        trajectories.append(log_variances(weighting))
    assert_near(trajectories[1], trajectories[0], 1e-9)


def test_clipping_bounds_the_networks_gradient_without_the_log_variances() -> None:
    """Breaks if the clipped norm holds the sigmas' gradient, too, so that the network gets less."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    model = make_linear(tasks)
    weighting = Uncertainty(tasks, init=-6.0)  # huge gradients of s
    learner = make_learner(
        tasks,
        split,
        model=model,
        weighting=weighting,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        clip=0.25,
    )
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    train(learner, split, 1)
    after = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert (after - before).norm().item() == pytest.approx(0.25, rel=1e-4)


@QUICK
@given(
    losses=st.lists(losses_over_decades, min_size=3, max_size=3),
    s=st.floats(-8, 8),
    form=st.sampled_from(FORMS),
)
def test_the_weight_is_the_slope_of_the_objective(losses: list[float], s: float, form: str) -> None:
    """Breaks if the weight that is logged and used is not d objective / d loss."""
    weighting = Uncertainty(
        make_tasks(a="regression", b="classification", c="regression_l1"), form=form, init=s
    )
    values = torch.tensor(losses)
    weights, objective = weighting.weigh(values)
    assert_near(objective, weighting(values).detach(), 0)
    for index, loss in enumerate(losses):
        step = torch.zeros(3)
        step[index] = 0.5 * loss
        slope = (weighting(values + step) - weighting(values - step)) / loss
        assert weights[index].item() == pytest.approx(
            slope.item(), rel=1e-6, abs=1e-9 * objective.abs().item() / loss
        )


def test_the_objective_may_be_negative_and_is_left_so() -> None:
    """Breaks if abs() or a clip changes a likelihood below zero, and pushes small losses up."""
    weighting = Uncertainty(make_tasks(a="regression", b="classification"))
    _, objective = weighting.weigh(torch.tensor([1e-6, 1e-4]))
    assert objective.item() == pytest.approx(0.5 + 0.5 * np.log(1e-6) + 0.5 + 0.5 * np.log(2e-4))
    assert objective.item() < -10


@QUICK
@given(exponent=st.floats(-30, 30), start=st.floats(-20, 20), form=st.sampled_from(FORMS))
def test_sigma_stays_positive_and_finite_over_any_scale(
    exponent: float, start: float, form: str
) -> None:
    """Breaks if sigma^2 itself is the parameter somewhere and a step makes it negative or NaN."""
    tasks = make_tasks(a="regression", b="classification")
    weighting = Uncertainty(tasks, form=form, init=start, lr=1.0, anneal=False)
    optimizers = OwnOptimizers(weighting, SGD)
    for _ in range(30):
        weights, objective = weighting.weigh(torch.tensor([10.0**exponent, 1.0]))
        optimizers.step()
        assert weights.isfinite().all()
        assert (weights > 0).all()
        assert objective.isfinite()
    assert all(sigma is not None and 0 < sigma < float("inf") for sigma in weighting.sigmas())


@pytest.mark.parametrize("form", FORMS)
def test_who_else_is_active_does_not_matter_to_a_weight(form: str) -> None:
    """Breaks if the sigma or the constants of another task are used when some tasks are idle."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1")
    losses = torch.tensor([1.0, 2.0, 3.0])

    def weights(active: Active | None) -> torch.Tensor:
        return Uncertainty(tasks, form=form, init={"a": -1.0, "b": 0.5, "c": 2.0}).weigh(
            losses, active
        )[0]

    all_weights = weights(None)
    for active in ([0], [1], [2], [0, 2], [1, 2]):
        assert_near(weights(only_active(*active))[active], all_weights[active], 1e-14)


def test_an_idle_task_keeps_its_sigma_under_every_solver() -> None:
    """Breaks if the sigma of an idle task drifts, by momentum or by the running mean."""
    for solver in ("gradient", "closed_form"):
        weighting = Uncertainty(make_tasks(a="regression", b="regression"), solver=solver, init=0.0)
        optimizers = OwnOptimizers(weighting, SGD)
        for _ in range(5):
            weighting.weigh(torch.tensor([3.0, 50.0]))
            optimizers.step()
        before = copy_state(
            {k: v for k, v in weighting.state_dict().items() if isinstance(v, torch.Tensor)}
        )
        for _ in range(5):
            weights, objective = weighting.weigh(torch.tensor([2.0, 1e9]), active=only_active(0))
            optimizers.step()
            assert weights[1] == 0
            assert objective < 1e3
        after = {k: v for k, v in weighting.state_dict().items() if isinstance(v, torch.Tensor)}
        for name, value in after.items():
            if value.dim():
                assert_same_bits(value[1], before[name][1])
        assert_same_bits(after["log_variance.1"], before["log_variance.1"])
        assert after["log_variance.0"] != before["log_variance.0"]


def test_annealing_keeps_the_rate_for_the_first_half_and_ends_it_at_zero() -> None:
    """Breaks if the sigmas settle before they arrive, or follow single batches to the end."""
    optimizers = OwnOptimizers(Uncertainty(make_tasks(a="regression"), lr=0.5), SGD)
    rates = []
    for done in (0.0, 0.5, 0.8, 0.9, 1.0):
        optimizers.begin_epoch(done)
        rates.append(optimizers.optimizers[0].param_groups[0]["lr"])
    assert rates[:2] == [0.5, 0.5]
    assert 0.5 > rates[2] > rates[3] > 0
    assert rates[4] == pytest.approx(0.0)
    constant = OwnOptimizers(Uncertainty(make_tasks(a="regression"), lr=0.5, anneal=False), SGD)
    constant.begin_epoch(0.9)
    assert constant.optimizers[0].param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("form", FORMS)
@QUICK
@given(
    values=st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4),
    start=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    active=st.sampled_from([None, only_active(0), only_active(1, 3), only_active(0, 1, 2)]),
    frozen=st.booleans(),
)
def test_the_formulas_of_uncertainty_are_its_derivatives(
    form: str, values: list[float], start: list[float], active: Active | None, frozen: bool
) -> None:
    """Breaks if the logged weights, or the gradients of s, are not those of the objective."""
    options: dict[str, Any] = {
        "form": form,
        "init": dict(zip("abcd", start, strict=True)),
        "frozen": {"b": 2.0} if frozen else None,
    }
    weighting = Uncertainty(EVERY_KIND, **options)
    for parameter in weighting.parameters():
        # As an earlier step left them.
        parameter.grad = torch.ones(()) if parameter.requires_grad else None
    weights, objective = weighting.weigh(torch.tensor(values), active)
    expected_weights, expected_objective, expected_gradients = by_autograd(
        Uncertainty(EVERY_KIND, **options), torch.tensor(values), active
    )
    assert_near(weights, expected_weights, 1e-9 * max(1.0, float(expected_weights.abs().max())))
    assert_near(objective, expected_objective, 1e-9 * max(1.0, abs(float(expected_objective))))
    trained = [p for p in weighting.parameters() if p.requires_grad]
    assert [p.grad is None for p in trained] == [g is None for g in expected_gradients], (
        "an idle task's parameter has no gradient at all"
    )
    for parameter, gradient in zip(trained, expected_gradients, strict=True):
        if gradient is not None:
            assert_near(parameter.grad, gradient, 1e-9 * max(1.0, abs(float(gradient))))


# What it refuses


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "kendal"}, "weighting.form='kendal' is unknown; did you mean 'kendall'?"),
        (
            {"solver": "newton"},
            "weighting.solver='newton' is unknown; allowed: gradient, closed_form",
        ),
        ({"init": "zero"}, "weighting.init='zero' is unknown"),
        ({"init": {"y": 0.0}}, "weighting.init names the unknown task 'y'"),
        ({"lr": 0.0}, "weighting.lr must be positive or null; found 0.0"),
        ({"momentum": 1.0}, "weighting.momentum must lie in [0, 1); found 1.0"),
        ({"frozen": {"b": 1.0}}, "weighting.frozen names the unknown task 'b'; allowed: a"),
        ({"frozen": {"a": 0.0}}, "weighting.frozen.a must be a positive sigma; found 0.0"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    options: dict[str, object], words: str
) -> None:
    """Breaks if a typo in the configuration of the weighting is accepted or answered unclearly."""
    with pytest.raises(ConfigError) as error:
        Uncertainty(make_tasks(a="regression"), **options)
    assert words in str(error.value)
