"""Weights as free parameters of the total loss: that it fails, and fails as it is known to."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.weighting import Learned, Uncertainty, Weighting
from tests.support.builders import (
    NO_DATA,
    QUICK,
    SGD,
    Point,
    assert_near,
    assert_same_bits,
    make_learner,
    make_tasks,
    make_terms,
    minimise,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
FORMS = ("softmax", "exp")
numbers = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


def set_logits(weighting: Learned, values: list[float]) -> None:
    """Set the logits of all tasks."""
    with torch.no_grad():
        for parameter, value in zip(weighting.logits, values, strict=True):
            parameter.fill_(value)


@QUICK
@given(logits=numbers, losses=st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
@pytest.mark.parametrize("form", FORMS)
def test_weights_and_their_gradient_are_those_of_the_formula(
    form: str, logits: list[float], losses: list[float]
) -> None:
    """Breaks if the negative control is not the naive objective that it stands for."""
    weighting = Learned(TASKS, form)
    set_logits(weighting, logits)
    weights, objective = weighting.weigh(torch.tensor(losses))
    exponentials = torch.tensor([math.exp(a) for a in logits])
    shares = exponentials / exponentials.sum()
    values = torch.tensor(losses)
    # d softmax_t / d a_t' = softmax_t (1[t = t'] - softmax_t')
    expected = (
        exponentials * values if form == "exp" else shares * (values - torch.dot(shares, values))
    )
    assert_near(weights, exponentials if form == "exp" else shares, 1e-12)
    assert_near(objective, torch.dot(weights, values), 1e-10)
    assert_near(torch.stack([p.grad for p in weighting.logits]), expected, 1e-10)
    if form == "softmax":
        assert weights.sum().item() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize(("form", "weight"), [("softmax", 1 / 3), ("exp", 1.0)])
def test_it_starts_from_equal_weights(form: str, weight: float) -> None:
    """Breaks if the negative control favours a task from the start."""
    assert_near(
        Learned(TASKS, form).weigh(torch.tensor([1.0, 5.0, 0.1]))[0],
        torch.full((3,), weight),
        1e-15,
    )


def learn(weighting: Weighting, losses: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the weights of every step while the weighting learns from constant losses."""
    optimizers = OwnOptimizers(weighting, SGD)
    weights = []
    for _ in range(steps):
        weights.append(weighting.weigh(losses)[0])
        optimizers.step()
    return torch.stack(weights)


def test_the_exponential_form_drives_every_weight_to_zero() -> None:
    """Breaks the lesson: without uncertainty weighting's regulariser, no loss is the best loss."""
    losses = torch.tensor([2.0, 0.5, 3.0])
    weights = learn(Learned(TASKS, "exp"), losses, 400)
    assert (weights.diff(dim=0) < 0).all()
    # It is .0313: Adam slows down as the gradient, e^a L, vanishes with the weight.
    assert (weights[-1] < 0.032).all()
    regularised = learn(Uncertainty(TASKS, form="simplified", init=0.0), losses, 400)
    assert_near(regularised[-1] * losses, torch.ones(3), 1e-2)


def test_the_exponential_form_has_its_minimum_at_weights_of_zero() -> None:
    """Breaks the lesson: it is the objective that is wrong, not the optimizer."""
    weighting, losses = Learned(TASKS, "exp"), torch.tensor([2.0, 0.5, 30.0])
    minimise(weighting.parameters(), lambda: weighting(losses))
    assert (weighting.weigh(losses)[0] < 1e-9).all()


def test_the_softmax_form_gives_all_to_the_easiest_task() -> None:
    """Breaks the lesson: the smallest loss is rewarded with all of the weight."""
    losses = torch.tensor([2.0, 0.5, 3.0])
    weights = learn(Learned(TASKS, "softmax"), losses, 400)
    assert (weights[:, 1].diff() > 0).all()
    assert_near(weights[-1], torch.tensor([0.0, 1.0, 0.0]), 6e-3)
    weighting = Learned(TASKS, "softmax")
    minimise(weighting.parameters(), lambda: weighting(losses))
    assert_near(weighting.weigh(losses)[0], torch.tensor([0.0, 1.0, 0.0]), 1e-9)


def test_the_hard_task_is_forgotten_in_training() -> None:
    """Breaks the lesson in a run: of two tasks that pull a point apart, the easier one gets it."""
    tasks = make_terms(
        easy=lambda p: 0.1 * (p - 1).square().sum(), hard=lambda p: (p + 1).square().sum() + 1
    )
    learner = make_learner(tasks, NO_DATA, model=Point(0.0), weighting=Learned(tasks))
    history = train(learner, NO_DATA, 1000)
    assert history.weights[-1][0] > 0.999
    assert_near(learner.model.point.detach(), torch.tensor([1.0]), 0.02)


@pytest.mark.parametrize("form", FORMS)
def test_an_idle_task_has_no_gradient_and_takes_no_share(form: str) -> None:
    """Breaks if the weight of a task that does not take part is trained."""
    weighting = Learned(TASKS, form)
    set_logits(weighting, [0.5, 9.0, -1.0])
    weights, _ = weighting.weigh(torch.tensor([1.0, 99.0, 2.0]), active=only_active(0, 2))
    assert weighting.logits[1].grad is None
    assert weighting.logits[0].grad is not None
    pair = Learned([TASKS[0], TASKS[2]], form)
    with torch.no_grad():
        pair.logits[0].fill_(0.5)
        pair.logits[1].fill_(-1.0)
    alone, _ = pair.weigh(torch.tensor([1.0, 2.0]))
    assert_same_bits(weights, torch.stack([alone[0], torch.tensor(0.0), alone[1]]))


def test_the_learning_rate_is_the_weights_own() -> None:
    """Breaks if `weighting.lr` is ignored, or `null` does not mean the model's optimizer."""
    # Adam's first step is lr; SGD's is lr times the gradient.
    for lr, expected in (
        (0.5, -0.5),
        (None, -0.01 * 2.0),
    ):
        weighting = Learned(TASKS[:1], "exp", lr=lr)
        learn(weighting, torch.tensor([2.0]), 1)
        assert weighting.logits[0].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "sigmoid"}, r"weighting\.form='sigmoid' is unknown; allowed: softmax, exp\."),
        ({"lr": 0}, r"weighting\.lr must be positive or null; found 0\."),
        ({"lr": "fast"}, r"weighting\.lr must be positive or null; found fast\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        Learned(TASKS, **options)  # type: ignore[arg-type]
