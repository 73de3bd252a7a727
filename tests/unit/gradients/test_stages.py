"""Gradients of several losses, those of one block of parameters at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.gradients.stages import Stages
from mtl_runner.models import UNet
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")


class Tangled(nn.Module):
    """Layers with a skip, a weight that is used twice, and one that a single loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.tied = nn.Linear(4, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        first = self.tied(self.layers[0](inputs).tanh()).tanh()
        second = self.layers[1](first).tanh()
        third = self.layers[2](second + first).tanh()
        product = self.tied(third) * first
        a = self.heads[0](product).square().mean()
        b = self.heads[1](self.layers[3](third)).exp().mean() + second.mean()
        return [a, b]


def expected_of(losses: Sequence[Tensor], factors: Tensor, block: Sequence[Tensor]) -> list:
    """Return the gradients of each loss over a block, by plain autograd."""
    return [
        torch.autograd.grad(loss, block, factor, retain_graph=True, allow_unused=True)
        for loss, factor in zip(losses, factors, strict=True)
    ]


def check(
    losses: Sequence[Tensor], blocks: list[list[Tensor]], private: list[list[Tensor]]
) -> None:
    """Assert that the gradients of all blocks are those of plain autograd."""
    factors = torch.tensor([2.0, 0.5, 3.0])[: len(losses)]
    expected = [expected_of(losses, factors, block) for block in [*blocks, *private]]
    numbers = []
    for number, gradients in Stages(losses, list(factors.unbind()), blocks, private):
        numbers.append(number)
        for of_loss, of_autograd in zip(gradients, expected[number], strict=True):
            for gradient, reference in zip(of_loss, of_autograd, strict=True):
                assert (gradient is None) == (reference is None)
                if gradient is not None:
                    assert_near(gradient, reference, 1e-13)
    assert sorted(numbers) == list(range(len(expected)))


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_the_gradients_are_those_of_plain_autograd(size: int) -> None:
    """Breaks if a gradient that skips a cut, or a weight's second use, is lost or doubled."""
    model = Tangled()
    losses = model(torch.randn(3, 4))
    shared = [p for name, p in model.named_parameters() if not name.startswith("heads")]
    blocks = [shared[i : i + size] for i in range(0, len(shared), size)]
    check(losses, blocks, [list(head.parameters()) for head in model.heads])


def test_a_unet_with_answers_per_pixel_and_per_image() -> None:
    """Breaks if skip connections and heads in the middle of a network are not followed."""
    tasks = [
        Task("depth", size=1, places=(8, 8)),
        Task("kind", "classification", size=3),
        Task("edge", size=1, places=(8, 8)),
    ]
    model = UNet(tasks, (2, 8, 8), width=4, depth=2)
    losses = [o.square().mean() for o in model(torch.randn(2, 2, 8, 8)).values()]
    blocks = [list(block.parameters()) for block in [*model.down, *model.up]]
    check(losses, blocks, [list(head.parameters()) for head in model.heads])


def test_blocks_come_in_the_order_of_the_backward_pass_with_one_pass_per_loss() -> None:
    """Breaks if the trunk is passed anew for each block."""
    layers = [nn.Linear(3, 3) for _ in range(6)]
    model = nn.Sequential(*layers)
    output = model(torch.randn(2, 3))
    losses = [output.sum(), output.square().sum()]
    calls: list[int] = []
    for layer in layers:
        layer.weight.register_hook(lambda gradient: calls.append(1))
    blocks = [list(layer.parameters()) for layer in layers]
    order = [number for number, _ in Stages(losses, list(torch.ones(2)), blocks)]
    assert order == [5, 4, 3, 2, 1, 0]
    assert len(calls) == len(losses) * len(layers)


@pytest.mark.long
def test_one_block_of_gradients_is_there_at_a_time() -> None:
    """Breaks if the gradients of all blocks live together: their memory is what blocks save."""
    layers = [nn.Linear(50, 50, bias=False) for _ in range(8)]
    output = nn.Sequential(*layers)(torch.randn(1, 50))
    losses = [output.sum(), output.square().sum()]
    alive: list[weakref.ref[Tensor]] = []
    most = 0
    for _, gradients in Stages(losses, list(torch.ones(2)), [[x.weight] for x in layers]):
        alive += [weakref.ref(of_loss[0]) for of_loss in gradients]
        del gradients, _
        gc.collect()
        most = max(most, sum(reference() is not None for reference in alive))
    assert len(alive) == 16
    assert most == 0


def test_a_loss_without_a_graph_and_an_unused_block_have_no_gradient() -> None:
    """Breaks if a batch without labels of a task ends in an error."""
    layer, unused = nn.Linear(2, 2), nn.Linear(2, 2)
    losses = [layer(torch.ones(1, 2)).sum(), torch.zeros(())]
    blocks = [list(layer.parameters()), list(unused.parameters())]
    by_block = dict(Stages(losses, list(torch.ones(2)), blocks))
    assert [gradient is None for gradient in by_block[0][0]] == [False, False]
    assert by_block[0][1] == by_block[1][0] == by_block[1][1] == [None, None]


def test_losses_that_one_operation_returns_are_told_apart() -> None:
    """Breaks if losses that were taken from one tensor all get the gradient of the first."""
    first, second = (torch.full((2,), 3.0, requires_grad=True) for _ in range(2))
    losses = (torch.tensor([[1.0, 2.0], [3.0, 5.0]]) @ (first * second)).unbind()
    gradients = dict(Stages(losses, list(torch.ones(2).unbind()), [[first], [second]]))
    for block, of_losses in gradients.items():
        parameter = (first, second)[block]
        for (gradient,), loss in zip(of_losses, losses, strict=True):
            (expected,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            assert_near(gradient, expected, 0)
