"""The exact likelihood with a learned sigma, by ``torch.distributions``, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from tests.support.builders import (
    KINDS,
    QUICK,
    ROWS,
    assert_near,
    assert_same_bits,
    make_split,
    make_tasks,
)
from tests.support.likelihoods import make_task, nll_by_hand, outputs_for, with_gaps, without_labels

pytestmark = pytest.mark.usefixtures("float64")

kind_is = pytest.mark.parametrize("kind", KINDS)
reduce_is = pytest.mark.parametrize("reduce", ["sum", "mean"])


def gradients(loss: Tensor, output: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of a loss by the output and by s."""
    return torch.autograd.grad(loss, [output, s], retain_graph=True)


@reduce_is
@kind_is
@pytest.mark.parametrize("gaps", [False, True])
@QUICK
@given(start=st.floats(-3, 3))
def test_the_loss_is_the_negative_log_likelihood_of_torch_distributions(
    kind: str, reduce: str, gaps: bool, start: float
) -> None:
    """Breaks if a constant, factor or sign of a density is wrong, in the value or its gradients."""
    task = make_task(kind, missing=gaps)
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    likelihood, output = Homoscedastic([task], reduce=reduce, init=start), outputs_for(task, ROWS)
    (s,) = likelihood.log_variance
    (loss,) = likelihood.losses({"a": output}, split.targets)
    expected = nll_by_hand(task, output, split.targets["a"], s, reduce)
    assert_near(loss, expected, 1e-12 * (1 + expected.abs().item()))
    slopes, expected_slopes = gradients(loss, output, s), gradients(expected, output, s)
    assert_near(
        slopes, expected_slopes, 1e-12 * (1 + max(g.abs().max().item() for g in expected_slopes))
    )


@reduce_is
@pytest.mark.parametrize("gaps", [False, True])
def test_class_weights_average_the_log_likelihoods_as_cross_entropy_does(
    reduce: str, gaps: bool
) -> None:
    """Breaks if a class weight acts otherwise under a likelihood than under the standard loss."""
    task = make_task("classification", missing=gaps, class_weights=True)
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    likelihood, output = Homoscedastic([task], reduce=reduce, init=0.7), outputs_for(task, ROWS)
    (loss,) = likelihood.losses({"a": output}, split.targets)
    assert_near(
        loss,
        nll_by_hand(task, output, split.targets["a"], likelihood.log_variance[0], reduce),
        1e-12,
    )
    neutral = Homoscedastic([task], reduce=reduce, init=0.0)
    assert_near(
        neutral.losses({"a": output}, split.targets)[0],
        task.loss({"a": output}, split.targets),
        1e-14,
    )


@reduce_is
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("class_weights", [False, True])
def test_a_class_per_pixel_counts_once_per_pixel(
    reduce: str, gaps: bool, class_weights: bool
) -> None:
    """Breaks if a segmentation's likelihood is one pixel's, or a mean instead of the sum."""
    task = make_task("classification", missing=gaps, class_weights=class_weights)
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(4, (5, 3, 2), generator=generator)
    if gaps:
        target[0], target[1, 0] = MISSING_CLASS, MISSING_CLASS
    output = torch.randn(5, 4, 3, 2, generator=generator)
    likelihood = Homoscedastic([task], reduce=reduce, init=-0.4)
    (loss,) = likelihood.losses({"a": output}, {"a": target})
    assert_near(loss, nll_by_hand(task, output, target, likelihood.log_variance[0], reduce), 1e-12)


@kind_is
def test_sum_and_mean_differ_by_the_number_of_outputs(kind: str) -> None:
    """Breaks if `reduce: mean` does not weigh many outputs as the standard loss does."""
    task = make_task(kind)
    split, output = make_split([task]), outputs_for(task, ROWS)
    total, mean = (
        Homoscedastic([task], reduce=r, init=0.3).losses({"a": output}, split.targets)[0]
        for r in ("sum", "mean")
    )
    entries = 1 if kind == "classification" else task.size
    assert_near(total, entries * mean, 1e-12)
    if kind == "regression":  # 1/2 at sigma 1, in the units of the standard loss
        slope = Homoscedastic([task], reduce="mean", init=0.0).losses({"a": output}, split.targets)[
            0
        ]
        assert_near(
            slope - 0.5 * math.log(2 * math.pi),
            0.5 * task.loss({"a": output}, split.targets),
            1e-12,
        )


@kind_is
@reduce_is
def test_without_a_label_the_loss_and_every_gradient_are_exactly_zero(
    kind: str, reduce: str
) -> None:
    """Breaks if log sigma of an unlabelled batch, or 0/0, reaches the objective or the sigma."""
    task = make_task(kind, missing=True)
    split = without_labels(make_split([task]), "a")
    likelihood, output = Homoscedastic([task], reduce=reduce, init=1.3), outputs_for(task, ROWS)
    (loss,) = likelihood.losses({"a": output}, split.targets)
    assert_same_bits(loss.detach(), torch.tensor(0.0))
    for gradient in gradients(loss, output, likelihood.log_variance[0]):
        assert_same_bits(gradient, torch.zeros_like(gradient))


