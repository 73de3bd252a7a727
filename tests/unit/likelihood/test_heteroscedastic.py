"""The exact likelihood with predicted noise: its value, what beta does, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic
from mtl_runner.models.predicts_noise import with_noise_outputs
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.protocols import HasOptimum, HasSigmas
from mtl_runner.tasks.task import Task, log_variance_key
from tests.support.builders import (
    KINDS,
    QUICK,
    ROWS,
    assert_near,
    assert_same_bits,
    make_split,
    make_tasks,
)
from tests.support.likelihoods import (
    constant_noise,
    make_task,
    nll_by_hand,
    outputs_for,
    predicting_noise,
    with_gaps,
    without_labels,
)

pytestmark = pytest.mark.usefixtures("float64")

kind_is = pytest.mark.parametrize("kind", KINDS)
reduce_is = pytest.mark.parametrize("reduce", ["sum", "mean"])
gaps_are = pytest.mark.parametrize("gaps", [False, True])


def noise_for(task: Task, rows: int = ROWS, seed: int = 3) -> Tensor:
    """Return log-variances as a model would predict them.

    There is one per output of a regression, and one per sample of the other kinds.
    """
    width = task.size if task.kind.startswith("regression") else 1
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def given_noise(task: Task, output: Tensor, s: Tensor) -> dict[str, Tensor]:
    """Return the outputs of a model that predicts ``s``.

    Logits are divided by their temperature already.
    """
    answers = output if task.kind.startswith("regression") else output * torch.exp(-s)
    return {"a": answers, log_variance_key("a"): s}


def entry_errors(task: Task, output: Tensor, target: Tensor, s: Tensor) -> Tensor:
    """Return the negative log-likelihood of every entry of a fully labelled target."""
    unweighted_task = Task("a", task.kind, size=task.size)
    rows = [
        nll_by_hand(unweighted_task, output[i : i + 1], target[i : i + 1], s[i : i + 1], "mean")
        for i in range(len(target))
    ]
    return torch.stack(rows)


@kind_is
@reduce_is
@gaps_are
def test_the_loss_is_the_negative_log_likelihood_of_torch_distributions(
    kind: str, reduce: str, gaps: bool
) -> None:
    """Breaks if a constant, factor or sign of a density is wrong, in the value or its gradients."""
    task = make_task(kind, missing=gaps)
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    output, s = outputs_for(task, ROWS), noise_for(task)
    (loss,) = Heteroscedastic([task], reduce=reduce).losses(
        given_noise(task, output, s), split.targets
    )
    expected = nll_by_hand(task, output, split.targets["a"], s, reduce)
    assert_near(loss, expected, 1e-12)
    assert_near(
        torch.autograd.grad(loss, [output, s]), torch.autograd.grad(expected, [output, s]), 1e-12
    )


@reduce_is
@gaps_are
def test_class_weights_average_the_log_likelihoods_as_cross_entropy_does(
    reduce: str, gaps: bool
) -> None:
    """Breaks if a class weight acts otherwise under a predicted temperature than without one."""
    task = make_task("classification", missing=gaps, class_weights=True)
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    output, s = outputs_for(task, ROWS), noise_for(task)
    likelihood, outputs = Heteroscedastic([task], reduce=reduce), given_noise(task, output, s)
    assert_near(
        likelihood(outputs, split.targets)[0],
        nll_by_hand(task, output, split.targets["a"], s, reduce),
        1e-12,
    )
    assert_near(
        likelihood.standard_losses(outputs, split.targets)[0],
        task.loss(outputs, split.targets).detach(),
        0,
    )


@reduce_is
@gaps_are
@pytest.mark.parametrize("class_weights", [False, True])
def test_a_temperature_per_pixel_serves_its_pixel(
    reduce: str, gaps: bool, class_weights: bool
) -> None:
    """Breaks if a segmentation's predicted noise is spread over the wrong dimension."""
    task = make_task("classification", missing=gaps, class_weights=class_weights)
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(4, (5, 3, 2), generator=generator)
    if gaps:
        target[0], target[1, 0] = MISSING_CLASS, MISSING_CLASS
    output, s = (
        torch.randn(5, 4, 3, 2, generator=generator),
        torch.randn(5, 1, 3, 2, generator=generator),
    )
    outputs = given_noise(task, output, s)
    assert_near(
        Heteroscedastic([task], reduce=reduce)(outputs, {"a": target})[0],
        nll_by_hand(task, output, target, s, reduce),
        1e-12,
    )
    beta = Heteroscedastic([task], beta=0.5, reduce="mean").losses(outputs, {"a": target})[0]
    known = target != MISSING_CLASS
    errors = -torch.distributions.Categorical(logits=outputs["a"].movedim(1, -1)).log_prob(
        target.clamp(min=0)
    )
    counts = known * (
        torch.tensor(task.class_weights)[target.clamp(min=0)] if class_weights else 1.0
    )
    assert_near(beta, (counts * errors * (s.squeeze(1) / 2).exp()).sum() / counts.sum(), 1e-12)


