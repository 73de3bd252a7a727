"""The picture of functions of two inputs (``solution.png``): truth, answer and error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtl_runner.results.pictures.draw import PLAIN
from mtl_runner.results.pictures.style import colour, save

WIDTH, HEIGHT = 3.3, 2.6  # inches of a map


@dataclass(frozen=True)
class Solution:
    """Truth and answer of one task on a grid.

    Attributes:
        first: The values of the first input, ``[A]``, in order.
        second: Those of the second input, ``[B]``.
        truth: The truth ``[A, B]``; NaN where it is not known.
        answer: The model's answer, ``[A, B]``.
    """

    first: np.ndarray
    second: np.ndarray
    truth: np.ndarray
    answer: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Answer minus truth, ``[A, B]``."""
        error: np.ndarray = self.answer - self.truth
        return error

    @property
    def relative_error(self) -> float:
        """Norm of the error over that of the truth."""
        known = ~np.isnan(self.truth)
        return float(np.linalg.norm(self.error[known]) / np.linalg.norm(self.truth[known]))


def plot_solutions(path: Path, solutions: Mapping[str, Solution], figures: str = "") -> None:
    """Draw solutions into a PNG file: a row per task, with truth, answer and error.

    Args:
        path: The file.
        solutions: What is drawn, by task.
        figures: A second format of the file, ``pdf`` or ``svg``; empty: none.
    """
    figure = Figure(figsize=(3 * WIDTH, len(solutions) * HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(solutions), 3, squeeze=False)
    for row, (name, solution) in enumerate(solutions.items()):
        low, high = float(np.nanmin(solution.truth)), float(np.nanmax(solution.truth))
        largest = float(np.nanmax(np.abs(solution.error))) or 1.0
        maps = {
            "truth": (solution.truth, "viridis", low, high),
            "prediction": (solution.answer, "viridis", low, high),
            f"error, {100 * solution.relative_error:.3g} % of the norm": (
                solution.error,
                "RdBu_r",
                -largest,
                largest,
            ),
        }
        for column, (title, (values, palette, lowest, highest)) in enumerate(maps.items()):
            axis = axes[row, column]
            image = axis.pcolormesh(
                solution.first,
                solution.second,
                values.T,
                cmap=palette,
                vmin=lowest,
                vmax=highest,
                shading="nearest",
                rasterized=True,
            )
            figure.colorbar(image, ax=axis)
            axis.set_title(
                f"{name}: {title}", fontsize=9, color=colour(row), fontweight="bold", **PLAIN
            )
            axis.set_xlabel("input 1", fontsize=8)
            axis.set_ylabel("input 2", fontsize=8)
    save(figure, path, figures)