@kind_is
def test_looking_for_gaps_changes_nothing_where_there_are_none(kind: str) -> None:
    """Breaks if a label missing in another split changes the likelihood of a full batch."""
    split, output = make_split([make_task(kind)]), outputs_for(make_task(kind), ROWS)
    plain, looking = (Homoscedastic([make_task(kind, missing=m)], init=0.5) for m in (False, True))
    assert_near(looking({"a": output}, split.targets), plain({"a": output}, split.targets), 1e-13)


def test_every_task_has_a_sigma_of_its_own() -> None:
    """Breaks if the tasks' scales have another order than the losses."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1", d="multilabel")
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init={"a": 0.1, "b": -0.2, "c": 0.3, "d": -0.4})
    outputs = {task.name: outputs_for(task, ROWS, seed=i) for i, task in enumerate(tasks)}
    expected = [
        nll_by_hand(t, outputs[t.name], split.targets[t.name], torch.tensor(s))
        for t, s in zip(tasks, (0.1, -0.2, 0.3, -0.4), strict=True)
    ]
    assert_near(likelihood(outputs, split.targets), torch.stack(expected), 1e-12)
    assert_near(
        likelihood.negative_log_likelihoods(outputs, split.targets),
        torch.stack(expected).detach(),
        1e-12,
    )


def test_standard_losses_are_those_of_the_calibrated_answers() -> None:
    """Breaks if the loss that strategies are compared by ignores the learned temperature."""
    tasks = make_tasks(a="regression", b="classification", d="multilabel")
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init={"a": 0.9, "b": 0.6, "d": -0.6})
    outputs = {task.name: outputs_for(task, ROWS).detach() for task in tasks}
    answers = {
        "a": outputs["a"],
        "b": outputs["b"] / math.exp(0.6),
        "d": outputs["d"] / math.exp(-0.6),
    }
    assert_near(likelihood.tempered_outputs(outputs), answers, 1e-13)
    expected = torch.stack([task.loss(answers, split.targets) for task in tasks])
    assert_near(likelihood.standard_losses(outputs, split.targets), expected, 1e-13)
    assert not likelihood.standard_losses(outputs, split.targets).requires_grad


def test_a_loss_term_is_taken_as_it_is() -> None:
    """Breaks if a callable of the user's, which is no density, gets a sigma."""
    term = Task("a", "term", loss_term=lambda outputs, targets: outputs["b"].square().mean())
    replaced = Task(
        "b", size=2, loss_term=lambda outputs, targets: 3 * outputs["b"].square().mean()
    )
    likelihood = Homoscedastic([term, replaced], init=2.0)
    output = torch.ones(4, 2, requires_grad=True)
    losses = likelihood.losses({"b": output}, {"b": torch.zeros(4, 2)})
    assert_near(torch.stack(losses), torch.tensor([1.0, 3.0]), 0)
    assert not term.has_likelihood
    assert not replaced.has_likelihood
    assert likelihood.sigmas() == [None, None]
    assert likelihood.values_and_optima([1.0, 3.0]) == [None, None]
    assert torch.autograd.grad(sum(losses), list(likelihood.parameters()), allow_unused=True) == (
        None,
        None,
    )


# Where it starts


def test_log_loss_starts_at_the_trivial_predictors_optimum() -> None:
    """Breaks if sigma starts far from the data's scale, so that the first epochs search for it."""
    tasks = make_tasks(a="regression", b="regression_l1", c="classification", d="multilabel")
    likelihood = Homoscedastic(tasks, trivial_losses=[9.0, 4.0, 1.3, 0.6])
    assert_near(
        torch.stack(list(likelihood.log_variance)),
        torch.tensor([math.log(9), math.log(4), 0.0, 0.0]),
        1e-15,
    )
    assert likelihood.sigmas() == [pytest.approx(3.0), pytest.approx(4.0), 1.0, 1.0]
    nothing_known = Homoscedastic(tasks, trivial_losses=[None] * 4)
    assert_near(torch.stack(list(nothing_known.log_variance)), torch.zeros(4), 0)
    assert_near(torch.stack(list(Homoscedastic(tasks).log_variance)), torch.zeros(4), 0)


@pytest.mark.parametrize(("init", "expected"), [(1.5, [1.5, 1.5]), ({"b": -2}, [0.0, -2.0])])
def test_init_is_the_log_variance_itself(init: object, expected: list[float]) -> None:
    """Breaks if `init` is read as something other than log sigma^2, per task or for all."""
    likelihood = Homoscedastic(
        make_tasks(a="regression", b="classification"), init=init, trivial_losses=[5.0, 1.0]
    )
    assert_near(torch.stack(list(likelihood.log_variance)), torch.tensor(expected), 0)


