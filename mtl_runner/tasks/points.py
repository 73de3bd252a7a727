"""Points of a loss term's own, such as the inside of a domain on which an equation must hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import flag, whole_number

#: From a number of points and a random generator to the points: a tensor, or several by name.
DrawPoints = Callable[[int, torch.Generator], "Tensor | dict[str, Tensor]"]


@dataclass(frozen=True)
class PointSet:
    """The points at which a loss term looks at the model, apart from the rows of the data.

    A loss term that has one as its attribute ``points`` gets these points as the inputs of its
    batch. An epoch is one pass over them, too: they are shared out over its steps.

    Args:
        draw: Draws points: from their number and a :class:`torch.Generator` to the inputs of the
            model, a tensor ``[n, ...]`` or a dict of them. Nothing else may decide them.
        n: Number of points of an epoch.
        resample: Whether every epoch draws new points; False keeps those of the first one.

    Raises:
        ConfigError: If ``n`` is not a whole number of at least 1, or ``draw`` no function.

    Example:
        >>> inside = PointSet(lambda n, generator: torch.rand(n, 2, generator=generator), n=5)
        >>> generator = torch.Generator().manual_seed(0)
        >>> tuple(inside.draw(inside.n, generator).shape)
        (5, 2)
    """

    draw: DrawPoints
    n: int
    resample: bool = True

    def __post_init__(self) -> None:
        if not callable(self.draw):
            raise ConfigError(
                f"The `draw` of a PointSet must be a function of (n, generator) that returns points; found {self.draw!r}."
            )
        whole_number(self.n, "The `n` of a PointSet", 1)
        flag(self.resample, "The `resample` of a PointSet")
