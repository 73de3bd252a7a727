"""Gradients laid out in memory like their parameters."""

from __future__ import annotations

import torch

from mtl_runner.gradients.layout import laid_out_like
from tests.support.builders import assert_same_bits


def test_a_view_becomes_a_copy_with_the_parameters_strides() -> None:
    """Breaks if a fused optimizer reads the numbers of a strided gradient in another order."""
    parameter, view = torch.zeros(2, 3), torch.arange(6.0).view(3, 2).T
    gradient = laid_out_like(view, parameter)
    assert gradient is not None
    assert gradient.stride() == parameter.stride() != view.stride()
    assert_same_bits(gradient, view)


def test_a_gradient_of_the_right_layout_is_not_copied() -> None:
    """Breaks if every step copies every gradient, or a missing gradient becomes zero."""
    gradient = torch.ones(2, 3)
    assert laid_out_like(gradient, torch.zeros(2, 3)) is gradient
    assert laid_out_like(None, torch.zeros(2, 3)) is None
