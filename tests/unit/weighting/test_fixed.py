"""Fixed weights: constants, nothing but constants, and the gradient they promise."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.dataset import trivial_losses
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.protocols import HasSigmas
from mtl_runner.weighting import Fixed
from tests.support.builders import (
    KINDS,
    QUICK,
    SGD,
    Data,
    assert_near,
    assert_same_bits,
    flat_parameters,
    gradients_of,
    head_state,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    only_active,
    train,
    train_plainly,
)
from tests.unit.weighting.autograd import by_autograd

pytestmark = pytest.mark.usefixtures("float64")

ALL = {"a": "regression", "b": "regression_l1", "c": "classification", "d": "multilabel"}
weights_over_decades = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)


@QUICK
@given(weights=st.lists(weights_over_decades, min_size=4, max_size=4))
def test_the_gradient_of_the_weighted_sum_is_the_weighted_sum_of_gradients(
    weights: list[float],
) -> None:
    """Breaks if a parameter moves by anything but the sum of w_t times each task's gradient."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)
    model = make_mlp(tasks)
    before, gradients = flat_parameters(model), gradients_of(model, tasks, split)
    weighting = Fixed(tasks, dict(zip(ALL, weights, strict=True)))
    learner = make_learner(
        tasks, split, model=model, weighting=weighting, optimizer=partial(torch.optim.SGD, lr=1.0)
    )
    train(learner, split, 1)
    assert_near(
        (before - flat_parameters(model)) / sum(weights),
        torch.tensor(weights) @ gradients / sum(weights),
        # The difference of parameters around 1 is rounded, and then divided by the weights.
        1e-14 * max(1.0, 1 / sum(weights)),
    )


def test_equal_weights_are_the_plain_sum_to_the_last_bit() -> None:
    """Breaks if equal weights are not what a textbook loop with `sum(losses).backward()` trains."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split), make_mlp(tasks)
    train(learner, split, 20)
    train_plainly(plain.parameters(), lambda: losses_of(plain, tasks, split).sum(), 20)
    assert_same_bits(learner.model.state_dict(), plain.state_dict())


def test_the_default_weight_of_a_task_is_one() -> None:
    """Breaks if naming one task's weight changes the weight of the others."""
    weights, objective = Fixed(make_tasks(**ALL), {"b": 0.25}).weigh(
        torch.tensor([1.0, 2.0, 3.0, 4.0])
    )
    assert weights.tolist() == [1.0, 0.25, 1.0, 1.0]
    assert objective.item() == 8.5


