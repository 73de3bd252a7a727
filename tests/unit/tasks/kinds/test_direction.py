"""The loss of directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near
from tests.unit.tasks.pixels import random_units

pytestmark = pytest.mark.usefixtures("float64")


def direction_loss(output: Tensor, target: Tensor, missing: bool = False) -> Tensor:
    """Return the loss of a direction task."""
    return Task("n", "direction", size=3, missing=missing).loss({"n": output}, {"n": target})


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
def test_the_loss_of_a_direction_is_one_less_the_cosine(
    shape: tuple[int, ...], missing: bool
) -> None:
    """Breaks if it is not that of the MTAN paper: 0 along, 1 across, 2 against, at any length."""
    random = np.random.default_rng(0)
    unit = random_units(random, *shape)
    target = torch.tensor(unit)
    for length in (1e-3, 1.0, 1e3):
        assert_near(direction_loss(length * target, target, missing), torch.tensor(0.0), 1e-12)
        assert_near(direction_loss(-length * target, target, missing), torch.tensor(2.0), 1e-12)
        across = torch.tensor(length * np.cross(unit, random.normal(size=shape), axis=1))
        assert_near(direction_loss(across, target, missing), torch.tensor(1.0), 1e-9)
    output = random.normal(size=shape)
    cosines = [
        a @ b / math.sqrt(a @ a)
        for a, b in zip(
            np.moveaxis(output, 1, -1).reshape(-1, 3),
            np.moveaxis(unit, 1, -1).reshape(-1, 3),
            strict=True,
        )
    ]
    assert_near(
        direction_loss(torch.tensor(output), target, missing),
        torch.tensor(1 - np.mean(cosines)),
        1e-12,
    )


@pytest.mark.parametrize("missing", [False, True])
def test_the_gradient_turns_an_output_and_does_not_stretch_it(missing: bool) -> None:
    """Breaks if the loss depends on the length of an output."""
    output = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.tensor(random_units(np.random.default_rng(1), 4, 3, 2, 2))
    (gradient,) = torch.autograd.grad(direction_loss(output, target, missing), output)
    assert_near((gradient * output).sum(1), torch.zeros(4, 2, 2), 1e-12)
    assert gradient.abs().max() > 0


def test_the_gradient_is_finite_at_a_zero_output_and_nothing_at_missing_pixels() -> None:
    """Breaks training: one NaN in a gradient is the end of a run."""
    target = torch.tensor(random_units(np.random.default_rng(1), 2, 3, 2, 2))
    target[0, :, 0] = torch.nan
    target[1, 1, 1, 1] = torch.nan  # known in part is unknown
    output = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    output[:, :, :, 0] = 0.0
    output.requires_grad_()
    loss = direction_loss(output, target, missing=True)
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    unknown = target.isnan().any(1, keepdim=True).expand_as(gradient)
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown] != 0).any()


def test_a_batch_without_any_direction_has_a_loss_of_exactly_nothing() -> None:
    """Breaks if a batch of sky only is 0/0."""
    output = torch.randn(2, 3, 2, 2).requires_grad_()
    loss = direction_loss(output, torch.full((2, 3, 2, 2), torch.nan), missing=True)
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss.item() == 0.0
    assert (gradient == 0).all()
