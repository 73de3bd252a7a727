"""How a likelihood's log-variances train: alike with every update, without clipping or decay."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.build import build
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Likelihood, Standard
from mtl_runner.schedule import RunLength, Staged
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.epoch_record import EpochBuffer
from mtl_runner.weighting import Fixed, LogSum, Uncertainty
from tests.support.builders import (
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
    flat_parameters,
    make_mlp,
    make_split,
    make_tasks,
    train,
    whole_batch,
)
from tests.support.likelihoods import (
    UPDATES,
    learner_with,
    make_task,
    nll_by_hand,
    with_gaps,
    without_labels,
)
from tests.support.whole_runs import everything_config

pytestmark = pytest.mark.usefixtures("float64")

THREE = {"a": "regression", "b": "classification", "c": "regression_l1"}
update_is = pytest.mark.parametrize("update", UPDATES)
ALL_ACTIVE = Active.all(3)


def missing(**kinds: str) -> list[Task]:
    """Return tasks whose labels may be missing."""
    return [Task(t.name, t.kind, size=t.size, missing=True) for t in make_tasks(**kinds)]


def values(likelihood: Homoscedastic) -> Tensor:
    """Return a copy of all log-variances."""
    return torch.stack([s.detach().clone() for s in likelihood.log_variance])


def clock(own_optimizers: OwnOptimizers, parameter: nn.Parameter) -> int:
    """Return how many steps an Adam has taken for a parameter."""
    states = [
        optimizer.state[parameter]
        for optimizer in own_optimizers.optimizers
        if parameter in optimizer.state
    ]
    return int(states[0]["step"]) if states else 0


@pytest.mark.parametrize("name", ["homoscedastic", "heteroscedastic"])
def test_a_run_starts_at_the_noise_of_its_trivial_predictor(name: str) -> None:
    """Breaks if a run's sigma starts at 1 in any units, so that its first epochs search it."""
    experiment = build(everything_config(f"likelihood={name}", gaps=False))
    split, likelihood = experiment.data.splits["train"], experiment.learner.likelihood
    numbers = split.targets["regression"]
    deviation = (numbers - numbers.mean(0)).square().mean().sqrt().item() * 3.0
    absolute = split.targets["regression_l1"]
    scale = (absolute - absolute.median(0).values).abs().mean().item() * 0.5
    outputs = experiment.learner.model(split.inputs)
    predicted = [likelihood.predicted_sigma(task, outputs) for task in experiment.data.tasks]
    sigmas = (
        likelihood.sigmas()
        if name == "homoscedastic"
        else [sigma.mean().item() for sigma in predicted if sigma is not None]
    )
    assert sigmas == [
        pytest.approx(deviation),
        pytest.approx(scale),
        pytest.approx(1.0),
        pytest.approx(1.0),
    ]


# Which gradient


