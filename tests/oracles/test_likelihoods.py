"""The exact likelihoods learn the noise that closed forms and known generators prescribe.

Of a classification with a free last layer they do not change the balance at all.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic
from mtl_runner.models import PredictsNoise
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task, log_variance_key
from mtl_runner.weighting import Uncertainty
from tests.support.builders import (
    INPUTS,
    QUICK,
    assert_near,
    assert_same_bits,
    losses_of,
    make_linear,
    make_split,
    make_tasks,
    minimise,
)
from tests.support.likelihoods import (
    constant_noise,
    learner_with,
    make_task,
    outputs_for,
    predicting_noise,
)

pytestmark = pytest.mark.usefixtures("float64")

reduce_is = pytest.mark.parametrize("reduce", ["sum", "mean"])


def log_variances(likelihood: Homoscedastic) -> Tensor:
    """Return a copy of all log-variances, ``[T]``."""
    return torch.stack([s.detach().clone() for s in likelihood.log_variance])


def fit(model: nn.Module, likelihood: Homoscedastic, split: Split) -> float:
    """Train model and sigma together as far as float64 goes; return the objective at the end."""
    minimise(
        [*model.parameters(), *likelihood.parameters()],
        lambda: likelihood(model(split.inputs), split.targets).sum(),
    )
    return likelihood(model(split.inputs), split.targets).sum().item()


# Where sigma ends


@reduce_is
@QUICK
@given(exponent=st.floats(-4, 4))
def test_sigma_is_the_rms_residual_and_b_the_mean_absolute_one(
    reduce: str, exponent: float
) -> None:
    """Breaks if the learned noise of a fixed model is not the maximum-likelihood one."""
    tasks = make_tasks(a="regression", b="regression_l1")
    split = make_split(tasks)
    scale = 10.0**exponent
    outputs = {t.name: outputs_for(t, len(split)).detach() * scale for t in tasks}
    targets = {name: target * scale for name, target in split.targets.items()}
    near_the_scale = {"a": 2 * math.log(scale) + 1, "b": math.log(scale) - 1}
    likelihood = Homoscedastic(tasks, reduce=reduce, init=near_the_scale)
    minimise(likelihood.parameters(), lambda: likelihood(outputs, targets).sum())
    expected = [
        (outputs["a"] - targets["a"]).square().mean().log(),
        (outputs["b"] - targets["b"]).abs().mean().log(),
    ]
    assert_near(log_variances(likelihood), torch.stack(expected), 1e-7)
    assert likelihood.sigmas() == [
        pytest.approx(math.exp(expected[0] / 2), rel=1e-7),
        pytest.approx(math.exp(expected[1]), rel=1e-7),
    ]


@reduce_is
def test_sigma_and_a_linear_model_end_at_least_squares(reduce: str) -> None:
    """Breaks if learning sigma biases the model, or sigma is not least squares' RMS residual."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets["a"] *= 30
    model, likelihood = make_linear(tasks), Homoscedastic(tasks, reduce=reduce, init=2.0)
    fit(model, likelihood, split)
    design = np.column_stack([split.inputs.numpy(), np.ones(len(split))])
    for name, sigma in zip("ab", likelihood.sigmas(), strict=True):
        target = split.targets[name].numpy()
        residual = target - design @ np.linalg.lstsq(design, target)[0]
        assert sigma == pytest.approx(np.sqrt((residual**2).mean()), abs=1e-7)


def test_the_distance_to_the_optimum_is_zero_there() -> None:
    """Breaks if a run that has converged is told that it has not."""
    tasks = make_tasks(a="regression", b="regression_l1")
    split = make_split(tasks)
    outputs = {t.name: outputs_for(t, len(split)).detach() for t in tasks}
    likelihood = Homoscedastic(tasks, init=1.0)
    minimise(likelihood.parameters(), lambda: likelihood(outputs, split.targets).sum())
    for pair in likelihood.values_and_optima(
        likelihood.standard_losses(outputs, split.targets).tolist()
    ):
        assert pair is not None
        assert pair[0] == pytest.approx(pair[1], abs=1e-7)