@kind_is
@reduce_is
@gaps_are
@pytest.mark.parametrize("class_weights", [False, True])
def test_constant_noise_equals_the_homoscedastic_likelihood(
    kind: str, reduce: str, gaps: bool, class_weights: bool
) -> None:
    """Breaks if the two likelihoods are not one formula, in the value or its gradients."""
    task = make_task(kind, missing=gaps, class_weights=class_weights and kind == "classification")
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    output = outputs_for(task, ROWS)
    learned = Homoscedastic([task], reduce=reduce, init=0.8)
    (s,) = learned.log_variance
    (learned_loss,) = learned.losses({"a": output}, split.targets)
    (predicted_loss,) = Heteroscedastic([task], reduce=reduce).losses(
        constant_noise({"a": output}, [task], [s]), split.targets
    )
    assert_near(predicted_loss, learned_loss, 1e-13)
    assert_near(
        torch.autograd.grad(predicted_loss, [output, s]),
        torch.autograd.grad(learned_loss, [output, s]),
        1e-12,
    )


@kind_is
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_without_a_label_the_loss_and_every_gradient_are_exactly_zero(
    kind: str, beta: float
) -> None:
    """Breaks if log sigma of an unlabelled batch, or 0/0, reaches the objective or the model."""
    task = make_task(kind, missing=True)
    split = without_labels(make_split([task]), "a")
    output, s = outputs_for(task, ROWS), noise_for(task)
    (loss,) = Heteroscedastic([task], beta=beta).losses(given_noise(task, output, s), split.targets)
    assert_same_bits(loss.detach(), torch.tensor(0.0))
    for gradient in torch.autograd.grad(loss, [output, s]):
        assert_same_bits(gradient, torch.zeros_like(gradient))


@kind_is
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_missing_entries_leave_the_gradients_of_the_others(kind: str, beta: float) -> None:
    """Breaks if a NaN target, or the noise predicted beside it, leaks into labelled rows."""
    task = make_task(kind, missing=True)
    split = with_gaps(make_split([task]))
    output, s = outputs_for(task, ROWS), noise_for(task)
    (loss,) = Heteroscedastic([task], beta=beta).losses(given_noise(task, output, s), split.targets)
    rows = ~task.labelled(split.targets["a"])
    assert rows.any()
    for gradient in torch.autograd.grad(loss, [output, s]):
        assert gradient.isfinite().all()
        assert_same_bits(gradient[rows], torch.zeros_like(gradient[rows]))


@kind_is
@QUICK
@given(beta=st.floats(0, 1))
def test_beta_multiplies_each_samples_gradient_by_sigma_to_two_beta(kind: str, beta: float) -> None:
    """Breaks if beta is no factor per sample without a gradient (Seitzer et al., eq. 3)."""
    task = make_task(kind)
    split = make_split([task])
    output, s = outputs_for(task, ROWS), noise_for(task)
    (loss,) = Heteroscedastic([task], beta=beta, reduce="mean").losses(
        given_noise(task, output, s), split.targets
    )
    (plain,) = Heteroscedastic([task], reduce="mean").losses(
        given_noise(task, output, s), split.targets
    )
    factor = s.detach().exp() ** beta
    gradients, plain_gradients = (
        torch.autograd.grad(loss, [output, s]),
        torch.autograd.grad(plain, [output, s]),
    )
    assert_near(gradients, tuple(factor * gradient for gradient in plain_gradients), 1e-12)
    if task.kind == "classification":
        assert_near(
            loss,
            (factor.squeeze(1) * entry_errors(task, output, split.targets["a"], s)).mean(),
            1e-12,
        )


@pytest.mark.parametrize(("kind", "share"), [("regression", 0.5), ("regression_l1", 1.0)])
@gaps_are
def test_beta_of_one_trains_the_mean_as_the_standard_loss_does(
    kind: str, share: float, gaps: bool
) -> None:
    """Breaks if hard samples are still explained away as noise at beta = 1."""
    task = make_task(kind, missing=gaps)
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    output, s = outputs_for(task, ROWS), noise_for(task)
    (loss,) = Heteroscedastic([task], beta=1.0, reduce="mean").losses(
        given_noise(task, output, s), split.targets
    )
    standard = task.loss({"a": output}, split.targets)
    assert_near(
        torch.autograd.grad(loss, output)[0],
        share * torch.autograd.grad(standard, output)[0],
        1e-13,
    )