@update_is
@pytest.mark.parametrize("active", [(1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.25, 1.0, 0.5)])
def test_every_update_gives_sigma_the_gradient_of_the_weighted_likelihoods(
    update: str, active: tuple[float, ...]
) -> None:
    """Breaks if the way the model's gradients are put together changes how a sigma trains."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init={"a": 0.4, "b": -0.3, "c": 0.2})
    weights = {"a": 2.0, "b": 3.0, "c": 0.5}
    learner = learner_with(likelihood, split, weighting=Fixed(tasks, weights), update=update)
    outputs = learner.model(split.inputs)
    objective = sum(
        weights[t.name] * a * nll_by_hand(t, outputs[t.name], split.targets[t.name], s)
        for t, s, a in zip(tasks, likelihood.log_variance, active, strict=True)
        if a
    )
    expected = torch.autograd.grad(objective, list(likelihood.log_variance), allow_unused=True)
    learner.step(split, Active(active))
    for parameter, gradient in zip(likelihood.log_variance, expected, strict=True):
        if gradient is None:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            assert_near(parameter.grad, gradient, 1e-12)


@update_is
def test_log_variances_belong_to_no_optimizer_of_the_model(update: str) -> None:
    """Breaks if a log-variance moves twice in a step, or is clipped or decayed with the network."""
    tasks = make_tasks(**THREE)
    likelihood = Homoscedastic(tasks, frozen={"b": 1.0})
    learner = learner_with(likelihood, make_split(tasks), update=update)
    of_the_model = {
        p for o in learner.update.optimizers for group in o.param_groups for p in group["params"]
    }
    of_the_likelihood = [
        p
        for o in learner.own_optimizers.optimizers
        for group in o.param_groups
        for p in group["params"]
    ]
    assert not of_the_model & set(likelihood.parameters())
    assert of_the_likelihood == [likelihood.log_variance[0], likelihood.log_variance[2]]
    assert of_the_model == set(learner.model.parameters())


@update_is
def test_the_model_sees_the_same_gradient_as_without_a_learned_sigma(update: str) -> None:
    """Breaks if the gradient of sigma frees the graph, or leaves something in the model's."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    ends = []
    for frozen in (None, {"a": 2.0, "b": 2.0, "c": 2.0}):
        start = {
            "a": 2 * torch.tensor(2.0).log().item(),
            "b": 2 * torch.tensor(2.0).log().item(),
            "c": torch.tensor(2.0).log().item(),
        }
        learner = learner_with(
            Homoscedastic(tasks, init=start, frozen=frozen), split, update=update
        )
        learner.step(split, ALL_ACTIVE)
        ends.append(flat_parameters(learner.model))
    assert_near(ends[0], ends[1], 1e-12)


def test_weights_are_slopes_with_respect_to_the_likelihoods() -> None:
    """Breaks if the logged weight is no slope by the NLL, which is what the weighting sees."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init=1.0)
    learner = learner_with(likelihood, split, weighting=LogSum(tasks))
    nll = likelihood(learner.model(split.inputs), split.targets).detach()
    record = learner.step(split, ALL_ACTIVE)
    assert_near(record.weight * nll, torch.ones(3), 1e-12)
    assert_near(record.objective, nll.log().sum(), 1e-12)
    assert ((record.weight * record.loss - 1).abs() > 1e-3).any()


def test_the_logged_likelihood_is_the_one_that_was_trained() -> None:
    """Breaks if nll and loss in metrics.csv mix outputs before a step with sigma after it."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init=1.0, lr=0.5)
    learner = learner_with(likelihood, split)
    outputs = learner.model(split.inputs)
    nll = likelihood(outputs, split.targets).detach()
    standard = likelihood.standard_losses(outputs, split.targets)
    record = learner.step(split, ALL_ACTIVE)
    # With equal weights the objective is the sum of the nll beside it.
    assert_near(record.objective, record.measured["nll"].sum(), 1e-12)
    assert_near(record.measured["nll"], nll, 1e-12)
    assert_near(record.loss, standard, 1e-12)


@pytest.mark.parametrize("kind", ["standard", "homoscedastic", "heteroscedastic"])
def test_a_step_tells_the_likelihood_where_there_is_one(kind: str) -> None:
    """Breaks if the columns of a step and their names part."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    axis: Likelihood = {
        "standard": Standard,
        "homoscedastic": Homoscedastic,
        "heteroscedastic": Heteroscedastic,
    }[kind](tasks)
    learner = learner_with(axis, split)
    record = learner.step(split, ALL_ACTIVE)
    assert list(learner.layout.measured) == ([] if kind == "standard" else ["nll"])
    assert list(record.measured) == list(learner.layout.measured)
    # The losses are those of the same batch before the step.
    assert_near(record.loss, axis.standard_losses(learner.model(split.inputs), split.targets), 0.5)
    buffer = EpochBuffer(tasks, 1, torch.device("cpu"), learner.layout)
    buffer.add(record, ALL_ACTIVE)
    means = buffer.take(1, 1).means()
    assert (means.measured.get("nll") is not None) == (kind != "standard")


def test_a_nan_likelihood_is_reported_with_the_name_of_its_task() -> None:
    """Breaks if a noise that diverged before the answers did is blamed on the weighting."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    learner = learner_with(Heteroscedastic(tasks), split)
    with torch.no_grad():
        learner.model.model.heads[2].bias[1] = torch.nan  # the log-variance of c
    buffer = EpochBuffer(tasks, 1, torch.device("cpu"), learner.layout)
    buffer.add(learner.step(split, ALL_ACTIVE), ALL_ACTIVE)
    with pytest.raises(DivergedError, match="task 'c' became nan in epoch 7, step 101"):
        buffer.take(7, 101)