def test_a_task_of_weight_zero_does_not_touch_the_trunk() -> None:
    """Breaks if a task that is switched off by its weight still trains the shared parameters."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split, weighting=Fixed(tasks, {"b": 0.0})), make_mlp(tasks)
    head = head_state(learner.model, tasks, "b")
    train(learner, split, 20)
    train_plainly(plain.parameters(), lambda: losses_of(plain, tasks, split)[0], 20)
    assert_same_bits(learner.model.state_dict(), plain.state_dict())
    assert_same_bits(head_state(learner.model, tasks, "b"), head)


@QUICK
@given(weights=st.lists(weights_over_decades, min_size=4, max_size=4), idle=st.integers(0, 3))
@pytest.mark.parametrize(("normalize", "total"), [("sum", lambda _: 1.0), ("mean", float)])
def test_normalised_weights_keep_their_ratios_and_the_promised_total(
    normalize: str, total: object, weights: list[float], idle: int
) -> None:
    """Breaks if the total weight changes with the number of active tasks."""
    weighting = Fixed(make_tasks(**ALL), dict(zip(ALL, weights, strict=True)), normalize=normalize)
    all_weights, _ = weighting.weigh(torch.ones(4))
    assert all_weights.sum().item() == pytest.approx(total(4))
    assert_near(
        all_weights / all_weights[0],
        torch.tensor(weights) / weights[0],
        1e-9 * max(weights) / weights[0],
    )
    active = Active(tuple(float(t != idle) for t in range(4)))
    active_weights, objective = weighting.weigh(torch.ones(4), active)
    assert active_weights[idle] == 0
    assert active_weights.sum().item() == pytest.approx(total(3))
    assert objective.item() == pytest.approx(total(3))


@pytest.mark.parametrize("normalize", ["none", "sum", "mean"])
@QUICK
@given(
    values=st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4),
    active=st.sampled_from([None, only_active(0), only_active(1, 3), only_active(0, 1, 2)]),
)
def test_the_formulas_of_fixed_weights_are_their_derivatives(
    normalize: str, values: list[float], active: Active | None
) -> None:
    """Breaks if the logged weights are not those of the objective."""
    weighting = Fixed(make_tasks(**ALL), {"a": 3.0, "b": 0.5, "d": 0.0}, normalize=normalize)
    weighed = weighting.weigh(torch.tensor(values), active)
    expected_weights, expected_objective, _ = by_autograd(weighting, torch.tensor(values), active)
    assert_near(weighed[0], expected_weights, 1e-12)
    assert_near(weighed[1], expected_objective, 1e-12 * max(1.0, float(expected_objective)))


@pytest.mark.parametrize("kind", KINDS)
def test_auto_makes_the_trivial_predictors_loss_one(kind: str) -> None:
    """Breaks if `weights=auto` does not put tasks of different kinds and scales on one footing."""
    tasks = make_tasks(a=kind)
    prepared = prepare(Data.of(tasks, train=make_split(tasks, rows=41)))
    target = prepared.splits["train"].targets["a"].numpy()
    if kind == "regression":
        trivial = target.var(axis=0).mean()
    elif kind == "regression_l1":
        trivial = np.abs(target - np.median(target)).mean()
    else:
        chances = np.bincount(target) / len(target) if kind == "classification" else target.mean(0)
        entropies = -chances * np.log(chances)
        trivial = (
            entropies.sum()
            if kind == "classification"
            else (entropies - (1 - chances) * np.log(1 - chances)).mean()
        )
    weighting = Fixed(
        prepared.tasks,
        "auto",
        trivial_losses=trivial_losses(prepared.tasks, prepared.splits["train"]),
    )
    weights, _ = weighting.weigh(torch.ones(1))
    assert weights.item() * trivial == pytest.approx(1.0, rel=1e-5)


def test_auto_is_measured_once_and_on_the_training_split_only() -> None:
    """Breaks if the weights look at validation or test targets."""
    tasks = make_tasks(a="regression")
    train_split, scaled_split = make_split(tasks), make_split(tasks, seed=1)
    scaled_split.targets["a"] *= 1000
    weights = []
    for held_out in (train_split, scaled_split):
        prepared = prepare(Data.of(tasks, train=train_split, val=held_out, test=held_out))
        losses = trivial_losses(prepared.tasks, prepared.splits["train"])
        weights.append(Fixed(prepared.tasks, "auto", trivial_losses=losses).weigh(torch.ones(1))[0])
    assert_same_bits(weights[0], weights[1])


def test_weights_are_not_trained() -> None:
    """Breaks if a constant is handed to an optimizer."""
    tasks = make_tasks(**ALL)
    learner = make_learner(tasks, make_split(tasks), optimizer=SGD)
    assert list(learner.weighting.parameters()) == []
    assert learner.own_optimizers.optimizers == []
    assert not isinstance(learner.weighting, HasSigmas)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (
            {"hight": 1.0},
            "weighting.weights names the unknown task 'hight'; did you mean 'height'?",
        ),
        ({"height": -1.0}, "must be finite, not negative and not all 0; found [-1.0, 1.0]"),
        ({"height": 0.0, "width": 0}, "not all 0"),
        ({"height": float("inf")}, "must be finite"),
        ({"height": float("nan")}, "must be finite"),
        ({"height": "big"}, "weighting.weights.height must be a number; found 'big'"),
        ("automatic", "weighting.weights must be a number or {task: number}; found 'automatic'"),
        (
            "auto",
            "weighting.weights=auto needs the loss of a trivial predictor, which task 'height' has not",
        ),
    ],
)
def test_wrong_weights_are_named_with_what_would_be_right(weights: object, words: str) -> None:
    """Breaks if a typo in the weights is accepted or answered unclearly."""
    with pytest.raises(ConfigError) as error:
        Fixed(make_tasks(height="regression", width="regression"), weights)
    assert words in str(error.value)


def test_an_unknown_normalisation_is_refused() -> None:
    """Breaks if a typo in `normalize` silently leaves the weights alone."""
    with pytest.raises(
        ConfigError, match=r"weighting\.normalize='total' is unknown; allowed: none, sum, mean"
    ):
        Fixed(make_tasks(a="regression"), normalize="total")
