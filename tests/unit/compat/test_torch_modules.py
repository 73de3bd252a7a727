"""Facts about modules and autograd graphs."""

from __future__ import annotations

import torch
from torch import nn

from mtl_runner.compat.torch_modules import (
    draws_at_random,
    keeps_running_statistics,
    parameters_of_list,
    sequence_number,
)


def test_parameters_are_those_of_a_functional_call() -> None:
    """Breaks if a stack of replicas reads the parameters of the module instead of its replica's."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = nn.ParameterList([torch.ones(()), torch.ones(())])

        def forward(self) -> torch.Tensor:
            return torch.stack(parameters_of_list(self.values)).sum()

    replica = {"values.0": torch.tensor(5.0), "values.1": torch.tensor(7.0)}
    assert torch.func.functional_call(Sum(), replica, ()) == 12.0


def test_only_layers_that_change_in_training_are_named() -> None:
    """Breaks if a stack trains layers as one whose replicas must draw or count by themselves."""
    assert draws_at_random(nn.Dropout1d(0.1))
    assert not draws_at_random(nn.Dropout(0.0))
    assert keeps_running_statistics(nn.BatchNorm1d(2))
    assert keeps_running_statistics(nn.InstanceNorm1d(2, track_running_stats=True))
    assert not keeps_running_statistics(nn.BatchNorm1d(2, track_running_stats=False))
    assert not keeps_running_statistics(nn.Linear(2, 2))


def test_later_operations_have_larger_numbers() -> None:
    """Breaks if the last shared parameter is not the last one in the forward pass."""
    first = torch.ones(1, requires_grad=True) * 2
    second = first * 3
    assert sequence_number(second.grad_fn) > sequence_number(first.grad_fn)
