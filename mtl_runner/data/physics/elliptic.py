"""The equations of Helmholtz and Poisson on a square, with solutions that are made of waves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl_runner.data.physics.derivatives import Field
from mtl_runner.data.physics.domain import Box, Sides
from mtl_runner.data.physics.problem import Equation, PhysicsProblem, check_counts
from mtl_runner.errors.checks import positive, whole_number


@dataclass(frozen=True)
class WaveSource(Equation):
    """An equation :math:`u_{xx} + u_{yy} + k^2 u = q` whose solution is a product of two sines.

    Args:
        a1: Waves per two units along x.
        a2: The same along y.
        k: Wave number; 0 is Poisson's equation.
        start: Where the square begins, in x and in y; it ends at 1.
    """

    a1: float
    a2: float
    k: float
    start: float

    coordinates: ClassVar[str] = "xy"

    @property
    def low(self) -> tuple[float, ...]:  # type: ignore[override]
        """The lower corner."""
        return (self.start, self.start)

    @property
    def high(self) -> tuple[float, ...]:  # type: ignore[override]
        """The upper corner."""
        return (1.0, 1.0)

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


class OnSquare(PhysicsProblem):
    """A problem on a square that is 0 on its boundary."""

    def __init__(
        self,
        equation: WaveSource,
        n_boundary: int,
        n_interior: int,
        resample: bool,
        grid_lines: int,
        seed: int,
    ) -> None:
        check_counts(n_boundary=n_boundary, n_interior=n_interior)
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


class Helmholtz(OnSquare):
    r"""The Helmholtz equation (Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43, 2021, sec. 4.1).

    .. math:: u_{xx} + u_{yy} + k^2 u = q \quad\text{on } [-1, 1]^2, \qquad
        u = \sin(a_1 \pi x) \sin(a_2 \pi y)

    where

    - :math:`q` is the source that makes :math:`u` the solution, which is 0 on the boundary,
    - the task ``u`` is the boundary condition, and ``pde`` the equation.

    Args:
        a1: Waves along x, a whole number, with which the solution is 0 on the boundary.
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
        a1: int = 1,
        a2: int = 4,
        k: float = 1.0,
        n_boundary: int = 2000,
        n_interior: int = 5000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        for name, value in {"a1": a1, "a2": a2}.items():
            whole_number(value, f"data.{name}", 1)
        equation = WaveSource(float(a1), float(a2), positive(k, "data.k"), start=-1.0)
        super().__init__(equation, n_boundary, n_interior, resample, grid_lines, seed)


class Poisson(OnSquare):
    r"""Poisson's equation on the unit square, the plainest of all.

    .. math:: u_{xx} + u_{yy} = q \quad\text{on } [0, 1]^2, \qquad
        u = \sin(a \pi x) \sin(a \pi y)

    where

    - :math:`q` is the source that makes :math:`u` the solution, which is 0 on the boundary,
    - the task ``u`` is the boundary condition, and ``pde`` the equation.

    Args:
        a: Half waves along each side, a whole number.
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
        >>> from mtl_runner.data import Poisson
        >>> [task.name for task in Poisson(n_boundary=8, grid_lines=5).tasks]
        ['u', 'pde']
    """

    def __init__(
        self,
        a: int = 2,
        n_boundary: int = 2000,
        n_interior: int = 5000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        whole_number(a, "data.a", 1)
        equation = WaveSource(float(a), float(a), 0.0, start=0.0)
        super().__init__(equation, n_boundary, n_interior, resample, grid_lines, seed)