@pytest.mark.parametrize(("kind", "power"), [("regression", 2.0), ("regression_l1", 1.0)])
@QUICK
@given(exponent=st.floats(-3, 3))
def test_other_units_move_sigma_by_two_log_c_and_nothing_else(
    kind: str, power: float, exponent: float
) -> None:
    """Breaks if the weighted loss or the slopes of a task depend on the unit of its target."""
    c = 10.0**exponent
    task = Task("a", kind, size=2)
    target = make_split([task]).targets["a"]
    ends, starts = [], []
    for factor in (1.0, c):
        shift = power * math.log(factor)
        scaled = {"a": factor * target}
        output = (factor * outputs_for(task, len(target)).detach()).requires_grad_()
        likelihood = Homoscedastic([task], init=0.5 + shift)
        nll = likelihood({"a": output}, scaled).sum()
        slopes = torch.autograd.grad(nll, [output, likelihood.log_variance[0]])
        frozen = {"a": output.detach()}
        weighted = torch.exp(-log_variances(likelihood)[0]) * task.loss(frozen, scaled)
        # The likelihood of two outputs shifts by 2 log c.
        starts.append(
            (nll.detach() - 2 * math.log(factor), weighted, factor * slopes[0], slopes[1])
        )
        minimise(likelihood.parameters(), lambda u=likelihood, o=frozen, t=scaled: u(o, t).sum())
        ends.append(log_variances(likelihood)[0].item())
    assert_near(starts[1], starts[0], 3e-10)
    assert ends[1] - ends[0] == pytest.approx(power * math.log(c), abs=1e-7)


