"""Parameters instead of a model, for objectives that are functions of a point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number


class Point(nn.Module):
    """A point, all of whose coordinates are trained: parameters instead of a model.

    The output has no row dimension, so a split must fit in one batch: one row will do.

    Args:
        start: Coordinates of the point before the first step.

    Shape:
        Any inputs, outputs ``{"point": [len(start)]}``.

    Raises:
        ConfigError: If ``start`` is not a list of finite numbers.

    Example:
        >>> from mtl_runner.models import Point
        >>> Point([9, 9])(None)["point"].detach()
        tensor([9., 9.])
    """

    def __init__(self, start: Sequence[float]) -> None:
        super().__init__()
        if not isinstance(start, Sequence) or not start or not all(is_number(x) for x in start):
            raise ConfigError(
                f"model.start must be a list of finite numbers, e.g. [9, 9]; found {start!r}."
            )
        # Whole numbers would make a tensor of integers, which has no gradient.
        self.point = nn.Parameter(torch.tensor([float(x) for x in start]))

    def forward(self, inputs: object) -> dict[str, Tensor]:
        """Return the point, whatever the inputs."""
        del inputs
        return {"point": self.point}
