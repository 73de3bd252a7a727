"""Burgers' equation, which makes a shock of a sine, and the search for its viscosity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.physics.derivatives import Field
from mtl_runner.data.physics.domain import Box, Sides
from mtl_runner.data.physics.problem import Equation, PhysicsProblem, check_counts
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import not_negative, positive
from mtl_runner.tasks.task import TermLoss

NODES = 160  # of the quadrature: twice as many change the 13th digit
VISCOSITY = 0.01 / math.pi


@dataclass(frozen=True)
class BurgersEquation(Equation):
    """The equation and its boundary condition: see :class:`Burgers`.

    Args:
        viscosity: The viscosity of the solution.
        is_known: Whether the equation knows it; False: the model has it as an unknown.
    """

    viscosity: float = VISCOSITY
    is_known: bool = True

    coordinates: ClassVar[str] = "xt"
    low: ClassVar[tuple[float, ...]] = (-1.0, 0.0)
    high: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def exact(self, points: Tensor) -> dict[str, Tensor]:
        r"""Return the solution, by the transform of Cole and Hopf and Gauss-Hermite quadrature.

        .. math:: u = -\frac{\int \sin(\pi y) f(y) e^{-z^2} dz}{\int f(y) e^{-z^2} dz}, \qquad
            f(y) = e^{-\cos(\pi y) / 2 \pi \nu}, \quad y = x - z \sqrt{4 \nu t}
        """
        x, t = points.double().unbind(1)
        z, weights = (torch.from_numpy(a).to(x) for a in np.polynomial.hermite.hermgauss(NODES))
        y = x.unsqueeze(1) - z * (4 * self.viscosity * t).sqrt().unsqueeze(1)
        # exp would overflow: only the ratio of the integrals counts.
        logarithms = weights.log() - torch.cos(math.pi * y) / (2 * math.pi * self.viscosity)
        shares = torch.softmax(logarithms, 1)
        return {"u": -(shares * torch.sin(math.pi * y)).sum(1).to(points.dtype)}

    def residual(self, term: str, model: Field, points: Tensor) -> Tensor:
        """Return the residual of the equation or of the boundary."""
        if term == "boundary":
            return self.derivatives(model, points, "u")[0]
        u, u_t, u_x, u_xx = self.derivatives(model, points, "u", "u_t", "u_x", "u_xx")
        viscosity = self.viscosity if self.is_known else learned_viscosity(model)
        return u_t + u * u_x - viscosity * u_xx

    def metrics(self, term: str) -> Mapping[str, TermLoss]:
        """Return the viscosity that is learned, and its relative error, where it is unknown."""
        if self.is_known or term != "pde":
            return {}
        return {
            "viscosity": ViscosityMetric(None),
            "viscosity_error": ViscosityMetric(self.viscosity),
        }


@dataclass(frozen=True)
class ViscosityMetric:
    """A metric: the viscosity that the model has learned, or its relative error.

    Args:
        truth: The true viscosity; None: the value itself is returned.
    """

    truth: float | None

    def __call__(self, model: Any, batch: Split) -> Tensor:
        """Return the metric."""
        del batch
        viscosity = learned_viscosity(model)
        return viscosity if self.truth is None else (viscosity / self.truth - 1).abs()

    @property
    def higher_is_better(self) -> bool | None:
        """The direction: only an error has one."""
        return None if self.truth is None else False


def learned_viscosity(model: Any) -> Tensor:
    """Return the viscosity that a model learns.

    Raises:
        ConfigError: If the model has no unknown numbers.
    """
    if not hasattr(model, "unknown"):
        raise ConfigError(
            f"The viscosity is unknown, and a {type(model).__name__} has no number to learn it; use model=pinn_mlp with model.unknowns.viscosity=0.1."
        )
    viscosity: Tensor = model.unknown("viscosity")
    return viscosity


class Burgers(PhysicsProblem):
    r"""Burgers' equation (Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378, 2019).

    .. math:: u_t + u u_x = \nu u_{xx}, \qquad u(x, 0) = -\sin(\pi x), \quad u(\pm 1, t) = 0

    where

    - :math:`x \in [-1, 1]`, :math:`t \in [0, 1]`, and :math:`\nu` is the viscosity,
    - the task ``u`` is the initial condition, ``boundary`` the condition at both ends, and ``pde``
      the equation.

    The reference is the exact solution (Cole 1951, Hopf 1950), integrated by Gauss-Hermite
    quadrature to twelve digits.

    Args:
        viscosity: The viscosity.
        n_initial: Rows at t = 0.
        n_boundary: Points of ``boundary`` in an epoch.
        n_interior: Points of the equation in an epoch.
        resample: Whether every epoch draws new points.
        grid_lines: Lines of the test grid along each coordinate; that of validation has half.
        seed: Seed of the rows; the run's own ``seed`` decides the points.

    Shape:
        Inputs ``[N, 2]`` (x and t), targets ``[N, 1]``.

    Raises:
        ConfigError: If a number is impossible.

    Example:
        >>> from mtl_runner.data import Burgers
        >>> data = Burgers(n_initial=8, grid_lines=5)
        >>> [task.name for task in data.tasks]
        ['u', 'pde', 'boundary']
    """

    def __init__(
        self,
        viscosity: float = VISCOSITY,
        n_initial: int = 1000,
        n_boundary: int = 1000,
        n_interior: int = 10_000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        check_viscosity(viscosity)
        check_counts(n_initial=n_initial, n_boundary=n_boundary, n_interior=n_interior)
        equation = BurgersEquation(viscosity)
        low, high = equation.low, equation.high
        super().__init__(
            equation,
            Box(low, (high[0], low[1])),
            n_initial,
            {
                "pde": (Box(low, high), n_interior),
                "boundary": (Sides(low, high, across=(0,)), n_boundary),
            },
            resample,
            grid_lines,
            seed,
        )


class BurgersInverse(PhysicsProblem):
    r"""The viscosity of Burgers' equation, to be found from measurements of its solution.

    The equation is that of :class:`Burgers`, but nobody tells the model :math:`\nu`: it is one of
    its ``unknowns``, trained with the network (Raissi et al. 2019, section 4). Every evaluation
    records it as ``viscosity`` of the task ``pde``, and its relative error as
    ``viscosity_error``.

    - The task ``u`` is the squared error of the measurements, at random places and times;
    - ``pde`` is the equation with the viscosity as it is learned.

    Args:
        viscosity: The true viscosity.
        noise: Standard deviation of the noise of the measurements.
        n_measured: Number of measurements.
        n_interior: Points of the equation in an epoch.
        resample: Whether every epoch draws new points.
        grid_lines: Lines of the test grid along each coordinate; that of validation has half.
        seed: Seed of the measurements; the run's own ``seed`` decides the points.

    Shape:
        Inputs ``[N, 2]`` (x and t), targets ``[N, 1]``.

    Raises:
        ConfigError: If a number is impossible.

    Example:
        >>> from mtl_runner.data import BurgersInverse
        >>> data = BurgersInverse(n_measured=8, grid_lines=5)
        >>> data.tasks[1].metric_names
        ['viscosity', 'viscosity_error']
    """

    def __init__(
        self,
        viscosity: float = VISCOSITY,
        noise: float = 0.0,
        n_measured: int = 2000,
        n_interior: int = 10_000,
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        check_viscosity(viscosity)
        not_negative(noise, "data.noise")
        check_counts(n_measured=n_measured, n_interior=n_interior)
        self.noise, self.noise_seed = noise, seed
        equation = BurgersEquation(viscosity, is_known=False)
        everywhere = Box(equation.low, equation.high)
        super().__init__(
            equation,
            everywhere,
            n_measured,
            {"pde": (everywhere, n_interior)},
            resample,
            grid_lines,
            seed,
        )

    def known(self, points: Tensor) -> dict[str, Tensor]:
        """Return the measurements at some points."""
        u = self.equation.exact(points)["u"]
        generator = torch.Generator().manual_seed(self.noise_seed)
        noise = torch.randn(len(u), generator=generator, dtype=u.dtype)
        return {"u": u + self.noise * noise}


def check_viscosity(viscosity: float) -> None:
    """Check a viscosity.

    Raises:
        ConfigError: If it is not positive, or so small that the quadrature is not exact.
    """
    positive(viscosity, "data.viscosity")
    if viscosity < 0.5 * VISCOSITY:
        raise ConfigError(
            f"data.viscosity={viscosity:g} is below 0.0016, where the reference is no longer exact; give a larger one."
        )
