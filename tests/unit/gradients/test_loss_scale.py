"""The scale of half precision: when it grows, when it shrinks, and its state."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.gradients.loss_scale import (
    GROWTH_STEPS,
    INITIAL,
    GradientOverflowError,
    LossScale,
)


def test_the_scale_is_halved_after_an_overflow_and_doubled_after_many_steps() -> None:
    """Breaks if gradients stay at 0 or at infinity for the rest of a run."""
    scale = LossScale()
    scale.overflowed()
    assert scale.value == INITIAL / 2
    for _ in range(GROWTH_STEPS - 1):
        scale.stepped()
    assert scale.value == INITIAL / 2
    scale.stepped()
    assert scale.value == INITIAL
    for _ in range(100):
        scale.overflowed()
    assert scale.value == 1.0


def test_an_infinite_gradient_is_an_error_and_a_missing_one_is_not() -> None:
    """Breaks if a step is taken with infinite gradients."""
    scale = LossScale()
    assert scale.removed([]) == []
    assert scale.removed([None]) == [None]
    for bad in (torch.inf, torch.nan):
        with pytest.raises(GradientOverflowError):
            scale.removed([torch.ones(2), None, torch.tensor([1.0, bad])])


def test_a_scale_goes_on_from_its_state() -> None:
    """Breaks if a resumed run in half precision ends in other bytes."""
    scale, resumed = LossScale(), LossScale()
    scale.overflowed()
    scale.stepped()
    resumed.load_state_dict(scale.state_dict())
    assert (resumed.value, resumed.steps) == (INITIAL / 2, 1)
