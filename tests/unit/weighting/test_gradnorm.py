"""GradNorm: the gradient of its weights, what it does to the norms, and where it measures them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hydra
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.likelihood import Standard
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Fixed, GradNorm
from tests.support.builders import (
    INPUTS,
    QUICK,
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
positive = st.lists(st.floats(0.05, 20), min_size=3, max_size=3)


def chens_gradient(
    weighted_norms: Callable[[Tensor], Tensor], weights: Tensor, progress: Tensor, alpha: float
) -> Tensor:
    """Return the gradient of Chen's L_grad (eq. 2) by autograd.

    Args:
        weighted_norms: A function from the weights to the norms of the weighted losses' gradients.
        weights: The weights ``[T]``.
        progress: The losses ``[T]`` over those at the start.
        alpha: The exponent of the rates.
    """
    weights = weights.detach().requires_grad_()
    norms = weighted_norms(weights)
    rate = (progress / progress.mean()).detach()
    target = (norms.mean() * rate**alpha).detach()
    (gradient,) = torch.autograd.grad((norms - target).abs().sum(), weights)
    return gradient


def set_weights(weighting: GradNorm, values: Sequence[float]) -> None:
    """Set the weights of all tasks."""
    with torch.no_grad():
        for parameter, value in zip(weighting.weights, values, strict=True):
            parameter.fill_(value)


def gradients(weighting: GradNorm) -> list[float | None]:
    """Return the gradients of all weights."""
    return [None if p.grad is None else p.grad.item() for p in weighting.weights]


# The published algorithm


@QUICK
@given(
    norms=positive,
    first=positive,
    now=positive,
    raw=positive,
    alpha=st.sampled_from([0.0, 0.12, 1.0, 1.5, 3.0]),
)
def test_the_gradient_of_the_weights_is_that_of_the_published_loss(
    norms: list[float], first: list[float], now: list[float], raw: list[float], alpha: float
) -> None:
    """Breaks if the weights follow another objective, or its target is not a constant."""
    weighting = GradNorm(TASKS, alpha=alpha)
    weighting.observe_norms(torch.tensor(norms), torch.tensor(first))
    weights = 3 * torch.tensor(raw) / sum(raw)
    set_weights(weighting, weights.tolist())
    weighting.observe_norms(torch.tensor(norms), torch.tensor(now))
    progress = torch.tensor(now) / torch.tensor(first)
    expected = chens_gradient(lambda w: w * torch.tensor(norms), weights, progress, alpha)
    assert_near(torch.tensor(gradients(weighting)), expected, 1e-12)
    assert_near(torch.stack([p.detach() for p in weighting.weights]), weights, 1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_a_run_is_the_published_algorithm(alpha: float) -> None:
    """Breaks if a step, the layer or the scaling of the weights differs from algorithm 1."""
    split = make_split(TASKS)
    split.targets["a"] *= 5
    make = partial(make_mlp, TASKS, hidden=(8, 6))
    learner = make_learner(
        TASKS, split, model=make(), weighting=GradNorm(TASKS, alpha=alpha, lr=0.05), optimizer=SGD
    )
    history = train(learner, split, 40)

    model = make()
    layer = model.trunk[2].weight
    weights = torch.ones(3, requires_grad=True)
    solvers = [SGD(model.parameters()), torch.optim.Adam([weights], lr=0.05)]
    first = losses_of(model, TASKS, split).detach()
    for step in range(40):
        losses = losses_of(model, TASKS, split)
        assert_near(history.losses[step], losses.detach(), 1e-9)
        assert_near(history.weights[step], weights.detach(), 1e-9)

        def weighted_norms(w: Tensor, losses: Tensor = losses) -> Tensor:
            rows = [
                torch.autograd.grad(w[t] * losses[t], layer, create_graph=True)[0] for t in range(3)
            ]
            return torch.stack([row.norm() for row in rows])

        gradient = chens_gradient(weighted_norms, weights, losses.detach() / first, alpha)
        solvers[0].zero_grad()
        torch.dot(weights.detach(), losses).backward()
        solvers[0].step()
        weights.grad = gradient
        solvers[1].step()
        with torch.no_grad():
            weights.mul_(3 / weights.sum())
    assert (history.weights[-1] - 1).abs().min() > 0.05


@QUICK
@given(
    norms=positive,
    now=positive,
    active=st.sampled_from([None, only_active(0, 1), only_active(2), only_active(0, 2)]),
)
def test_the_weights_sum_to_the_number_of_active_tasks(
    norms: list[float], now: list[float], active: Active | None
) -> None:
    """Breaks if the size of the step drifts with the weights, or counts idle tasks."""
    weighting = GradNorm(TASKS, lr=0.3)
    optimizers = OwnOptimizers(weighting, SGD)
    indices = list(range(3) if active is None else active.tasks)
    masked = torch.zeros(3).index_copy(0, torch.tensor(indices), torch.tensor(norms)[indices])
    for step in range(10):
        losses = torch.tensor(now) / (1 + step)
        weights, objective = weighting.weigh(losses, active)
        assert weights.sum().item() == pytest.approx(len(indices), abs=1e-12)
        assert_near(objective, torch.dot(weights, losses), 1e-12)
        weighting.observe_norms(masked, losses, active)
        optimizers.step()


def test_the_weights_are_one_until_norms_are_observed() -> None:
    """Breaks if it does not begin as the plain sum, or learns from the losses alone."""
    weighting = GradNorm(TASKS)
    optimizers = OwnOptimizers(weighting, SGD)
    for losses in (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 2.0, 3.0])):
        assert_same_bits(weighting.weigh(losses)[0], torch.ones(3))
        optimizers.step()
    assert gradients(weighting) == [None] * 3


def test_the_published_options_are_the_defaults() -> None:
    """Breaks if alpha or lr are not those of the docs, which are the paper's."""
    assert (GradNorm(TASKS).alpha, GradNorm(TASKS).lr) == (1.5, 0.025)


