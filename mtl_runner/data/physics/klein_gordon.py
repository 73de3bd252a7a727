"""The Klein-Gordon equation: a nonlinear wave with two conditions at the start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl_runner.data.physics.derivatives import Field
from mtl_runner.data.physics.domain import Box, Sides
from mtl_runner.data.physics.problem import Equation, PhysicsProblem, check_counts


@dataclass(frozen=True)
class KleinGordonEquation(Equation):
    """The equation, and the conditions that are no rows: see :class:`KleinGordon`."""

    coordinates: ClassVar[str] = "xt"
    low: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    high: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def exact(self, points: Tensor) -> dict[str, Tensor]:
        """Return the solution."""
        x, t = points.unbind(1)
        return {"u": x * torch.cos(5 * math.pi * t) + (x * t) ** 3}

    def source(self, points: Tensor) -> Tensor:
        """Return the source f that makes :meth:`exact` the solution, ``[N]``."""
        x, t = points.unbind(1)
        u_tt = -((5 * math.pi) ** 2) * x * torch.cos(5 * math.pi * t) + 6 * x**3 * t
        u_xx = 6 * x * t**3
        source: Tensor = u_tt - u_xx + self.exact(points)["u"] ** 3
        return source

    def residual(self, term: str, model: Field, points: Tensor) -> Tensor:
        """Return the residual of the equation, of the boundary or of the initial velocity."""
        if term == "velocity":
            return self.derivatives(model, points, "u_t")[0]
        if term == "boundary":
            return self.derivatives(model, points, "u")[0] - self.exact(points)["u"]
        u, u_tt, u_xx = self.derivatives(model, points, "u", "u_tt", "u_xx")
        return u_tt - u_xx + u**3 - self.source(points)


class KleinGordon(PhysicsProblem):
    r"""The Klein-Gordon equation (Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43, 2021).

    .. math:: u_{tt} - u_{xx} + u^3 = f \quad\text{on } x, t \in [0, 1], \qquad
        u = x \cos(5 \pi t) + (x t)^3

    where

    - :math:`f` is the source that makes :math:`u` the solution,
    - the task ``u`` is the initial condition :math:`u(x, 0) = x`, ``velocity`` is
      :math:`u_t(x, 0) = 0`, ``boundary`` is :math:`u` at both ends, and ``pde`` the equation.

    Args:
        n_initial: Rows at t = 0.
        n_boundary: Points of ``boundary`` in an epoch, and of ``velocity``.
        n_interior: Points of the equation in an epoch.
        resample: Whether every epoch draws new points.
        grid_lines: Lines of the test grid along each coordinate; that of validation has half.
        seed: Seed of the rows; the run's own ``seed`` decides the points.

    Shape:
        Inputs ``[N, 2]`` (x and t), targets ``[N, 1]``.

    Raises:
        ConfigError: If a number is impossible.

    Example:
        >>> from mtl_runner.data import KleinGordon
        >>> data = KleinGordon(n_initial=8, grid_lines=5)
        >>> [task.name for task in data.tasks]
        ['u', 'pde', 'boundary', 'velocity']
        >>> train = data.splits["train"]
        >>> bool((train.targets["u"][:, 0] == train.inputs[:, 0]).all())
        True
    """

    def __init__(
        self,
        n_initial: int = 1000,
        n_boundary: int = 1000,
        n_interior: int = 5000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        check_counts(n_initial=n_initial, n_boundary=n_boundary, n_interior=n_interior)
        equation = KleinGordonEquation()
        low, high = equation.low, equation.high
        start = Box(low, (high[0], low[1]))
        super().__init__(
            equation,
            start,
            n_initial,
            {
                "pde": (Box(low, high), n_interior),
                "boundary": (Sides(low, high, across=(0,)), n_boundary),
                "velocity": (start, n_boundary),
            },
            resample,
            grid_lines,
            seed,
        )
