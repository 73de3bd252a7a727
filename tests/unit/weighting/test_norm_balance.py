"""Gradient-norm balancing: contributions by shares, and what drops out of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import NormBalance
from tests.support.builders import (
    QUICK,
    SGD,
    assert_near,
    gradients_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
ONES = torch.ones(3, dtype=torch.float64)
norms = st.lists(st.floats(0.05, 20), min_size=3, max_size=3)


def weights_after(
    weighting: NormBalance, *steps: list[float], active: Active | None = None
) -> Tensor:
    """Return the weights ``[T]`` once the norms of these steps are observed."""
    for step in steps:
        weighting.observe_norms(torch.tensor(step), ONES, active)
    return weighting.weigh(ONES, active)[0]


@QUICK
@given(constant=norms, shares=norms, length=st.one_of(st.none(), st.floats(0.1, 10)))
def test_contributions_are_the_shares_of_the_length(
    constant: list[float], shares: list[float], length: float | None
) -> None:
    """Breaks if a task's part of the step is not its share, or the length is another."""
    weighting = NormBalance(TASKS, dict(zip("abc", shares, strict=True)), length=length)
    contributions = weights_after(weighting, *[constant] * 3) * torch.tensor(constant)
    expected = torch.tensor(shares) / sum(shares) * (length or sum(constant))
    assert_near(contributions, expected, 1e-9)


@QUICK
@given(history=st.lists(norms, min_size=1, max_size=6), decay=st.sampled_from([0.0, 0.5, 0.999]))
def test_the_moving_mean_is_corrected_for_its_start(
    history: list[list[float]], decay: float
) -> None:
    """Breaks if the first steps are weighed by a mean that still grows from 0."""
    weighting = NormBalance(TASKS, decay=decay)
    actual = weights_after(weighting, *history)
    counts = torch.tensor([decay ** (len(history) - 1 - i) for i in range(len(history))])
    mean = (counts[:, None] * torch.tensor(history)).sum(0) / counts.sum()
    assert_near(actual, mean.mean() / mean, 1e-9)


def test_equal_norms_are_the_plain_sum() -> None:
    """Breaks if the default changes the step where there is nothing to balance."""
    assert_near(weights_after(NormBalance(TASKS), [2.0, 2.0, 2.0]), ONES, 1e-12)
    assert_near(weights_after(NormBalance(TASKS)), ONES, 1e-12)


def test_the_scale_of_a_loss_drops_out_of_the_step() -> None:
    """Breaks if a loss in another unit pulls the shared parameters harder."""
    model, split = make_mlp(TASKS), make_split(TASKS)
    gradients = gradients_of(model, TASKS, split)
    steps = []
    for factor in (1.0, 1000.0):
        weighting = NormBalance(TASKS, length=1.0)
        observed = torch.tensor([factor, 1.0, 1.0]) * gradients.norm(dim=1)
        weights = weights_after(weighting, observed.tolist())
        steps.append((weights * torch.tensor([factor, 1.0, 1.0])) @ gradients)
    assert_near(steps[1], steps[0], 1e-9)


def test_a_run_balances_the_norms_at_the_last_shared_weight_of_this_step() -> None:
    """Breaks if a step's weights rest on the norms of the step before, or of another layer."""
    split = make_split(TASKS)
    split.targets["a"] *= 50
    model = make_mlp(TASKS, hidden=(8, 6))
    weighting = NormBalance(TASKS, decay=0.0)
    learner = make_learner(TASKS, split, model=model, weighting=weighting, optimizer=SGD)
    for _ in range(4):
        layer = model.trunk[2].weight
        losses = [task.loss(model(split.inputs), split.targets) for task in TASKS]
        gradients = [torch.autograd.grad(loss, layer, retain_graph=True)[0] for loss in losses]
        step_norms = torch.stack([gradient.norm() for gradient in gradients])
        weights = train(learner, split, 1).weights[0]
        assert_near(weights * step_norms, step_norms.mean().expand(3), 1e-9)


def test_an_idle_task_keeps_its_mean() -> None:
    """Breaks if the norm 0 of an idle task enters its mean, or its share is not given on."""
    weighting = NormBalance(TASKS, decay=0.5)
    weights_after(weighting, [4.0, 1.0, 2.0])
    weights = weights_after(weighting, [4.0, 0.0, 2.0], active=only_active(0, 2))
    assert_near(weights, torch.tensor([0.75, 0.0, 1.5]), 1e-12)
    assert_near(weights_after(weighting), (7 / 3) / torch.tensor([4.0, 1.0, 2.0]), 1e-12)


def test_the_weights_do_not_follow_the_losses_themselves() -> None:
    """Breaks if something else than the gradients decides."""
    weighting = NormBalance(TASKS)
    weights = weights_after(weighting, [4.0, 1.0, 2.0])
    assert_near(weighting.weigh(torch.tensor([100.0, 0.0, -3.0]))[0], weights, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shares": {"a": 0.0}}, r"weighting\.shares must be positive and finite; found \[0\.0, 1"),
        ({"decay": 1.0}, r"weighting\.decay must lie in \[0, 1\); found 1\.0\."),
        ({"length": 0}, r"weighting\.length must be a positive number; found 0\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        NormBalance(TASKS, **options)


def test_a_norm_of_0_is_no_measurement() -> None:
    """Breaks if a head that begins at 0 is never trained, or makes its task's weight infinite."""
    weighting = NormBalance(TASKS, length=None)
    losses = torch.ones(len(TASKS))
    weighting.observe_norms(torch.zeros(len(TASKS)), losses)
    assert_near(weighting.weigh(losses)[0], torch.ones(len(TASKS)), 1e-12)
    norms = torch.arange(len(TASKS)).double()  # the first one is still 0
    weighting.observe_norms(norms, losses)
    assert_near(weighting.weigh(losses)[0], torch.ones(len(TASKS)), 1e-12)
    weighting.observe_norms(norms + 1, losses)
    weights = weighting.weigh(losses)[0]
    assert weights.isfinite().all()
    before = weighting.norm_sum[0].clone()
    weighting.observe_norms(norms, losses)
    assert weighting.norm_sum[0] == before
