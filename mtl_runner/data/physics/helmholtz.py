"""The Helmholtz equation on a square: a solution that waves more along one side."""

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
class HelmholtzEquation(Equation):
    """See :class:`Helmholtz`."""

    a1: float = 1.0
    a2: float = 4.0
    k: float = 1.0

    coordinates: ClassVar[str] = "xy"
    low: ClassVar[tuple[float, ...]] = (-1.0, -1.0)
    high: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def exact(self, points: Tensor) -> dict[str, Tensor]:
        """Return the solution."""
        x, y = points.unbind(1)
        return {"u": torch.sin(self.a1 * math.pi * x) * torch.sin(self.a2 * math.pi * y)}

    def residual(self, term: str, model: Field, points: Tensor) -> Tensor:
        """Return the residual of the equation, the only term."""
        del term
        u, u_xx, u_yy = self.derivatives(model, points, "u", "u_xx", "u_yy")
        factor = self.k**2 - math.pi**2 * (self.a1**2 + self.a2**2)
        return u_xx + u_yy + self.k**2 * u - factor * self.exact(points)["u"]


class Helmholtz(PhysicsProblem):
    r"""The Helmholtz equation (Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43, 2021, section 4.1).

    .. math:: u_{xx} + u_{yy} + k^2 u = q \quad\text{on } [-1, 1]^2, \qquad
        u = \sin(a_1 \pi x) \sin(a_2 \pi y)

    where

    - :math:`q` is the source that makes :math:`u` the solution, which is 0 on the boundary,
    - the task ``u`` is the boundary condition, and ``pde`` the equation.

    Args:
        a1: Half waves from -1 to 1, halved, along x.
        a2: The same along y.
        k: Wave number.
        n_boundary: Rows on the boundary.
        n_interior: Points of the equation in an epoch.
        resample: Whether every epoch draws new points.
        grid_lines: Lines of the test grid along each coordinate; that of validation has half.
        seed: Seed of the rows; the run's own ``seed`` decides the points.

    Shape:
        Inputs ``[N, 2]``, targets ``[N, 1]``.

    Raises:
        ConfigError: If a number is impossible.

    Example:
        >>> from mtl_runner.data import Helmholtz
        >>> data = Helmholtz(n_boundary=8, grid_lines=5)
        >>> [task.name for task in data.tasks], len(data.splits["test"])
        (['u', 'pde'], 25)
        >>> bool(data.splits["train"].targets["u"].abs().max() < 1e-5)
        True
    """

    def __init__(
        self,
        a1: float = 1.0,
        a2: float = 4.0,
        k: float = 1.0,
        n_boundary: int = 2000,
        n_interior: int = 5000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        for name, value in {"a1": a1, "a2": a2, "k": k}.items():
            positive(value, f"data.{name}")
        check_counts(n_boundary=n_boundary, n_interior=n_interior)
        equation = HelmholtzEquation(a1, a2, k)
        low, high = equation.low, equation.high
        super().__init__(
            equation,
            Sides(low, high, across=(0, 1)),
            n_boundary,
            {"pde": (Box(low, high), n_interior)},
            resample,
            grid_lines,
            seed,
        )