def test_two_tasks_end_balanced_in_all_units() -> None:
    """Breaks if a shared trunk serves the task with the larger numbers once sigmas are learned."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    ends = []
    for factor in (1.0, 1000.0):
        scaled = Split(split.inputs, {"a": factor * split.targets["a"], "b": split.targets["b"]})
        torch.manual_seed(0)
        # One number must serve both tasks.
        line = nn.Linear(INPUTS, 1)
        heads = {"a": torch.tensor([[factor, -factor]]), "b": torch.tensor([[1.0, 2.0]])}

        def outputs(
            inputs: Tensor, line: nn.Module = line, heads: dict[str, Tensor] = heads
        ) -> dict[str, Tensor]:
            return {name: line(inputs) @ head for name, head in heads.items()}

        likelihood = Homoscedastic(tasks, init={"a": 2 * math.log(factor), "b": 0.0})
        minimise(
            [*line.parameters(), *likelihood.parameters()],
            lambda u=likelihood, s=scaled, o=outputs: u(o(s.inputs), s.targets).sum(),
        )
        ends.append(nn.utils.parameters_to_vector(line.parameters()).detach())
    assert_near(ends[1], ends[0], 1e-7)


# The temperature


def drawn(kind: str, temperature: float, rows: int = 20_000) -> tuple[Task, Tensor, Tensor]:
    """Return a task, frozen logits, and labels drawn from their softmax (or sigmoid).

    The logits are divided by the temperature before the labels are drawn.
    """
    task = Task("a", kind, size=5)
    random = np.random.default_rng(0)
    logits = 2 * random.standard_normal((rows, task.size))
    if kind == "classification":
        labels = (logits / temperature + random.gumbel(size=logits.shape)).argmax(1)
        return task, torch.as_tensor(logits), torch.as_tensor(labels)
    chances = 1 / (1 + np.exp(-logits / temperature))
    return (
        task,
        torch.as_tensor(logits),
        torch.as_tensor((random.random(logits.shape) < chances).astype(float)),
    )


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_of_frozen_logits_is_recovered(kind: str, temperature: float) -> None:
    """Breaks if sigma^2 is not the temperature that the labels were drawn with."""
    task, logits, labels = drawn(kind, temperature)
    likelihood = Homoscedastic([task], init=0.0)
    minimise(
        likelihood.parameters(), lambda: likelihood({"a": logits}, {"a": labels}).sum(), restarts=2
    )
    assert likelihood.log_variance[0].exp().item() == pytest.approx(temperature, rel=0.03)
    assert likelihood.sigmas()[0] == pytest.approx(math.sqrt(temperature), rel=0.015)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
@reduce_is
def test_the_expected_logit_is_the_mean_logit_of_the_labels(kind: str, reduce: str) -> None:
    """Breaks if the exact likelihood of frozen logits does not end at its optimum.

    There E[sum_c p_c f_c] = E[f_y].
    """
    task, logits, labels = drawn(kind, temperature=1.7, rows=500)
    likelihood = Homoscedastic([task], reduce=reduce, init=0.0)
    minimise(likelihood.parameters(), lambda: likelihood({"a": logits}, {"a": labels}).sum())
    sharp = logits / likelihood.log_variance[0].detach().exp()
    if kind == "classification":
        expected_logit = (sharp.softmax(1) * logits).sum(1).mean()
        logit_of_labels = logits.gather(1, labels[:, None]).mean()
    else:
        expected_logit = (sharp.sigmoid() * logits).sum(1).mean()
        logit_of_labels = (labels * logits).sum(1).mean()
    assert_near(expected_logit, logit_of_labels, 1e-5)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
@QUICK
@given(s=st.floats(-5, 5), k=st.floats(0.01, 100))
def test_logits_and_sigma_rescale_together_at_the_same_loss(kind: str, s: float, k: float) -> None:
    """Breaks if sigma has an effect on a classification that a factor on the logits cannot undo."""
    task = make_task(kind)
    split, output = make_split([task]), outputs_for(task, 24).detach()
    loss = Homoscedastic([task], init=s)({"a": output}, split.targets)
    rescaled = Homoscedastic([task], init=s + math.log(k))({"a": k * output}, split.targets)
    assert_near(rescaled, loss, 1e-12 * (1 + loss.item()))


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_with_a_free_last_layer_every_frozen_sigma_ends_at_the_same_loss(kind: str) -> None:
    """Breaks if a frozen sigma weighs a classification, or does not weigh a regression."""
    tasks = make_tasks(a=kind)
    split = make_split(tasks)
    ends = []
    for sigma in (0.5, 1.0, 3.0):
        ends.append(fit(make_linear(tasks), Homoscedastic(tasks, frozen=sigma), split))
    assert_near(torch.tensor(ends), torch.tensor([ends[0]] * 3), 1e-9)
    numbers = make_tasks(a="regression")
    split = make_split(numbers)
    weighed = [
        fit(make_linear(numbers), Homoscedastic(numbers, frozen=sigma), split)
        for sigma in (0.5, 3.0)
    ]
    assert abs(weighed[0] - weighed[1]) > 0.1


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_a_frozen_sigma_is_only_another_unit_of_the_last_layer(kind: str) -> None:
    """Breaks if a frozen sigma is more than a unit of the logits.

    With the head and the learning rate in its unit, every step is the same.
    """
    tasks = make_tasks(a=kind)
    split = make_split(tasks)
    histories = []
    # Rescaling by powers of two is exact.
    for temperature in (1.0, 4.0):
        model = make_linear(tasks)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= temperature
        likelihood = Homoscedastic(tasks, frozen=math.sqrt(temperature))
        (s,) = likelihood.log_variance
        s.data.copy_(torch.tensor(temperature).log())
        learner = learner_with(
            likelihood,
            split,
            model=model,
            optimizer=partial(torch.optim.SGD, lr=0.1 * temperature**2),
        )
        histories.append(
            torch.stack([learner.step(split, Active.all(1)).measured["nll"] for _ in range(20)])
        )
    assert_near(histories[1], histories[0], 1e-12)
    assert histories[0][-1] < histories[0][0] - 0.1


# Kendall's approximation


def approximation_error(logits: Tensor, variance: float) -> Tensor:
    """Return the approximate minus the exact negative log-likelihood of single rows.

    Both are computed by the classes of mtl_runner.
    """
    task = Task("a", "classification", size=logits.shape[1])
    sigma = math.sqrt(variance)
    approximate, exact = Uncertainty([task], frozen=sigma), Homoscedastic([task], frozen=sigma)
    errors = []
    for row in logits:
        outputs, targets = {"a": row[None]}, {"a": torch.zeros(1, dtype=torch.long)}
        errors.append(
            approximate(task.loss(outputs, targets).reshape(1)) - exact(outputs, targets).squeeze(0)
        )
    return torch.stack(errors).detach()


def closed_form_error(logits: Tensor, variance: float) -> Tensor:
    """Return the log of (sum exp f)^(1/sigma^2) over 1/sigma sum exp(f/sigma^2)."""
    return (
        logits.logsumexp(1) / variance - (logits / variance).logsumexp(1) + 0.5 * math.log(variance)
    )


def test_the_approximation_is_exact_at_sigma_one_and_only_there() -> None:
    """Breaks if Kendall's approximation is not all that tells `uncertainty` from the likelihood."""
    logits = 2 * torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    assert_same_bits(approximation_error(logits[:20], 1.0), torch.zeros(20))
    means = []
    for variance in (0.9, 0.7, 0.5, 0.3):
        error = approximation_error(logits, variance)
        assert_near(error, closed_form_error(logits, variance), 1e-12)
        means.append(error.abs().mean().item())
    assert means == sorted(means)
    assert means[0] > 0.01


