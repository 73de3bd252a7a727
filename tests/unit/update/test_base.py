"""Everything that an update inherits: defaults of a call, cleared gradients, clipping, state."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.update.base import MakeOptimizer, Update
from tests.support.builders import SGD, assert_near, assert_same_bits


class Recorded(Update):
    """An update that keeps the arguments of its steps and changes nothing."""

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        self.calls: list[tuple[Any, ...]] = []
        return [make_optimizer(self.parameters.tensors)]

    def change(self, losses: Any, weights: Tensor, active: Active, recompute: Any) -> None:
        self.calls.append((losses, weights, active, recompute))


def two_points() -> tuple[nn.Parameter, nn.Parameter, Parameters]:
    """Return a parameter that both tasks reach, and one of the second task."""
    shared, private = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    owners = [frozenset({0, 1}), frozenset({1})]
    return shared, private, Parameters([shared, private], owners)


def test_by_default_all_tasks_take_part_with_weight_one() -> None:
    """Breaks if an update in a loop of a user needs more than the losses."""
    *_, parameters = two_points()
    update = Recorded(parameters, SGD)
    losses = [torch.ones((), dtype=torch.float64) for _ in range(3)]
    update(losses)
    ((given, weights, active, recompute),) = update.calls
    assert given is losses
    assert recompute is None
    assert active.tasks == (0, 1, 2)
    assert weights.dtype == torch.float64
    assert_near(weights, torch.ones(3, dtype=torch.float64), 0)


def test_a_cleared_gradient_is_none() -> None:
    """Breaks if a gradient of zero lets momentum and decay go on."""
    shared, private, parameters = two_points()
    update = Recorded(parameters, SGD)
    shared.grad, private.grad = torch.zeros(2), torch.zeros(2)
    update.clear_idle((0,))
    assert shared.grad is not None
    assert private.grad is None
    update.clear_gradients()
    assert shared.grad is None


def test_the_norm_is_clipped_block_by_block() -> None:
    """Breaks if the copies of a model share one norm, or a missing gradient is an error."""
    shared, private, parameters = two_points()
    update = Recorded(parameters, SGD, clip=1.0, clip_blocks=[[shared], [private]])
    shared.grad, private.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    update.clip_gradients()
    assert_near(shared.grad, torch.tensor([0.6, 0.8]), 1e-6)
    assert_near(private.grad, torch.tensor([0.3, 0.4]), 0)
    private.grad = None
    update.clip_gradients()
    assert private.grad is None


def test_the_state_holds_the_optimizers() -> None:
    """Breaks if momentum is lost at a resume."""
    momentum = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    buffers = []
    state = None
    for _ in range(2):
        shared, _, parameters = two_points()
        update = Recorded(parameters, momentum)
        if state is None:
            shared.grad = torch.ones(2)
            update.step_functions[0]()
            state = update.state_dict()
        else:
            update.load_state_dict(state)
        buffers.append(update.optimizers[0].state[shared]["momentum_buffer"])
    assert_same_bits(buffers[1], buffers[0])