@kind_is
@gaps_are
def test_the_logged_likelihood_is_without_beta(kind: str, gaps: bool) -> None:
    """Breaks if runs with different beta cannot be compared by their nll."""
    task = make_task(kind, missing=gaps)
    split = with_gaps(make_split([task])) if gaps else make_split([task])
    outputs = given_noise(task, outputs_for(task, ROWS), noise_for(task))
    logged = Heteroscedastic([task], beta=0.7).negative_log_likelihoods(outputs, split.targets)
    assert_near(logged, Heteroscedastic([task])(outputs, split.targets).detach(), 0)
    assert not logged.requires_grad
    assert (Heteroscedastic([task], beta=0.7)(outputs, split.targets) - logged).abs() > 1e-3


def test_every_task_has_the_noise_that_was_predicted_for_it() -> None:
    """Breaks if the scales of the tasks are mixed up."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1", d="multilabel")
    split = make_split(tasks)
    outputs = {task.name: outputs_for(task, ROWS, seed=i).detach() for i, task in enumerate(tasks)}
    s = [torch.tensor(value) for value in (0.1, -0.2, 0.3, -0.4)]
    losses = Heteroscedastic(tasks)(constant_noise(outputs, tasks, s), split.targets)
    expected = [
        nll_by_hand(t, outputs[t.name], split.targets[t.name], v)
        for t, v in zip(tasks, s, strict=True)
    ]
    assert_near(losses, torch.stack(expected), 1e-12)


def test_a_loss_term_is_taken_as_it_is() -> None:
    """Breaks if a callable of the user's, which is no density, gets a predicted noise."""
    term = Task("a", "term", loss_term=lambda outputs, targets: outputs["b"].square().mean())
    replaced = Task(
        "b", size=2, loss_term=lambda outputs, targets: 3 * outputs["b"].square().mean()
    )
    likelihood, outputs = Heteroscedastic([term, replaced], beta=0.5), {"b": torch.ones(4, 2)}
    assert_near(likelihood(outputs, {"b": torch.zeros(4, 2)}), torch.tensor([1.0, 3.0]), 0)
    assert [with_noise_outputs(task).size for task in (term, replaced)] == [0, 2]
    assert [likelihood.predicted_sigma(task, outputs) for task in (term, replaced)] == [None, None]


@pytest.mark.parametrize(
    ("kind", "power"),
    [("regression", 2), ("regression_l1", 1), ("classification", 2), ("multilabel", 2)],
)
def test_the_predicted_sigma_is_in_the_units_of_the_target(kind: str, power: int) -> None:
    """Breaks if a predicted sigma is logged, drawn or written in training units."""
    task = Task("a", kind, size=3, offset=7.0, scale=4.0)
    s = noise_for(task)
    unit = 4.0 if kind.startswith("regression") else 1.0
    sigma = Heteroscedastic([task]).predicted_sigma(task, {log_variance_key("a"): s})
    assert sigma is not None
    assert_near(sigma, unit * s.exp() ** (1 / power), 1e-13)


def test_nothing_is_learned_beside_the_model() -> None:
    """Breaks if a likelihood whose noise the model predicts has parameters of its own."""
    likelihood = Heteroscedastic(make_tasks(a="regression", b="classification"))
    assert list(likelihood.parameters()) == []
    assert not isinstance(likelihood, HasSigmas | HasOptimum)


@pytest.mark.parametrize("start", [-1e4, 1e4])
def test_a_wild_log_variance_stays_finite(start: float) -> None:
    """Breaks if a model's first outputs overflow the likelihood or its gradient."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1", d="multilabel")
    split = make_split(tasks)
    model = predicting_noise(tasks, trivial=[1.0] * 4)
    for task, head in zip(tasks, model.model.heads, strict=True):
        torch.nn.init.constant_(head.bias[task.size :], start)
    losses = Heteroscedastic(tasks)(model(split.inputs), split.targets)
    assert losses.isfinite().all()
    gradients = torch.autograd.grad(losses.sum(), list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce": "total"}, "likelihood.reduce='total' is unknown; allowed: sum, mean."),
        ({"beta": -0.1}, "likelihood.beta must lie in [0, 1]; found -0.1."),
        ({"beta": 1.5}, "likelihood.beta must lie in [0, 1]; found 1.5."),
        ({"beta": math.nan}, "likelihood.beta must lie in [0, 1]; found nan."),
        ({"beta": True}, "likelihood.beta must lie in [0, 1]; found True."),
        ({"beta": "half"}, "likelihood.beta must lie in [0, 1]; found 'half'."),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    options: dict[str, object], words: str
) -> None:
    """Breaks if a typo in the configuration of the likelihood is accepted or answered unclearly."""
    with pytest.raises(ConfigError) as error:
        Heteroscedastic(make_tasks(a="regression"), **options)
    assert words in str(error.value)
