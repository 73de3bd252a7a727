"""A likelihood in a user's own loop takes the steps that the runner takes."""

from __future__ import annotations

import pytest

from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.update import Joint
from mtl_runner.weighting import Fixed
from tests.support.builders import Adam, assert_near, make_split, make_tasks, train
from tests.unit.update.learners import KINDS_OF, Pairs

pytestmark = pytest.mark.usefixtures("float64")


def test_a_likelihood_in_a_loop_of_ones_own_takes_the_runners_steps() -> None:
    """Breaks if the noise scales of a likelihood get another gradient than in the runner."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(tasks)
    likelihood, twin_likelihood = (Homoscedastic(tasks, init=0.3, anneal=False) for _ in range(2))
    twin, weighting = Pairs(tasks), Fixed(tasks)
    parameters = find_parameters(twin, twin_likelihood, split)
    learner = Learner(
        twin,
        twin_likelihood,
        weighting,
        Joint(parameters, Adam),
        OwnOptimizers(weighting, Adam, twin_likelihood),
    )
    train(learner, split, 10)
    optimizer = Adam(
        [
            {"params": model.parameters()},
            {"params": likelihood.parameters(), "lr": 0.025, "eps": likelihood.smallest_slope},
        ]
    )
    for _ in range(10):
        optimizer.zero_grad()
        likelihood(model(split.inputs), split.targets).sum().backward()
        optimizer.step()
    assert_near(model.state_dict(), twin.state_dict(), 1e-12)
    assert_near(
        dict(likelihood.named_parameters()), dict(twin_likelihood.named_parameters()), 1e-12
    )