def test_the_norms_give_the_model_no_gradient() -> None:
    """Breaks if the look at the norms moves the network: with constant weights it must not."""
    split = make_split(TASKS)
    learners = [
        make_learner(TASKS, split, weighting=w, optimizer=Adam)
        for w in (GradNorm(TASKS, lr=1e-300), Fixed(TASKS))
    ]
    for learner in learners:
        train(learner, split, 10)
    assert_same_bits(
        copy_state(learners[0].model.state_dict()), copy_state(learners[1].model.state_dict())
    )


# Where it ends


def converge(weighting: GradNorm, norms: Tensor, first: Tensor, now: Tensor, steps: int) -> Tensor:
    """Return the mean weights of the last 100 of many steps with constant norms and losses."""
    optimizers = OwnOptimizers(weighting, SGD)
    weighting.observe_norms(norms, first)
    weights = []
    for _ in range(steps):
        weights.append(weighting.weigh(now)[0])
        weighting.observe_norms(norms, now)
        optimizers.step()
    return torch.stack(weights[-100:]).mean(0)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_constant_norms_and_rates_end_at_the_closed_form(alpha: float) -> None:
    """Breaks if the balance is not w ~ r^alpha / n, which is exact for alpha 0 and 1."""
    norms, first, now = (
        torch.tensor([1.0, 5.0, 0.3]),
        torch.tensor([1.0, 2.0, 4.0]),
        torch.tensor([0.5, 1.6, 1.6]),
    )
    rates = now / first / (now / first).mean()
    expected = rates**alpha / norms
    weights = converge(GradNorm(TASKS, alpha=alpha), norms, first, now, 400)
    assert_near(weights, 3 * expected / expected.sum(), 0.005)


def test_a_larger_alpha_gives_slow_tasks_more() -> None:
    """Breaks if alpha favours the tasks that learn fast."""
    first, now = torch.ones(3), torch.tensor([0.2, 0.5, 0.8])
    weights = [
        converge(GradNorm(TASKS, alpha=alpha), torch.ones(3), first, now, 300)
        for alpha in (0.0, 0.5, 1.5)
    ]
    assert_near(weights[0], torch.ones(3), 0.01)
    assert weights[2][2] > weights[1][2] > 1.1
    assert weights[2][0] < weights[1][0] < 0.9