@pytest.mark.parametrize(("variance", "expected"), [(0.9, 0.051), (0.5, 0.435)])
def test_the_approximations_measured_error_is_reproduced(variance: float, expected: float) -> None:
    """Breaks if the documented error of Kendall's approximation cannot be reproduced.

    It is the error of five logits from N(0, 4).
    """
    logits = 2 * torch.randn(100_000, 5, generator=torch.Generator().manual_seed(0))
    assert closed_form_error(logits, variance).abs().mean().item() == pytest.approx(
        expected, abs=0.002
    )
    few = approximation_error(logits[:100], variance)
    assert_near(few, closed_form_error(logits[:100], variance), 1e-12)


def test_the_approximation_weighs_a_classification_and_the_exact_likelihood_does_not() -> None:
    """Breaks if the caveat of the documentation on classifications is wrong.

    With a free last layer, the sigma of the approximation has an optimum. The exact sigma has none.
    """
    tasks = make_tasks(a="classification")
    split = make_split(tasks)
    model, weighting = make_linear(tasks), Uncertainty(tasks, init=0.0)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, split)),
    )
    loss = losses_of(model, tasks, split).item()
    assert_near(weighting.log_variance[0].detach(), torch.tensor(math.log(2 * loss)), 1e-6)
    exact = Homoscedastic(tasks, init=0.7)
    outputs = {"a": make_linear(tasks)(split.inputs)["a"].detach()}
    (slope_of_s,) = torch.autograd.grad(
        exact(outputs, split.targets).sum(), list(exact.parameters())
    )
    scale = torch.ones((), requires_grad=True)
    (slope_of_head,) = torch.autograd.grad(
        exact({"a": scale * outputs["a"]}, split.targets).sum(), scale
    )
    # Sigma moves the outputs in the same direction as a factor on the head.
    assert_near(slope_of_s, -slope_of_head, 1e-12)


# A noise for every sample


@reduce_is
def test_a_constant_noise_head_ends_where_the_learned_sigma_ends(reduce: str) -> None:
    """Breaks if heteroscedastic with a constant s differs from homoscedastic."""
    tasks = make_tasks(a="regression", b="regression_l1")
    split = make_split(tasks)
    outputs = {t.name: outputs_for(t, len(split)).detach() for t in tasks}
    learned, predicted = (
        Homoscedastic(tasks, reduce=reduce, init=1.0),
        Heteroscedastic(tasks, reduce=reduce),
    )
    constants = [nn.Parameter(torch.tensor(1.0)) for _ in tasks]
    minimise(learned.parameters(), lambda: learned(outputs, split.targets).sum())
    minimise(
        constants, lambda: predicted(constant_noise(outputs, tasks, constants), split.targets).sum()
    )
    assert_near(torch.stack([c.detach() for c in constants]), log_variances(learned), 1e-7)