def test_beta_trains_another_loss_than_it_logs() -> None:
    """Breaks if beta reaches the log, or does not reach the objective."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    records = {}
    for beta in (0.0, 1.0):
        likelihood = Heteroscedastic(tasks, beta=beta)
        learner = learner_with(likelihood, split, model=None)
        with torch.no_grad():
            learner.model.start += 2.0  # a noise far from 1
        records[beta] = learner.step(split, Active.all(1))
    assert_near(records[1.0].measured["nll"], records[0.0].measured["nll"], 1e-12)
    assert_near(records[0.0].objective, records[0.0].measured["nll"].sum(), 1e-12)
    assert_near(records[1.0].objective, torch.e**2 * records[0.0].objective, 1e-9)


# What an idle task keeps


@update_is
def test_a_batch_without_labels_moves_neither_sigma_nor_its_clock(update: str) -> None:
    """Breaks if the sigma of an unlabelled task drifts, by momentum or by log sigma alone."""
    tasks = missing(**THREE)
    full, gap = make_split(tasks), without_labels(make_split(tasks, seed=1), "b")
    likelihood = Homoscedastic(tasks, init=1.0)
    learner = learner_with(likelihood, full, update=update)
    for _ in range(3):
        learner.step(*whole_batch(full, tasks))
    before, state = (
        values(likelihood),
        copy_state(learner.own_optimizers.optimizers[0].state[likelihood.log_variance[1]]),
    )
    batch, active = whole_batch(gap, tasks)
    assert active.tasks == (0, 2)
    for _ in range(2):
        record = learner.step(batch, active)
        assert record.measured["nll"][1] == 0, "an unlabelled task's likelihood is exactly 0"
    after = values(likelihood)
    assert_same_bits(after[1], before[1])
    assert ((after - before)[[0, 2]] != 0).all()
    assert_same_bits(
        copy_state(learner.own_optimizers.optimizers[0].state[likelihood.log_variance[1]]), state
    )
    assert [clock(learner.own_optimizers, s) for s in likelihood.log_variance] == [5, 3, 5]
    learner.step(*whole_batch(full, tasks))
    assert [clock(learner.own_optimizers, s) for s in likelihood.log_variance] == [6, 4, 6]


@update_is
def test_a_batch_with_labels_of_one_task_trains_that_task_alone(update: str) -> None:
    """Breaks if the NaN of missing labels reaches a head or a sigma."""
    tasks = missing(**THREE)
    gap = without_labels(make_split(tasks), "a", "c")
    learner = learner_with(Homoscedastic(tasks, init=0.5), make_split(tasks), update=update)
    heads = [copy_state(head.state_dict()) for head in learner.model.heads]
    learner.step(*whole_batch(gap, tasks))
    assert flat_parameters(learner.model).isfinite().all()
    for index, name in enumerate(THREE):
        unmoved = all(
            torch.equal(heads[index][key], value)
            for key, value in learner.model.heads[index].state_dict().items()
        )
        assert unmoved == (name != "b"), name
    assert (values(learner.likelihood) == 0.5).tolist() == [True, False, True]


@update_is
def test_a_task_that_starts_late_begins_with_its_sigma_untouched(update: str) -> None:
    """Breaks if a staged task's sigma, or its Adam's clock, moves before its start.

    Its first step is no longer than lr.
    """
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init=1.0, lr=0.025)
    learner = learner_with(likelihood, split, update=update)
    schedule = Staged(tasks, RunLength(10, 1), start={"b": 5})
    train(learner, split, 5, schedule)
    assert_same_bits(values(likelihood)[1], torch.tensor(1.0))
    assert clock(learner.own_optimizers, likelihood.log_variance[1]) == 0
    train(learner, split, 1, schedule, first=5)
    assert 0 < abs(values(likelihood)[1].item() - 1.0) <= 0.025 * (1 + 1e-6)
    train(learner, split, 4, schedule, first=6)
    assert [clock(learner.own_optimizers, s) for s in likelihood.log_variance] == [10, 5, 10]


def test_staging_with_all_starts_at_zero_is_no_staging() -> None:
    """Breaks if a schedule changes the likelihood of tasks that are all active."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    ends = []
    for schedule in (None, Staged(tasks, RunLength(10, 1), start=dict.fromkeys(THREE, 0))):
        learner = learner_with(Homoscedastic(tasks, init=1.0), split)
        train(learner, split, 10, schedule)
        ends.append(torch.cat([flat_parameters(learner.model), values(learner.likelihood)]))
    assert_same_bits(ends[0], ends[1])