@pytest.mark.parametrize(("frozen", "free"), [({"b": 2.0}, ["a", "c"]), (2.0, [])])
def test_frozen_is_a_sigma_per_task_or_one_for_all(frozen: object, free: list[str]) -> None:
    """Breaks if `likelihood.frozen=1` freezes nothing, or a mapping freezes the wrong task."""
    tasks = make_tasks(a="regression", b="regression_l1", c="classification")
    likelihood = Homoscedastic(tasks, init=0.0, frozen=frozen)
    assert [
        t.name for t, s in zip(tasks, likelihood.log_variance, strict=True) if s.requires_grad
    ] == free
    expected = [1.0 if task.name in free else 2.0 for task in tasks]
    assert likelihood.sigmas() == [pytest.approx(sigma) for sigma in expected]


# Units


@pytest.mark.parametrize(
    ("kind", "power"),
    [("regression", 2), ("regression_l1", 1), ("classification", 2), ("multilabel", 2)],
)
def test_sigma_is_in_the_units_of_the_target(kind: str, power: int) -> None:
    """Breaks if standardising a target changes the reported sigma, or the one of `frozen`."""
    unit = 4.0 if kind.startswith("regression") else 1.0
    task = Task("a", kind, size=3, offset=7.0, scale=4.0)
    assert Homoscedastic([task], init=math.log(5.0)).sigmas()[0] == pytest.approx(
        unit * 5.0 ** (1 / power)
    )
    frozen = Homoscedastic([task], frozen={"a": 6.0})
    assert frozen.sigmas()[0] == pytest.approx(6.0)
    assert math.exp(frozen.log_variance[0].item()) == pytest.approx((6.0 / unit) ** power)


@pytest.mark.parametrize("kind", ["regression", "regression_l1"])
def test_a_standardised_targets_density_differs_by_the_jacobian_alone(kind: str) -> None:
    """Breaks if a frozen sigma means another noise once the target is standardised."""
    scale, offset = 4.0, 7.0
    raw, standardised = Task("a", kind, size=2), Task("a", kind, size=2, offset=offset, scale=scale)
    output, target = outputs_for(raw, ROWS).detach(), torch.linspace(-3, 9, 2 * ROWS).view(ROWS, 2)
    in_units = Homoscedastic([raw], frozen=2.5)({"a": output}, {"a": target})
    shrunk = {"a": (output - offset) / scale}, {"a": (target - offset) / scale}
    assert_near(
        Homoscedastic([standardised], frozen=2.5)(*shrunk) + 2 * math.log(scale), in_units, 1e-12
    )


def test_the_distance_to_the_optimum_is_known_for_numbers_only() -> None:
    """Breaks if a frozen sigma, or a temperature, which has no optimum, is called unconverged."""
    tasks = make_tasks(
        a="regression", b="regression_l1", c="classification", d="multilabel", e="regression"
    )
    likelihood = Homoscedastic(tasks, init=0.25, frozen={"e": 1.0})
    pairs = likelihood.values_and_optima([9.0, 0.0, 1.0, 1.0, 9.0])
    assert pairs == [
        (0.25, pytest.approx(math.log(9.0))),
        (0.25, pytest.approx(math.log(1e-12))),
        None,
        None,
        None,
    ]
    unseen = likelihood.values_and_optima([math.nan] * 5)[0]
    assert unseen is not None
    assert np.isnan(unseen[1]), (
        "a task without a label in the last epoch has no optimum, and no error"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce": "total"}, "likelihood.reduce='total' is unknown; allowed: sum, mean."),
        (
            {"init": "zero"},
            "likelihood.init='zero' is unknown; give a number, {task: number} or log_loss.",
        ),
        ({"init": {"y": 0.0}}, "likelihood.init names the unknown task 'y'; allowed: a"),
        ({"init": [0.0]}, "likelihood.init must be a number or {task: number}; found [0.0]."),
        ({"init": True}, "likelihood.init must be a number or {task: number}; found True."),
        ({"lr": 0.0}, "likelihood.lr must be positive or null; found 0.0."),
        ({"lr": -1}, "likelihood.lr must be positive or null; found -1."),
        ({"frozen": {"b": 1.0}}, "likelihood.frozen names the unknown task 'b'; allowed: a"),
        ({"frozen": {"a": 0.0}}, "likelihood.frozen.a must be a positive sigma; found 0.0."),
        ({"frozen": -2}, "likelihood.frozen.a must be a positive sigma; found -2.0."),
        ({"frozen": "one"}, "likelihood.frozen.a must be a number; found 'one'."),
        ({"frozen": {"a": True}}, "likelihood.frozen.a must be a number; found True."),
        ({"frozen": {"a": math.nan}}, "likelihood.frozen.a must be a positive sigma; found nan."),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    options: dict[str, object], words: str
) -> None:
    """Breaks if a typo in the configuration of the likelihood is accepted or answered unclearly."""
    with pytest.raises(ConfigError) as error:
        Homoscedastic(make_tasks(a="regression"), **options)
    assert words in str(error.value)
