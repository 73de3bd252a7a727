"""The common form of physics-informed problems: an equation, and a dataset made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.physics.derivatives import Field, derivatives
from mtl_runner.data.physics.domain import grid
from mtl_runner.errors.checks import flag, whole_number
from mtl_runner.tasks.points import DrawPoints, PointSet
from mtl_runner.tasks.task import Task, TermLoss

METRICS = ("relative_l2", "rmse", "mae")


class Equation(ABC):
    """A differential equation on a box whose solution is known.

    A subclass is a frozen dataclass, so that two of equal numbers are equal.

    Attributes:
        coordinates: A letter for each coordinate.
        low: The lower corner of the box.
        high: The upper corner.
        outputs: The names of the functions that solve it.
    """

    coordinates: ClassVar[str]
    low: ClassVar[tuple[float, ...]]
    high: ClassVar[tuple[float, ...]]
    outputs: ClassVar[tuple[str, ...]] = ("u",)

    @abstractmethod
    def exact(self, points: Tensor) -> dict[str, Tensor]:
        """Return the solution at points ``[N, d]``, by output, ``[N]`` each."""

    @abstractmethod
    def residual(self, term: str, model: Field, points: Tensor) -> Tensor:
        """Return by how much a model violates the equation, or a condition, at some points.

        Args:
            term: The name of the loss term.
            model: The model.
            points: The points ``[N, d]``.

        Returns:
            The violation at every point, ``[N]``, which is 0 for the solution.
        """

    def metrics(self, term: str) -> Mapping[str, TermLoss]:
        """Return what is recorded of a loss term beside its loss: functions of (model, batch)."""
        del term
        return {}

    def derivatives(self, model: Field, points: Tensor, *wanted: str) -> list[Tensor]:
        """Return outputs and derivatives of a model (:func:`derivatives`), ``[N]`` each."""
        return derivatives(model, points, *wanted, coordinates=self.coordinates)


@dataclass(frozen=True)
class Residual:
    """A loss term: the mean square of a residual over points of its own.

    Args:
        equation: The equation.
        term: The name of the loss term.
        points: The points.
    """

    equation: Equation
    term: str
    points: PointSet

    def __call__(self, model: Any, batch: Split) -> Tensor:
        """Return the mean square."""
        return self.residuals(model, batch).square().mean()

    def residuals(self, model: Any, batch: Split) -> Tensor:
        """Return the residual at every point, ``[N]``."""
        assert isinstance(batch.inputs, Tensor)
        return self.equation.residual(self.term, model, batch.inputs)

    @property
    def metrics(self) -> Mapping[str, TermLoss]:
        """Functions that are recorded beside the loss, by name."""
        return self.equation.metrics(self.term)


class PhysicsProblem:
    """An equation as a dataset: what is known are rows, what must hold are loss terms.

    The rows of ``train`` are where the solution is known (on the boundary, at the start, where it
    was measured), so every output is a regression whose loss is that condition's. Every equation
    is a loss term with points of its own, which it draws anew in every epoch. ``val`` and
    ``test`` are grids with the solution, on which the outputs' errors are measured.

    Args:
        equation: The equation.
        rows: Where the solution is known: draws points.
        n_rows: How many of them there are.
        terms: The loss terms: from their names to what draws their points.
        n_points: Number of points of each term in an epoch.
        resample: Whether every epoch draws new points.
        grid_lines: Lines of the test grid along each coordinate; that of validation has half.
        seed: Seed of the rows.

    Shape:
        Inputs ``[N, d]``, targets ``[N, 1]``.

    Raises:
        ConfigError: If a number is impossible.
    """

    def __init__(
        self,
        equation: Equation,
        rows: DrawPoints,
        n_rows: int,
        terms: Mapping[str, tuple[DrawPoints, int]],
        resample: bool = True,
        grid_lines: int = 101,
        seed: int = 0,
    ) -> None:
        whole_number(grid_lines, "data.grid_lines", 4)
        whole_number(seed, "data.seed", 0)
        flag(resample, "data.resample")
        self.equation = equation
        self.tasks = [
            Task(name, "regression", size=1, metrics=METRICS) for name in equation.outputs
        ]
        self.tasks += [
            Task(name, "term", loss_term=Residual(equation, name, PointSet(draw, n, resample)))
            for name, (draw, n) in terms.items()
        ]
        known = rows(n_rows, torch.Generator().manual_seed(seed))
        assert isinstance(known, Tensor)
        low, high = equation.low, equation.high
        self.splits = {
            "train": self._split(known.double(), self.known),
            "val": self._split(grid(low, high, grid_lines // 2 + 1), equation.exact),
            "test": self._split(grid(low, high, grid_lines), equation.exact),
        }

    def known(self, points: Tensor) -> dict[str, Tensor]:
        """Return what is known of the solution at the rows of train; NaN where nothing is."""
        return self.equation.exact(points)

    @staticmethod
    def _split(points: Tensor, solution: Any) -> Split:
        dtype = torch.get_default_dtype()
        targets = {name: u.to(dtype).unsqueeze(1) for name, u in solution(points).items()}
        return Split(points.to(dtype), targets)


def check_counts(**counts: int) -> None:
    """Check numbers of points, which are options of the data of these names.

    Raises:
        ConfigError: If one is not a whole number of at least 1.
    """
    for name, count in counts.items():
        whole_number(count, f"data.{name}", 1)
