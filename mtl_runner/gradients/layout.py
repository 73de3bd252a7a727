"""Gradients laid out in memory like their parameters."""

from __future__ import annotations

import torch
from torch import Tensor


def laid_out(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """The gradient, copied if its strides differ from the parameter's.

    ``backward`` gives a leaf a gradient of its own layout; ``torch.autograd.grad`` gives whatever view the last operation left
    (``unbind`` after a ``torch.stack`` of parameters), and fused optimizers read it as if it were laid out like the parameter.
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