def test_no_weight_becomes_negative() -> None:
    """Breaks if a huge norm pushes its task's weight below 0, which would raise that loss."""
    weighting = GradNorm(TASKS[:2], alpha=0.0, lr=0.5)
    optimizers = OwnOptimizers(weighting, SGD)
    for _ in range(100):
        weights, _ = weighting.weigh(torch.ones(2))
        assert weights[0] >= 5e-4
        assert weights.sum().item() == pytest.approx(2)
        weighting.observe_norms(torch.tensor([1e6, 1.0]), torch.ones(2))
        optimizers.step()
    assert weights[0] < 1e-2


# Tasks that are idle, late, or solved


def test_the_start_of_a_late_task_is_its_own_first_loss() -> None:
    """Breaks if a late task's progress is counted from a time when it was not trained."""
    weighting = GradNorm(TASKS, alpha=1.5)
    norms = torch.tensor([1.0, 2.0, 0.5])
    weighting.observe_norms(
        norms * torch.tensor([1, 0, 1]), torch.tensor([4.0, 100.0, 2.0]), only_active(0, 2)
    )
    weighting.observe_norms(
        norms * torch.tensor([1, 0, 1]), torch.tensor([3.0, 90.0, 1.0]), only_active(0, 2)
    )
    assert gradients(weighting)[1] is None
    set_weights(weighting, [1.0, 1.0, 1.0])
    weighting.observe_norms(norms, torch.tensor([2.0, 8.0, 1.0]))
    expected = chens_gradient(
        lambda w: w * norms, torch.ones(3), torch.tensor([0.5, 1.0, 0.5]), 1.5
    )
    assert_near(torch.tensor(gradients(weighting)), expected, 1e-14)
    assert_near(weighting.first, torch.tensor([4.0, 8.0, 2.0]), 0)
    set_weights(weighting, [1.0, 1.0, 1.0])
    weighting.observe_norms(norms, torch.tensor([2.0, 2.0, 0.2]))
    expected = chens_gradient(
        lambda w: w * norms, torch.ones(3), torch.tensor([0.5, 0.25, 0.1]), 1.5
    )
    assert_near(torch.tensor(gradients(weighting)), expected, 1e-14)


def test_only_the_active_tasks_are_balanced() -> None:
    """Breaks if an idle task's weight, norm of 0 or old loss enters the balance of the others."""
    norms = torch.tensor([1.0, 0.0, 3.0])
    outcomes = []
    for garbage, weight in ((7.0, 1.0), (1e9, 50.0)):
        weighting = GradNorm(TASKS, alpha=1.5)
        set_weights(weighting, [0.8, weight, 1.2])
        weighting.observe_norms(norms, torch.tensor([1.0, garbage, 2.0]), only_active(0, 2))
        weighting.observe_norms(norms, torch.tensor([0.5, garbage, 0.4]), only_active(0, 2))
        assert weighting.weights[1].item() == weight
        outcomes.append(
            [
                gradients(weighting),
                weighting.weigh(torch.tensor([0.5, garbage, 0.4]), only_active(0, 2))[0].tolist(),
            ]
        )
    assert outcomes[0] == outcomes[1]
    pair = GradNorm([TASKS[0], TASKS[2]], alpha=1.5)
    with torch.no_grad():
        pair.weights[0].fill_(0.8)
        pair.weights[1].fill_(1.2)
    for losses in ([1.0, 2.0], [0.5, 0.4]):
        pair.observe_norms(norms[[0, 2]], torch.tensor(losses))
    assert gradients(pair) == [outcomes[0][0][0], outcomes[0][0][2]]


def test_a_gradient_of_an_earlier_step_does_not_move_an_idle_task() -> None:
    """Breaks if a task that was active one step ago is stepped again on its old gradient."""
    alone = GradNorm(TASKS)
    alone.observe_norms(torch.ones(3), torch.ones(3))
    alone.observe_norms(torch.tensor([1.0, 0.0, 2.0]), torch.ones(3), only_active(0, 2))
    assert [gradient is None for gradient in gradients(alone)] == [False, True, False]
    split = make_split(TASKS)
    weighting = GradNorm(TASKS)
    learner = make_learner(TASKS, split, weighting=weighting)
    learner.step(split, Active.all(3))
    before = [p.detach().clone() for p in weighting.weights]
    learner.step(split, Active((1.0, 0.0, 1.0)))
    assert_same_bits(weighting.weights[1].detach(), before[1])
    assert weighting.weights[0] != before[0]