# Their optimizer


def test_by_default_they_have_an_adam_with_a_rate_of_their_own() -> None:
    """Breaks if the log-variances get the network's rate, with which they never arrive."""
    tasks = make_tasks(**THREE)
    own_optimizers = OwnOptimizers(Fixed(tasks), SGD, Homoscedastic(tasks, lr=0.125))
    (optimizer,) = own_optimizers.optimizers
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 0.125
    assert optimizer.param_groups[0]["weight_decay"] == 0
    assert own_optimizers.scheduled == []


def test_a_weighting_and_a_likelihood_keep_their_own_rates() -> None:
    """Breaks if the likelihood trains at the weighting's rate, or one of the two is forgotten."""
    tasks = make_tasks(a="regression")
    weighting, likelihood = (
        Uncertainty(tasks, init=0.0, lr=0.5, anneal=False),
        Homoscedastic(tasks, init=0.0, lr=0.25),
    )
    own_optimizers = OwnOptimizers(weighting, SGD, likelihood)
    owners = [
        (o.param_groups[0]["params"], o.param_groups[0]["lr"]) for o in own_optimizers.optimizers
    ]
    assert owners == [([weighting.log_variance[0]], 0.5), ([likelihood.log_variance[0]], 0.25)]
    own_optimizers.begin_epoch(0.85)
    assert [o.param_groups[0]["lr"] for o in own_optimizers.optimizers] == [
        0.5,
        pytest.approx(0.125),
    ]
    split = make_split(tasks)
    learner = learner_with(likelihood, split, weighting=weighting)
    for _ in range(2):
        learner.step(split, Active.all(1))
    assert [
        clock(learner.own_optimizers, p)
        for p in (weighting.log_variance[0], likelihood.log_variance[0])
    ] == [2, 2]


@pytest.mark.parametrize("anneal", [True, False])
def test_annealing_lets_sigma_arrive_and_then_settle(anneal: bool) -> None:
    """Breaks if the rate falls too early for sigma to arrive, or does not fall when it should."""
    own_optimizers = OwnOptimizers(
        Fixed(make_tasks(a="regression")),
        SGD,
        Homoscedastic(make_tasks(a="regression"), lr=0.5, anneal=anneal),
    )
    rates = []
    for done in (0.0, 0.7, 0.85, 1.0):
        own_optimizers.begin_epoch(done)
        rates.append(own_optimizers.optimizers[0].param_groups[0]["lr"])
    assert rates == [
        0.5,
        0.5,
        *([pytest.approx(0.25), pytest.approx(0.0)] if anneal else [0.5, 0.5]),
    ]


