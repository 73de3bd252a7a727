"""Gradients laid out in memory like their parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.gradients.shards import local_part


def laid_out_like(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """Return the gradient, copied if its strides differ from the parameter's.

    ``backward`` gives a leaf a gradient of its own layout; ``torch.autograd.grad`` gives whatever
    view the last operation left (``unbind`` after a ``torch.stack`` of parameters), and fused
    optimizers read it as if it were laid out like the parameter.

    Args:
        gradient: The gradient of the parameter; None stays None.
        parameter: The parameter.

    Example:
        >>> laid_out_like(torch.ones(3, 2).T, torch.zeros(2, 3)).stride()
        (3, 1)
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def as_row(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """Return gradients as one vector ``[P]``, with zeros where there is none.

    Of sharded ones it is the part that this process has.

    Args:
        gradients: One gradient per parameter.
        parameters: The parameters, at least one.

    Example:
        >>> as_row([torch.ones(1, 2), None], [torch.zeros(1, 2), torch.zeros(1)])
        tensor([1., 1., 0.])
    """
    return torch.cat(
        [
            local_part(p).new_zeros(local_part(p).numel())
            if g is None
            else local_part(g).reshape(-1)
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )
