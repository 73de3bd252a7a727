"""Learning-rate annealing: the published rule, where it measures, and where it settles."""

from __future__ import annotations

from typing import Any

import hydra
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.weighting import LRAnnealing
from tests.support.builders import (
    NO_DATA,
    QUICK,
    SGD,
    Point,
    assert_near,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
sizes = st.lists(st.floats(0.05, 20), min_size=3, max_size=3)


def weights_of(weighting: LRAnnealing) -> Tensor:
    """Return the weights ``[T]``."""
    return weighting.weigh(torch.ones(len(weighting.tasks)))[0]


@QUICK
@given(steps=st.lists(st.tuples(sizes, sizes), min_size=1, max_size=4), rate=st.floats(0.01, 1))
def test_the_weights_follow_the_published_rule(
    steps: list[tuple[list[float], list[float]]], rate: float
) -> None:
    """Breaks if maximum and mean are exchanged, or the weight is left out of its denominator."""
    weighting = LRAnnealing(TASKS, reference="b", rate=rate)
    expected = [1.0, 1.0, 1.0]
    for largest, mean in steps:
        weighting.observe_gradients(torch.tensor(largest), torch.tensor(mean))
        for t in (0, 2):
            target = largest[1] / (expected[t] * mean[t])
            expected[t] = (1 - rate) * expected[t] + rate * target
    assert_near(weights_of(weighting), torch.tensor(expected), 1e-9 * max(expected))


def test_it_settles_at_the_root_of_the_ratio() -> None:
    """Breaks if the weights of two losses of known gradients end elsewhere."""
    # Constant gradients: 8 in the first of two numbers, 0.5 in the second.
    tasks = make_terms(residual=lambda p: 8 * p[0], boundary=lambda p: 0.5 * p[1])
    weighting = LRAnnealing(tasks, rate=0.5, every=3)
    learner = make_learner(
        tasks, NO_DATA, model=Point(5.0, 1.0), weighting=weighting, optimizer=SGD
    )
    history = train(learner, NO_DATA, 150)
    expected = torch.tensor([1.0, (8 / (0.5 / 2)) ** 0.5])
    assert_near(history.weights[-1], expected, 1e-6)
    # Three steps pass from one change to the next, and the first step has one.
    changes = (history.weights[1:] != history.weights[:-1]).any(1).nonzero().flatten() + 1
    assert (changes % 3 == 0).all()
    assert history.weights[0, 1] != 1


def test_the_sizes_are_those_of_the_unweighted_gradients_at_the_shared_parameters() -> None:
    """Breaks if heads, weights or signs enter, or only one layer does."""
    model, split = make_mlp(TASKS, hidden=(8, 6)), make_split(TASKS)
    weighting = LRAnnealing(TASKS, rate=1.0)
    learner = make_learner(TASKS, split, model=model, weighting=weighting, optimizer=SGD)
    parameters = learner.update.parameters
    shared = sum(p.numel() for p in parameters.shared)
    assert shared == sum(p.numel() for p in model.trunk.parameters())
    rows = []
    for task in TASKS:
        loss = task.loss(model(split.inputs), split.targets)
        rows.append(
            torch.cat([g.flatten().abs() for g in torch.autograd.grad(loss, parameters.shared)])
        )
    expected = [1.0, *((rows[0].max() / row.mean()).item() for row in rows[1:])]
    assert_near(train(learner, split, 1).weights[0], torch.tensor(expected), 1e-9)


def test_an_idle_task_keeps_its_weight_and_an_idle_reference_all_of_them() -> None:
    """Breaks if a gradient of 0 makes a weight infinite, or the others go to 0."""
    weighting = LRAnnealing(TASKS, rate=0.5)
    weighting.observe_gradients(
        torch.tensor([2.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.5]), only_active(0, 2)
    )
    assert_near(weights_of(weighting), torch.tensor([1.0, 1.0, 2.5]), 1e-12)
    weighting.observe_gradients(
        torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.1, 0.1]), only_active(1, 2)
    )
    assert_near(weights_of(weighting), torch.tensor([1.0, 1.0, 2.5]), 1e-12)


def test_the_number_of_steps_is_in_the_checkpoint() -> None:
    """Breaks if a resumed run measures at other steps."""
    weighting, resumed = LRAnnealing(TASKS, every=3), LRAnnealing(TASKS, every=3)
    assert [weighting.measures_now() for _ in range(4)] == [True, False, False, True]
    resumed.load_state_dict(weighting.state_dict())
    assert [resumed.measures_now() for _ in range(3)] == [False, False, True]


def test_a_model_that_shares_nothing_is_refused() -> None:
    """Breaks if weights of 1 are trained under the name of learning-rate annealing."""
    config = ("data=toy_regression", "weighting=lra", "trainer.device=cpu", "name=test")
    with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = hydra.compose("config", ["model=separate_mlps", *config])
    words = r"The weighting LRAnnealing compares the tasks' gradients at the shared parameters, but this model shares none; "
    with pytest.raises(ConfigError, match=words + r"choose a model with a shared trunk"):
        build(composed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "z"}, r"weighting\.reference names the unknown task 'z'"),
        ({"rate": 0}, r"weighting\.rate=0 would leave all weights at 1; give a number in \(0, 1\]"),
        ({"rate": 2}, r"weighting\.rate must lie in \[0, 1\]; found 2\."),
        ({"every": 0}, r"weighting\.every must be a whole number of at least 1; found 0\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        LRAnnealing(TASKS, **options)