def test_a_task_without_a_gradient_yet_starts_with_its_first_one() -> None:
    """Breaks if a loss before the first gradient counts as L(0), or a norm of 0 gives NaN."""
    weighting = GradNorm(TASKS)
    weighting.observe_norms(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([2.0, 5.0, 2.0]))
    assert weighting.first.tolist() == [2.0, 0.0, 2.0]
    weighting.observe_norms(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 0.5, 4.0]))
    progress = torch.tensor([0.5, 1.0, 2.0])  # nothing is known of the second one's
    expected = chens_gradient(
        lambda w: w * torch.tensor([1.0, 0.0, 1.0]), torch.ones(3), progress, 1.5
    )
    assert_near(torch.tensor(gradients(weighting)), expected, 1e-14)
    assert gradients(weighting) == [1, 0, -1]
    weighting.observe_norms(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 3.0, 2.0]))
    weighting.observe_norms(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 1.0, 2.0]))
    assert weighting.first.tolist() == [2.0, 3.0, 2.0]


def test_a_negative_loss_counts_as_finished() -> None:
    """Breaks the warning of negative losses: the target is a norm of 0, so the weight falls."""
    weighting = GradNorm(TASKS, alpha=1.5)
    weighting.observe_norms(torch.ones(3), torch.ones(3))
    for loss in (-0.5, -100.0):
        set_weights(weighting, [1.0, 1.0, 1.0])
        weighting.observe_norms(torch.ones(3), torch.tensor([loss, 1.0, 1.0]))
        assert gradients(weighting) == [1, -1, -1]
    weighting.observe_norms(torch.ones(3), torch.tensor([-1.0, -1.0, -1.0]))
    assert gradients(weighting) == [1, 1, 1]


def test_what_it_knows_travels_in_the_checkpoint() -> None:
    """Breaks if a resumed run measures progress from the loss at the resumption."""
    norms, first, now = (
        torch.tensor([1.0, 5.0, 0.3]),
        torch.tensor([1.0, 2.0, 4.0]),
        torch.tensor([0.5, 1.6, 1.6]),
    )
    weighting = GradNorm(TASKS)
    weighting.observe_norms(norms, first)
    set_weights(weighting, [0.7, 0.3, 2.0])
    resumed = GradNorm(TASKS)
    resumed.load_state_dict(copy_state(weighting.state_dict()))
    for gradnorm in (weighting, resumed):
        gradnorm.observe_norms(norms, now)
    assert gradients(resumed) == gradients(weighting)
    assert_same_bits(resumed.weigh(now), weighting.weigh(now))


# The last shared layer


def test_a_model_that_shares_nothing_is_refused() -> None:
    """Breaks if norms of 0 everywhere train equal weights under the name of GradNorm."""
    words = (
        r"The weighting GradNorm compares the tasks' gradients at a shared weight \(of two dimensions or more\), but this model "
        r"shares none; choose a model with a shared trunk, such as model=mlp with share=true\."
    )
    config = "data=toy_regression", "weighting=gradnorm", "trainer.device=cpu"
    for model in (("model=separate_mlps",), ("model=mlp", "share=false")):
        with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
            composed = hydra.compose("config", ["name=test", *config, *model])
        with pytest.raises(ConfigError, match=words):
            build(composed)


