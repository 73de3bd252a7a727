"""What torch's modules and autograd graphs keep to themselves."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameters_in(parameters: nn.ParameterList) -> list[nn.Parameter]:
    """The parameters of a list, in order, as they are now.

    ``parameters()`` walks the tree of modules, which takes a tenth of a small model's step; under ``functional_call`` the
    parameters change, so they cannot be looked up once.
    """
    return list(parameters._parameters.values())  # type: ignore[arg-type]


def draws_at_random(module: nn.Module) -> bool:
    """Whether a layer is a dropout that drops something."""
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


def keeps_running_statistics(module: nn.Module) -> bool:
    """Whether a layer is a normalisation that keeps running means (BatchNorm and its like)."""
    return isinstance(module, nn.modules.batchnorm._NormBase) and bool(module.track_running_stats)


def position_in_forward(node: Any) -> int:
    """When the forward pass made a node of the autograd graph: a number that grows from operation to operation."""
    return int(node._sequence_nr())
