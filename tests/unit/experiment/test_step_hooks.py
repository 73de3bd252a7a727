"""The numbers that a weighting observes before and after the update of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.step_hooks import GradientNormHook, LossChangeHook
from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import Fixed
from tests.support.builders import NO_DATA, SGD, Point, assert_near, make_learner, make_terms

pytestmark = pytest.mark.usefixtures("float64")


class Observing(Fixed):
    """Equal weights that keep what they observe."""

    def __init__(self, tasks: Any) -> None:
        super().__init__(tasks)
        self.observed: list[tuple[Tensor, Tensor, Active | None]] = []

    def observe_norms(self, norms: Tensor, losses: Tensor, active: Active | None) -> None:
        """Keep the norms."""
        self.observed.append((norms, losses, active))

    def observe_losses(self, before: Tensor, after: Tensor, active: Active | None) -> None:
        """Keep the losses."""
        self.observed.append((before, after, active))


def learner_of_squares() -> tuple[Observing, Learner]:
    """Return a weighting and a learner whose losses are squares of a point's coordinates."""
    tasks = make_terms(a=lambda p: p[0].square(), b=lambda p: 3 * p[1].square())
    weighting = Observing(tasks)
    learner = make_learner(
        tasks, NO_DATA, model=Point(1.0, 2.0), optimizer=SGD, weighting=weighting
    )
    return weighting, learner


def test_the_losses_after_the_update_are_those_of_the_moved_parameters() -> None:
    """Breaks if FAMO compares a batch with itself, or with the next batch."""
    weighting, learner = learner_of_squares()
    learner.__dict__["hooks"] = [LossChangeHook(weighting)]
    learner.__dict__["needs_recompute"] = True
    learner.step(NO_DATA, Active.all(2))
    ((before, after, active),) = weighting.observed
    assert_near(before, torch.tensor([1.0, 12.0]), 0)
    point = learner.model.point.detach()
    assert_near(after, torch.stack([point[0].square(), 3 * point[1].square()]), 1e-14)
    assert active is None


def test_nothing_is_measured_for_frozen_weights() -> None:
    """Breaks if fixed weights cost what the method costs that they come from."""

    class Frozen(Observing):
        is_frozen = True  # type: ignore[assignment]

    _, learner = learner_of_squares()
    weighting = Frozen(learner.weighting.tasks)
    learner.__dict__["hooks"] = [
        GradientNormHook(weighting, learner.update),
        LossChangeHook(weighting),
    ]
    learner.step(NO_DATA, Active.all(2))
    assert weighting.observed == []


def test_the_norms_are_taken_before_the_update_for_active_tasks_only() -> None:
    """Breaks if GradNorm sees the norms of moved parameters, or of an idle task."""
    weighting, learner = learner_of_squares()
    parameters = learner.update.parameters
    object.__setattr__(parameters, "last_shared", [learner.model.point])
    learner.__dict__["hooks"] = [GradientNormHook(weighting, learner.update)]
    active = Active((1.0, 0.0))
    learner.step(NO_DATA, active)
    ((norms, losses, observed_active),) = weighting.observed
    assert_near(norms, torch.tensor([2.0, 0.0]), 1e-14)
    assert_near(losses, torch.tensor([1.0, 12.0]), 0)
    assert observed_active is active


def test_norms_are_taken_at_every_such_step_and_the_weighting_stands_still_between() -> None:
    """Breaks if update.every leaves an old gradient to step along, or counts a skipped step out."""
    weighting, learner = learner_of_squares()
    object.__setattr__(learner.update.parameters, "last_shared", [learner.model.point])
    learner.__dict__["hooks"] = [GradientNormHook(weighting, learner.update)]
    learner.update.every = 3
    counts = []
    for step in range(8):
        if step == 2:
            learner.update.skip()
        else:
            learner.step(NO_DATA, Active.all(2))
        counts.append(len(weighting.observed))
    assert counts == [1, 1, 1, 2, 2, 2, 3, 3]