@pytest.mark.parametrize("optimizer", [partial(torch.optim.AdamW, eps=1.0), torch.optim.SGD])
def test_without_a_rate_they_train_like_the_model_but_without_decay(
    optimizer: Callable[..., torch.optim.Optimizer],
) -> None:
    """Breaks if `likelihood.lr=null` is Adam all the same, or decays the log-variances."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, init=3.0, lr=None)
    decaying = partial(optimizer, lr=0.1, weight_decay=0.5)
    learner = learner_with(likelihood, split, optimizer=decaying)
    (own_optimizer,) = learner.own_optimizers.optimizers
    assert learner.own_optimizers.scheduled == [own_optimizer], (
        "the model's learning-rate schedule is theirs too"
    )
    assert type(own_optimizer) is (optimizer.func if isinstance(optimizer, partial) else optimizer)
    assert [group["weight_decay"] for group in own_optimizer.param_groups] == [0.0]
    assert [group["weight_decay"] for group in learner.update.optimizers[0].param_groups] == [0.5]
    learner.own_optimizers.begin_epoch(0.99)
    assert own_optimizer.param_groups[0]["lr"] == 0.1, "no annealing of its own"
    before = values(likelihood)
    learner.step(split, Active.all(1))
    gradient = likelihood.log_variance[0].grad
    assert gradient is not None
    step = gradient if optimizer is torch.optim.SGD else gradient / (gradient.abs() + 1.0)
    assert_near(values(likelihood), before - 0.1 * step, 1e-12)


@update_is
def test_clipping_leaves_log_variances_alone(update: str) -> None:
    """Breaks if clipping slows the sigmas down, or their gradient shrinks the network's."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    ends = []
    for clip in (None, 1e-12):
        likelihood = Homoscedastic(tasks, init=2.0)
        learner = learner_with(
            likelihood,
            split,
            update=update,
            optimizer=partial(torch.optim.Adam, lr=1e-9),
            clip=clip,
        )
        train(learner, split, 5)
        ends.append(values(likelihood))
    assert_near(ends[0], ends[1], 1e-7)


def test_frozen_sigmas_leave_nothing_to_train() -> None:
    """Breaks if a likelihood with all sigmas frozen asks for an optimizer without parameters."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    likelihood = Homoscedastic(tasks, frozen=2.0)
    learner = learner_with(likelihood, split)
    assert learner.own_optimizers.optimizers == []
    before = values(likelihood)
    train(learner, split, 3)
    assert_same_bits(values(likelihood), before)


def test_an_own_optimizer_continues_from_a_saved_state() -> None:
    """Breaks if a resumed run's sigmas start with a fresh Adam."""
    tasks = make_tasks(**THREE)
    split = make_split(tasks)
    uninterrupted = learner_with(Homoscedastic(tasks, init=1.0), split)
    train(uninterrupted, split, 4)
    resumed = learner_with(Homoscedastic(tasks, init=1.0), split)
    for name in ("model", "likelihood", "update", "own_optimizers"):
        getattr(resumed, name).load_state_dict(deepcopy(getattr(uninterrupted, name).state_dict()))
    for learner in (uninterrupted, resumed):
        train(learner, split, 3)
    assert_same_bits(values(resumed.likelihood), values(uninterrupted.likelihood))


def test_two_halves_of_a_gap_teach_sigma_what_the_labelled_rows_say() -> None:
    """Breaks if unlabelled rows dilute the gradient of sigma."""
    task = make_task("regression", missing=True)
    split = with_gaps(make_split([task]))
    learner = learner_with(
        Homoscedastic([task], init=0.5), split, model=make_mlp([task]), optimizer=Adam
    )
    known = task.labelled(split.targets["a"])
    rows = split.rows(known)
    (s,) = learner.likelihood.log_variance
    of_all_rows = learner.likelihood(learner.model(split.inputs), split.targets)[0]
    of_labelled_rows = learner.likelihood(learner.model(rows.inputs), rows.targets)[0]
    assert_near(
        torch.autograd.grad(of_all_rows, s)[0], torch.autograd.grad(of_labelled_rows, s)[0], 1e-12
    )
