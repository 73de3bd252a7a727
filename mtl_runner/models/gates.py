"""Gates: how much of each expert a task takes, for each row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ModelError


class Gate(nn.Module):
    r"""A softmax gate: :math:`\mathrm{softmax}(W s + b)` of a selector :math:`s`.

    Args:
        selector_shape: Shape of one row of the selector; a feature map is reduced to the mean of
            each channel, the inputs themselves are flattened.
        experts: Number of experts.
        is_input: Whether the selector are the inputs of the model.

    Shape:
        Selector ``[N, *selector_shape]``, weights ``[N, experts]`` that sum to 1.

    Raises:
        ModelError: In the forward pass, if the selector does not hold floating-point numbers.

    Example:
        >>> from mtl_runner.models.gates import Gate
        >>> weights = Gate((3,), experts=2)(torch.zeros(5, 3))
        >>> torch.allclose(weights.sum(1), torch.ones(5))
        True
    """

    def __init__(self, selector_shape: Sequence[int], experts: int, is_input: bool = True) -> None:
        super().__init__()
        self.is_pooled = len(selector_shape) == 3 and not is_input
        self.layer = nn.Linear(selector_width(selector_shape, is_input), experts)

    def forward(self, selector: Tensor) -> Tensor:
        """Return the weight of each expert, ``[N, experts]``."""
        return torch.softmax(self.layer(selector_rows(selector, self.is_pooled)), 1)


def selector_width(selector_shape: Sequence[int], is_input: bool = True) -> int:
    """Return how many numbers a gate sees of a selector of a shape."""
    is_pooled = len(selector_shape) == 3 and not is_input
    return selector_shape[0] if is_pooled else math.prod(selector_shape)


def selector_rows(selector: Tensor, is_pooled: bool = False) -> Tensor:
    """Return a selector as ``[N, numbers]``: its channels' means, or all of its numbers.

    Raises:
        ModelError: If it does not hold floating-point numbers, such as numbers of words.
    """
    if not selector.is_floating_point():
        raise ModelError(
            f"Gates weigh experts by the inputs, which must be floating-point numbers; found inputs of type {selector.dtype}."
        )
    return selector.mean((2, 3)) if is_pooled else selector.flatten(1)


def mixture(weights: Tensor, features: Tensor) -> Tensor:
    """Return the weighted sum of the experts' features, row by row.

    Args:
        weights: The weights ``[N, experts]``.
        features: The features ``[N, experts, ...]``.

    Example:
        >>> from mtl_runner.models.gates import mixture
        >>> mixture(torch.tensor([[0.25, 0.75]]), torch.tensor([[[4.0, 0.0], [0.0, 4.0]]]))
        tensor([[1., 3.]])
    """
    return (weights[(...,) + (None,) * (features.dim() - 2)] * features).sum(1)
