"""Stacked modules: the stack and its modules are one memory, until a module is released."""

from __future__ import annotations

import torch
from torch import nn

from mtl_runner.train.stack.stacked_modules import StackedModules
from tests.support.builders import assert_same_bits


class Scaled(nn.Module):
    """A layer with a frozen parameter, and a buffer in a submodule."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.frozen = nn.Parameter(torch.tensor(value), requires_grad=False)
        self.inner = nn.Module()
        self.inner.register_buffer("count", torch.tensor(value))


def test_every_tensor_is_stacked_in_its_place() -> None:
    """Breaks if a frozen parameter is trained, or a buffer is not vmapped with its replica."""
    modules = [Scaled(float(k)) for k in range(3)]
    weights = [module.layer.weight.detach().clone() for module in modules]
    stacked = StackedModules(modules)
    assert set(stacked.parameters) == {"layer.weight", "layer.bias"}
    assert stacked.frozen["frozen"].tolist() == [0.0, 1.0, 2.0]
    assert stacked.buffers["inner.count"].tolist() == [0.0, 1.0, 2.0]
    assert set(stacked.constants) == {"frozen", "inner.count"}
    assert_same_bits(stacked.parameters["layer.weight"], torch.stack(weights))


def test_writing_into_the_stack_writes_into_the_modules() -> None:
    """Breaks if checkpoints and predictions are made of the weights before training."""
    modules = [Scaled(0.0) for _ in range(2)]
    stacked = StackedModules(modules)
    stacked.parameters["layer.bias"][1] = 5.0
    stacked.buffers["inner.count"][0] = 7.0
    assert modules[1].layer.bias.item() == 5.0
    assert modules[0].inner.count.item() == 7.0
    modules[0].load_state_dict(modules[1].state_dict())
    assert stacked.parameters["layer.bias"][0].item() == 5.0


def test_a_released_module_keeps_its_tensors() -> None:
    """Breaks if a replica that stopped early is trained on by the stack."""
    modules = [Scaled(0.0) for _ in range(2)]
    stacked = StackedModules(modules)
    before = {name: tensor.clone() for name, tensor in modules[0].state_dict().items()}
    stacked.release(0)
    for tensors in (stacked.parameters, stacked.constants):
        for tensor in tensors.values():
            tensor.add_(1.0)
    assert_same_bits(modules[0].state_dict(), before)
    assert modules[1].inner.count.item() == 1.0
