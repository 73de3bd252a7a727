"""Fixed weights: constants, nothing but constants, and the gradient they promise."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.data.dataset import prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import trivial_losses
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.protocols import HasSigmas
from mtl_runner.weighting import Fixed
from tests.support.builders import (
    KINDS,
    QUICK,
    SGD,
    Data,
    flat,
    gradients_of,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    near,
    private,
    same_bits,
    train,
    train_plainly,
)

pytestmark = pytest.mark.usefixtures("float64")

ALL = {"a": "regression", "b": "regression_l1", "c": "classification", "d": "multilabel"}
weights_over_decades = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)


@QUICK
@given(weights=st.lists(weights_over_decades, min_size=4, max_size=4))
def test_the_gradient_of_the_weighted_sum_is_the_weighted_sum_of_gradients(
    weights: list[float],
) -> None:
    """Breaks if a parameter moves by something other than the sum of w_t times each task's own gradient."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)
    model = make_mlp(tasks)
    before, gradients = flat(model), gradients_of(model, tasks, split)
    weighting = Fixed(tasks, dict(zip(ALL, weights, strict=True)))
    learner = make_learner(
        tasks, split, model=model, weighting=weighting, optimizer=partial(torch.optim.SGD, lr=1.0)
    )
    train(learner, split, 1)
    near(
        (before - flat(model)) / sum(weights),
        torch.tensor(weights) @ gradients / sum(weights),
        1e-14,
    )


def test_equal_weights_are_the_plain_sum_to_the_last_bit() -> None:
    """Breaks if the equal-weights baseline is not what a textbook loop with `sum(losses).backward()` trains."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)
    learner, plain = make_learner(tasks, split), make_mlp(tasks)
    train(learner, split, 20)
    train_plainly(plain.parameters(), lambda: losses_of(plain, tasks, split).sum(), 20)
    same_bits(learner.model.state_dict(), plain.state_dict())


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
    head = private(learner.model, tasks, "b")
    train(learner, split, 20)
    train_plainly(plain.parameters(), lambda: losses_of(plain, tasks, split)[0], 20)
    same_bits(learner.model.state_dict(), plain.state_dict())
    same_bits(private(learner.model, tasks, "b"), head)


@QUICK
@given(weights=st.lists(weights_over_decades, min_size=4, max_size=4), idle=st.integers(0, 3))
@pytest.mark.parametrize(("normalize", "total"), [("sum", lambda _: 1.0), ("mean", float)])
def test_normalised_weights_keep_their_ratios_and_the_promised_total(
    normalize: str, total: object, weights: list[float], idle: int
) -> None:
    """Breaks if the effective learning rate changes with the number of active tasks against the user's wish."""
    weighting = Fixed(make_tasks(**ALL), dict(zip(ALL, weights, strict=True)), normalize=normalize)
    everyone, _ = weighting.weigh(torch.ones(4))
    assert everyone.sum().item() == pytest.approx(total(4))
    near(
        everyone / everyone[0], torch.tensor(weights) / weights[0], 1e-9 * max(weights) / weights[0]
    )
    active = Active(tuple(float(t != idle) for t in range(4)))
    partly, objective = weighting.weigh(torch.ones(4), active)
    assert partly[idle] == 0
    assert partly.sum().item() == pytest.approx(total(3))
    assert objective.item() == pytest.approx(total(3))


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
    train_split, other = make_split(tasks), make_split(tasks, seed=1)
    other.targets["a"] *= 1000
    found = []
    for rest in (train_split, other):
        prepared = prepare(Data.of(tasks, train=train_split, val=rest, test=rest))
        losses = trivial_losses(prepared.tasks, prepared.splits["train"])
        found.append(Fixed(prepared.tasks, "auto", trivial_losses=losses).weigh(torch.ones(1))[0])
    same_bits(found[0], found[1])


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