def two_groups(kind: str, rows: int = 8000) -> tuple[Split, Tensor]:
    """Return rows of two groups with means 1 and -2 and noise scales 0.5 and 4, and their groups.

    The input of a row is the one-hot group.
    """
    random = np.random.default_rng(0)
    group = np.arange(rows) % 2
    noise = random.standard_normal(rows) if kind == "regression" else random.laplace(size=rows)
    target = np.array([1.0, -2.0])[group] + np.array([0.5, 4.0])[group] * noise
    return Split(
        torch.as_tensor(np.eye(2)[group]), {"a": torch.as_tensor(target).unsqueeze(1)}
    ), torch.as_tensor(group)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_two_groups_get_the_noise_that_generated_them(beta: float) -> None:
    """Breaks if a predicted sigma is not the RMS residual of the rows of its group."""
    task = Task("a", size=1)
    split, group = two_groups("regression")
    head = nn.Linear(2, 2, bias=False)
    likelihood = Heteroscedastic([task])

    def outputs() -> dict[str, Tensor]:
        answer, s = head(split.inputs).split(1, dim=1)
        return {"a": answer, log_variance_key("a"): s}

    minimise(head.parameters(), lambda: likelihood(outputs(), split.targets).sum())
    sigma = likelihood.predicted_sigma(task, outputs())
    assert sigma is not None
    for g, (mean, noise) in enumerate(((1.0, 0.5), (-2.0, 4.0))):
        target = split.targets["a"][group == g]
        predicted = sigma[group == g].detach()
        assert_near(predicted, torch.full_like(predicted, target.std(correction=0).item()), 1e-7)
        assert_near(outputs()["a"][group == g][0].detach(), target.mean(0), 1e-7)
        assert predicted[0].item() == pytest.approx(noise, rel=0.03)
        assert target.mean().item() == pytest.approx(mean, abs=0.2)
    # The groups share no parameter, so beta changes the way to the optimum, not the optimum.
    stationary = torch.autograd.grad(
        Heteroscedastic([task], beta=beta)(outputs(), split.targets).sum(), head.weight
    )[0]
    assert_near(stationary, torch.zeros_like(stationary), 1e-7)


def test_two_groups_get_the_laplace_scale_that_generated_them() -> None:
    """Breaks if a predicted b is a standard deviation, or the other group's."""
    task = Task("a", "regression_l1", size=1)
    split, group = two_groups("regression_l1")
    s = nn.Parameter(torch.zeros(2))
    medians = torch.stack([split.targets["a"][group == g].median() for g in (0, 1)])
    likelihood = Heteroscedastic([task])
    outputs = {"a": medians[group].unsqueeze(1)}
    minimise(
        [s],
        lambda: likelihood(
            {**outputs, log_variance_key("a"): s[group].unsqueeze(1)}, split.targets
        ).sum(),
    )
    scale = likelihood.predicted_sigma(task, {log_variance_key("a"): s.detach()})
    assert scale is not None
    expected = torch.stack(
        [(split.targets["a"][group == g] - medians[g]).abs().mean() for g in (0, 1)]
    )
    assert_near(scale, expected, 1e-7)
    assert_near(scale / torch.tensor([0.5, 4.0]), torch.ones(2), 0.03)


