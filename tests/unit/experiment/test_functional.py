"""Modules as functions of their tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.experiment.functional import clipped, pure
from tests.support.builders import assert_near, assert_same_bits, copy_state

pytestmark = pytest.mark.usefixtures("float64")


class Scaled(nn.Module):
    """A parameter, a buffer, and a method that is not ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("offset", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x + self.offset

    def doubled(self, x: Tensor) -> Tensor:
        """Return twice the output."""
        return 2 * self(x)


def test_a_method_sees_the_tensors_it_is_given_and_leaves_its_own_alone() -> None:
    """Breaks if a replica of a stack computes with the parameters or buffers of another one."""
    module = Scaled()
    before = copy_state(module.state_dict())
    state = {"weight": torch.tensor(5.0), "offset": torch.tensor(7.0)}
    x = torch.tensor(3.0)
    assert_near(pure(module)(state, x), torch.tensor(22.0), 0)
    assert_near(pure(module, "doubled")(state, x), torch.tensor(44.0), 0)
    assert_near(pure(module, lambda scaled, y: scaled.offset - y)(state, x), torch.tensor(4.0), 0)
    assert_same_bits(module.state_dict(), before)


@pytest.mark.parametrize("clip", [0.5, 100.0, None])
def test_clipped_gradients_are_those_of_torch(clip: float | None) -> None:
    """Breaks if a stacked run clips another norm than a single run."""
    generator = torch.Generator().manual_seed(0)
    gradients = {name: torch.randn(3, 2, generator=generator) for name in "abc"}
    blocks = [{"a", "c"}, {"b"}]
    expected = {}
    for block in blocks:
        parameters = {name: nn.Parameter(torch.zeros(3, 2)) for name in block}
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters.values(), clip)
        expected |= {name: parameter.grad for name, parameter in parameters.items()}
    assert_near(clipped(gradients, blocks, clip), dict(sorted(expected.items())), 1e-12)
