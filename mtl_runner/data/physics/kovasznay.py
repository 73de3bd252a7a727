"""Kovasznay's flow: a steady solution of the equations of Navier and Stokes behind a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl_runner.data.physics.derivatives import Field
from mtl_runner.data.physics.domain import Box, Sides
from mtl_runner.data.physics.problem import Equation, PhysicsProblem, check_counts
from mtl_runner.errors.checks import positive


@dataclass(frozen=True)
class KovasznayEquation(Equation):
    """The three equations: see :class:`Kovasznay`.

    Args:
        reynolds: The Reynolds number.
    """

    reynolds: float = 20.0

    coordinates: ClassVar[str] = "xy"
    low: ClassVar[tuple[float, ...]] = (-0.5, -0.5)
    high: ClassVar[tuple[float, ...]] = (1.0, 1.5)
    outputs: ClassVar[tuple[str, ...]] = ("u", "v", "p")

    def exact(self, points: Tensor) -> dict[str, Tensor]:
        """Return velocities and pressure."""
        x, y = points.unbind(1)
        rate = self.reynolds / 2 - math.sqrt(self.reynolds**2 / 4 + 4 * math.pi**2)
        decay = torch.exp(rate * x)
        return {
            "u": 1 - decay * torch.cos(2 * math.pi * y),
            "v": rate / (2 * math.pi) * decay * torch.sin(2 * math.pi * y),
            "p": 0.5 * (1 - decay.square()),
        }

    def residual(self, term: str, model: Field, points: Tensor) -> Tensor:
        """Return the residual of the continuity or of one component of the momentum."""
        if term == "continuity":
            u_x, v_y = self.derivatives(model, points, "u_x", "v_y")
            return u_x + v_y
        c, direction = ("u", "x") if term == "momentum_x" else ("v", "y")
        names = ("u", "v", f"{c}_x", f"{c}_y", f"p_{direction}", f"{c}_xx", f"{c}_yy")
        u, v, c_x, c_y, slope, c_xx, c_yy = self.derivatives(model, points, *names)
        return u * c_x + v * c_y + slope - (c_xx + c_yy) / self.reynolds


class Kovasznay(PhysicsProblem):
    r"""Kovasznay's flow (Kovasznay, Proc. Camb. Phil. Soc. 44, 1948), a benchmark of PINNs.

    .. math:: u u_x + v u_y + p_x &= (u_{xx} + u_{yy}) / \mathrm{Re}, \\
        u v_x + v v_y + p_y &= (v_{xx} + v_{yy}) / \mathrm{Re}, \qquad u_x + v_y = 0

    where

    - :math:`u, v` are the velocities and :math:`p` the pressure on
      :math:`[-0.5, 1] \times [-0.5, 1.5]`, and Re is the Reynolds number,
    - the tasks ``u`` and ``v`` are known on the whole boundary, ``p`` on its right side, where the
      flow leaves (its labels are missing elsewhere),
    - ``momentum_x``, ``momentum_y`` and ``continuity`` are the equations.

    Args:
        reynolds: The Reynolds number.
        n_boundary: Rows on the boundary.
        n_interior: Points of each equation in an epoch.
        resample: Whether every epoch draws new points.
        grid_lines: Lines of the test grid along each coordinate; that of validation has half.
        seed: Seed of the rows; the run's own ``seed`` decides the points.

    Shape:
        Inputs ``[N, 2]``, targets ``[N, 1]``.

    Raises:
        ConfigError: If a number is impossible.

    Example:
        >>> from mtl_runner.data import Kovasznay
        >>> data = Kovasznay(n_boundary=8, grid_lines=5)
        >>> [task.name for task in data.tasks]
        ['u', 'v', 'p', 'momentum_x', 'momentum_y', 'continuity']
        >>> int(data.splits["train"].targets["p"].isnan().sum())
        6
    """

    def __init__(
        self,
        reynolds: float = 20.0,
        n_boundary: int = 2000,
        n_interior: int = 5000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        positive(reynolds, "data.reynolds")
        check_counts(n_boundary=n_boundary, n_interior=n_interior)
        equation = KovasznayEquation(reynolds)
        low, high = equation.low, equation.high
        inside = (Box(low, high), n_interior)
        super().__init__(
            equation,
            Sides(low, high, across=(0, 1)),
            n_boundary,
            {"momentum_x": inside, "momentum_y": inside, "continuity": inside},
            resample,
            grid_lines,
            seed,
        )

    def known(self, points: Tensor) -> dict[str, Tensor]:
        """Return what is known at the boundary; the pressure is NaN but where the flow leaves."""
        solution = self.equation.exact(points)
        leaves = points[:, 0] == self.equation.high[0]
        return {**solution, "p": torch.where(leaves, solution["p"], torch.nan)}