def test_two_groups_get_the_temperature_that_generated_them() -> None:
    """Breaks if a predicted temperature belongs to the wrong sample."""
    halves = [drawn("classification", temperature, rows=10_000) for temperature in (0.5, 2.0)]
    task = halves[0][0]
    logits, labels = torch.cat([h[1] for h in halves]), torch.cat([h[2] for h in halves])
    group = torch.arange(2).repeat_interleave(10_000)
    s = nn.Parameter(torch.zeros(2))
    likelihood = Heteroscedastic([task])

    def objective() -> Tensor:
        row_s = s[group].unsqueeze(1)
        return likelihood(
            {"a": logits * torch.exp(-row_s), log_variance_key("a"): row_s}, {"a": labels}
        ).sum()

    minimise([s], objective, restarts=2)
    assert_near(s.detach().exp() / torch.tensor([0.5, 2.0]), torch.ones(2), 0.03)


def test_a_trained_model_learns_both_noises() -> None:
    """Breaks if a model that is trained as a run trains it does not learn the groups' sigmas."""
    task = Task("a", size=1, trivial=(0.0,))
    split, group = two_groups("regression", rows=2000)
    torch.manual_seed(0)

    class Line(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.head = nn.Linear(2, size)

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"a": self.head(inputs)}

    model = PredictsNoise(Line(2), Line(1), [task], [split.targets["a"].var(correction=0).item()])
    likelihood = Heteroscedastic([task])
    learner = learner_with(
        likelihood, split, model=model, optimizer=partial(torch.optim.Adam, lr=0.05)
    )
    for _ in range(400):
        learner.step(split, Active.all(1))
    sigma = likelihood.predicted_sigma(task, model(split.inputs))
    assert sigma is not None
    for g in (0, 1):
        expected = split.targets["a"][group == g].std(correction=0).item()
        assert sigma[group == g].mean().item() == pytest.approx(expected, rel=0.01)


# beta


def test_beta_gives_hard_samples_their_gradient_back() -> None:
    """Breaks if beta does not undo the neglect of samples that are taken for noise.

    See Seitzer et al., section 3.
    """
    task = Task("a", size=1)
    target = torch.tensor([[1.0], [10.0]])
    # The hard sample is taken for noise.
    s = torch.log(torch.tensor([[1.0], [100.0]]))
    gradients = {}
    for beta in (0.0, 0.5, 1.0):
        output = torch.zeros(2, 1, requires_grad=True)
        loss = Heteroscedastic([task], beta=beta)(
            {"a": output, log_variance_key("a"): s}, {"a": target}
        )
        gradients[beta] = torch.autograd.grad(loss.sum(), output)[0].flatten()
    ratio = {beta: (gradient[1] / gradient[0]).item() for beta, gradient in gradients.items()}
    assert ratio == {0.0: pytest.approx(0.1), 0.5: pytest.approx(1.0), 1.0: pytest.approx(10.0)}
    squared = torch.zeros(2, 1, requires_grad=True)
    task.loss({"a": squared}, {"a": target}).backward()
    assert squared.grad is not None
    assert_near(gradients[1.0], 0.5 * squared.grad.flatten(), 1e-15)


def test_with_beta_of_one_the_mean_trains_step_for_step_as_under_the_standard_loss() -> None:
    """Breaks if at beta = 1 the noise changes how the answers train.

    SGD takes half the steps that it takes under the standard loss.
    """
    task = Task("a", size=2)
    split = make_split([task])
    noisy = predicting_noise([task], trivial=[3.0], hidden=())
    plain = make_linear([task])
    assert_near(noisy(split.inputs)["a"], plain(split.inputs)["a"], 1e-14)
    learner = learner_with(
        Heteroscedastic([task], beta=1.0, reduce="mean"),
        split,
        model=noisy,
        optimizer=partial(torch.optim.SGD, lr=0.2),
    )
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(50):
        learner.step(split, Active.all(1))
        optimizer.zero_grad()
        losses_of(plain, [task], split).sum().backward()
        optimizer.step()
    assert_near(noisy(split.inputs)["a"], plain(split.inputs)["a"], 1e-12)
    assert noisy(split.inputs)[log_variance_key("a")].std() > 1e-3, "while the noise trained too"
