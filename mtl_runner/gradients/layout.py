"""Gradients laid out in memory like their parameters."""

from __future__ import annotations

import torch
from torch import Tensor


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
