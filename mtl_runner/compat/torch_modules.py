"""Facts about modules and autograd graphs for which torch has no public function."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameters_of_list(parameters: nn.ParameterList) -> list[nn.Parameter]:
    """Return the parameters of a list, in order, as they are now.

    ``parameters()`` walks the tree of modules, which takes a tenth of a small model's step. Under
    ``functional_call`` the parameters change, so they cannot be looked up once and kept.

    Example:
        >>> import torch
        >>> parameters_of_list(nn.ParameterList([torch.zeros(())]))
        [Parameter containing:
        tensor(0., requires_grad=True)]
    """
    return list(parameters._parameters.values())  # type: ignore[arg-type]


def draws_at_random(module: nn.Module) -> bool:
    """Return whether a layer is a dropout with a probability above 0.

    Example:
        >>> draws_at_random(nn.Dropout(0.5)), draws_at_random(nn.Dropout(0.0))
        (True, False)
    """
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


def keeps_running_statistics(module: nn.Module) -> bool:
    """Return whether a layer is a normalisation with running means, such as BatchNorm.

    Example:
        >>> keeps_running_statistics(nn.BatchNorm1d(3)), keeps_running_statistics(nn.LayerNorm(3))
        (True, False)
    """
    return isinstance(module, nn.modules.batchnorm._NormBase) and bool(module.track_running_stats)


def sequence_number(node: Any) -> int:
    """Return the number of an autograd node, which grows from operation to operation.

    Of two nodes, the one with the larger number was made later in the forward pass.
    """
    return int(node._sequence_nr())