class TwoLayers(nn.Module):
    """Two shared layers, registered and used in given orders, and a head per task."""

    def __init__(
        self, tasks: Sequence[Task], registered: Sequence[str], used: Sequence[str]
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleDict({task.name: nn.Linear(INPUTS, task.size) for task in tasks})
        self.layers = nn.ModuleDict({name: nn.Linear(INPUTS, INPUTS) for name in registered})
        self.used = used

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        for name in self.used:
            inputs = torch.tanh(self.layers[name](inputs))
        return {name: head(inputs) for name, head in self.heads.items()}


@pytest.mark.parametrize("registered", [("one", "two"), ("two", "one")])
@pytest.mark.parametrize(
    ("used", "last_layer"),
    [(("one", "two"), "two"), (("two", "one"), "one"), (("one", "two", "one"), "one")],
)
@pytest.mark.parametrize("loop_of_your_own", [False, True])
def test_the_last_shared_layer_is_the_one_used_last(
    registered: tuple[str, ...], used: tuple[str, ...], last_layer: str, loop_of_your_own: bool
) -> None:
    """Breaks if the layer is picked by the order of attributes, or by its first use."""
    split = make_split(TASKS)
    model = TwoLayers(TASKS, registered, used)
    if loop_of_your_own:
        parameters = Parameters.from_losses(
            model, Standard(TASKS).losses(model(split.inputs), split.targets)
        )
    else:
        parameters = find_parameters(model, Standard(TASKS), split)
    (weight,) = parameters.last_shared
    assert weight is model.layers[last_layer].weight


def test_norms_are_of_the_unweighted_losses_at_that_layer() -> None:
    """Breaks if other parameters, the weights, or idle tasks enter the norms."""
    split = make_split(TASKS)
    model = TwoLayers(TASKS, ("two", "one"), ("one", "two"))
    parameters = find_parameters(model, Standard(TASKS), split)
    losses = Standard(TASKS).losses(model(split.inputs), split.targets)
    expected = [
        torch.autograd.grad(loss, model.layers["two"].weight, retain_graph=True)[0].norm().item()
        for loss in losses
    ]
    assert parameters.norms(losses, (0, 1, 2)).tolist() == pytest.approx(expected, rel=1e-14)
    assert parameters.norms(losses, (0, 2)).tolist() == pytest.approx(
        [expected[0], 0, expected[2]], rel=1e-14
    )
    assert all(p.grad is None for p in model.parameters())


def test_a_normalisation_after_the_last_layer_is_no_weight() -> None:
    """Breaks if the norms are taken at a scale or bias vector instead of the layer below."""
    model = TwoLayers(TASKS, ("one", "two"), ("one", "two"))
    model.layers["two"] = nn.Sequential(nn.Linear(INPUTS, INPUTS), nn.LayerNorm(INPUTS))
    (weight,) = find_parameters(model, Standard(TASKS), make_split(TASKS)).last_shared
    assert weight is model.layers["two"][0].weight


class Branch(nn.Module):
    """A trunk of all three tasks and above it a layer of the first two only."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.branch = nn.Linear(INPUTS, 6), nn.Linear(6, 6)
        self.heads = nn.ModuleDict({task.name: nn.Linear(6, task.size) for task in tasks})

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        trunk = torch.tanh(self.trunk(inputs))
        branch = torch.tanh(self.branch(trunk))
        return {name: head(trunk if name == "c" else branch) for name, head in self.heads.items()}


def test_the_norms_are_compared_where_every_task_has_one() -> None:
    """Breaks if a task that does not pass the last layer of two others takes all the weight."""
    split = make_split(TASKS)
    learner = make_learner(
        TASKS, split, model=Branch(TASKS), weighting=GradNorm(TASKS, alpha=0.0), optimizer=SGD
    )
    weights = train(learner, split, 200).weights[-1]
    assert weights.min() > 0.1
    (weight,) = learner.update.parameters.last_shared
    assert weight is learner.model.trunk.weight


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -0.1}, r"weighting\.alpha must be a number of at least 0; found -0\.1\."),
        ({"alpha": float("nan")}, r"weighting\.alpha must be a number of at least 0; found nan\."),
        ({"alpha": float("inf")}, r"weighting\.alpha must be a number of at least 0; found inf\."),
        ({"alpha": "high"}, r"weighting\.alpha must be a number of at least 0; found 'high'\."),
        ({"alpha": True}, r"weighting\.alpha must be a number of at least 0; found True\."),
        ({"alpha": None}, r"weighting\.alpha must be a number of at least 0; found None\."),
        ({"lr": 0}, r"weighting\.lr must be positive or null; found 0\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        GradNorm(TASKS, **options)
