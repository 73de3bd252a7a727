"""The optimizers of log-variances and the like."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import Fixed, Uncertainty
from tests.support.builders import assert_near, assert_same_bits, make_tasks
from tests.unit.update.learners import through_a_file

pytestmark = pytest.mark.usefixtures("float64")

AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
TASKS = {"a": "regression", "b": "classification"}


def rates(optimizers: OwnOptimizers) -> list[float]:
    """Return the learning rate of every optimizer."""
    return [optimizer.param_groups[0]["lr"] for optimizer in optimizers.optimizers]


def test_an_annealed_rate_falls_to_zero_over_the_last_thirty_percent() -> None:
    """Breaks if log-variances follow single batches to the end, or settle too early."""
    tasks = make_tasks(**TASKS)
    optimizers = OwnOptimizers(Uncertainty(tasks, lr=0.1), AdamW)
    for done, expected in ((0.0, 0.1), (0.7, 0.1), (0.85, 0.05), (1.0, 0.0)):
        optimizers.begin_epoch(done)
        assert rates(optimizers) == [pytest.approx(expected)]
    constant = OwnOptimizers(Uncertainty(tasks, lr=0.1, anneal=False), AdamW)
    constant.begin_epoch(1.0)
    assert rates(constant) == [0.1]


def test_without_a_rate_of_their_own_they_follow_the_models_optimizer_but_do_not_decay() -> None:
    """Breaks if sigma is pulled to 1 by weight decay, or ignores the learning-rate schedule."""
    optimizers = OwnOptimizers(Uncertainty(make_tasks(**TASKS), lr=None), AdamW)
    (optimizer,) = optimizers.optimizers
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.param_groups[0]["weight_decay"] == 0
    assert optimizers.scheduled == [optimizer]
    assert optimizers.annealed == []


def test_where_nothing_is_learned_there_is_no_optimizer() -> None:
    """Breaks if fixed weights get an optimizer without parameters."""
    optimizers = OwnOptimizers(Fixed(make_tasks(**TASKS)), AdamW)
    assert optimizers.optimizers == []
    assert optimizers.owners == []
    optimizers.step()


def losses_of(likelihood: Any) -> list[torch.Tensor]:
    """Return losses that depend on the likelihood's parameters alone."""
    return [s.exp() for s in likelihood.log_variance]


def test_the_likelihoods_gradients_are_those_of_the_weighted_losses() -> None:
    """Breaks if an idle task's sigma drifts, or the weight of a task does not reach its sigma."""
    tasks = make_tasks(**TASKS)
    likelihood = Homoscedastic(tasks, init=0.0, lr=0.1)
    optimizers = OwnOptimizers(Fixed(tasks), AdamW, likelihood)
    assert optimizers.owners == ["likelihood"]
    weights = torch.tensor([3.0, 5.0])
    gradients = optimizers.gradients(losses_of(likelihood), weights, Active((1.0, 0.0)))
    assert_near(gradients[0], torch.full_like(likelihood.log_variance[0], 3.0), 0)
    assert gradients[1] is None
    optimizers.step(gradients)
    moved = [s.detach().abs().max().item() for s in likelihood.log_variance]
    assert moved[0] == pytest.approx(0.1, rel=1e-3)  # eps is 0.001
    assert moved[1] == 0
    assert likelihood.log_variance[1] not in optimizers.optimizers[0].state


def test_a_saved_state_is_continued_to_the_last_bit() -> None:
    """Breaks if a resume loses the moments of the log-variances."""
    tasks = make_tasks(**TASKS)
    results, state = [], None
    for resumed in (False, True):
        likelihood = Homoscedastic(tasks, init=0.0, lr=0.1)
        optimizers = OwnOptimizers(Fixed(tasks), AdamW, likelihood)
        for step in range(4):
            if step == 2 and not resumed:
                state = through_a_file(
                    {"own": optimizers.state_dict(), "likelihood": likelihood.state_dict()}
                )
            if step == 2 and resumed:
                likelihood.load_state_dict(state["likelihood"])
                optimizers.load_state_dict(state["own"])
            if step >= 2 or not resumed:
                active, weights = Active.all(2), torch.tensor([1.0, 2.0])
                optimizers.step(optimizers.gradients(losses_of(likelihood), weights, active))
        results.append([s.detach() for s in likelihood.log_variance])
    assert_same_bits(results[1], results[0])
