"""The cells of the calibration: truths that cover what a comparison may meet.

The levels of the factors are combined so that nearly every pair of levels of two factors is in some
cell. Where all strategies lie exactly at the margin, a false verdict is likeliest.
"""

from __future__ import annotations

from typing import Any

from simulated_studies import FIXED, Cell, Curve

from mtl_runner.results.verdict.judge import MARGIN

# Per step of the grid of learning rates, a third of a decade.
CURVES = {
    "sweep": None,
    "gentle": Curve(0.005),
    "steep": Curve(0.03),
    "cliff": Curve(0.02, cliff=True),
}
# Constants of which a method that is 8 % better than equal weights is better by just the margin.
METHOD = -0.08
NEARLY = (1 + METHOD) / (1 - MARGIN) - 1

# Seeds, correlation, variation in percent, shape, divergence in percent, number of methods, tuning:
# all strategies as good as equal weights; every second cell with twins.
EQUAL = (
    (6, 0.9, 1, "t3", 0, 20, "cliff"),
    (20, 0.5, 20, "lognormal", 50, 3, "steep"),
    (5, 0, 2, "normal", 10, 5, "sweep"),
    (10, 0.9, 5, "lognormal", 20, 10, "gentle"),
    (6, 0.5, 10, "t3", 10, 3, "gentle"),
    (20, 0, 10, "normal", 20, 10, "cliff"),
    (10, 0.5, 2, "normal", 0, 20, "steep"),
    (10, 0, 1, "t3", 50, 5, "sweep"),
    (5, 0, 5, "lognormal", 0, 20, "gentle"),
    (5, 0.9, 20, "t3", 10, 10, "steep"),
    (6, 0.5, 20, "lognormal", 20, 5, "sweep"),
    (6, 0.9, 2, "normal", 50, 3, "cliff"),
    (20, 0.5, 5, "t3", 10, 5, "cliff"),
    (20, 0.9, 10, "lognormal", 50, 20, "sweep"),
    (5, 0, 1, "t3", 20, 3, "steep"),
    (20, 0.5, 1, "normal", 10, 10, "gentle"),
    (6, 0, 5, "normal", 0, 3, "sweep"),
    (10, 0.9, 20, "lognormal", 10, 20, "cliff"),
    (5, 0.9, 10, "normal", 0, 5, "steep"),
    (5, 0.5, 2, "t3", 50, 10, "gentle"),
    (6, 0, 20, "normal", 0, 10, "steep"),
    (20, 0.9, 2, "lognormal", 20, 20, "sweep"),
    (10, 0.5, 5, "lognormal", 50, 3, "steep"),
    (20, 0, 20, "t3", 0, 5, "gentle"),
)
# The same without tuning: all strategies worse than equal weights by the margin.
WORSE = (
    (5, 0, 1, "t3", 0, 10),
    (10, 0.5, 10, "normal", 10, 20),
    (20, 0.9, 2, "lognormal", 20, 5),
    (6, 0, 5, "lognormal", 10, 3),
    (5, 0.5, 20, "t3", 20, 3),
    (6, 0.9, 20, "normal", 0, 10),
    (20, 0.9, 5, "t3", 0, 20),
    (10, 0, 1, "normal", 20, 5),
    (5, 0.5, 10, "lognormal", 0, 5),
    (20, 0.5, 2, "t3", 10, 10),
)
# All strategies better than equal weights by the margin, fixed ones included.
BETTER = (
    (6, 0.9, 20, "normal", 10, 20),
    (20, 0, 5, "lognormal", 20, 5),
    (5, 0.5, 2, "t3", 0, 3),
    (10, 0.5, 10, "normal", 20, 10),
    (10, 0.9, 1, "lognormal", 0, 5),
    (5, 0, 1, "t3", 10, 10),
    (20, 0.9, 2, "t3", 20, 20),
    (6, 0, 10, "normal", 0, 3),
    (6, 0.5, 2, "lognormal", 10, 5),
    (10, 0.9, 5, "t3", 10, 3),
    (20, 0.5, 20, "lognormal", 0, 10),
    (5, 0.5, 5, "normal", 0, 20),
)
# One method at the margin, the others as good as equal weights, with the change of the one.
ONE = (
    (5, 0.0, 1, "normal", 0, 3, MARGIN),
    (10, 0.5, 1, "t3", 0, 5, -MARGIN),
    (20, 0.9, 2, "lognormal", 0, 10, MARGIN),
    (10, 0.9, 2, "normal", 10, 20, -MARGIN),
    (20, 0.0, 2, "t3", 20, 3, MARGIN),
    (6, 0.9, 1, "lognormal", 20, 5, -MARGIN),
)
# All methods better than equal weights by 8 %, and than constants by just the margin: fixed
# weights, their twins, or both.
CONSTANTS = (
    (10, 0.5, 1, "normal", 0, 3, "fixed"),
    (20, 0.0, 2, "normal", 0, 10, "fixed"),
    (10, 0.9, 2, "t3", 10, 20, "fixed"),
    (20, 0.5, 2, "lognormal", 0, 5, "twins"),
    (10, 0.9, 1, "normal", 0, 20, "twins"),
    (6, 0.9, 1, "normal", 0, 5, "both"),
    (20, 0.5, 2, "t3", 20, 10, "both"),
)
# All as good as equal weights, without fixed ones, each method at three learning rates.
RATES = (
    (10, 0.5, 10, "normal", 0, 2),
    (10, 0.9, 10, "t3", 20, 2),
)
# Ten seeds, 2 % variation, one method 5 % better than all else: correlation, number of methods.
POWER = tuple((correlation, methods) for correlation in (0.0, 0.5, 0.9) for methods in (3, 5, 20))

# All better than equal weights by the margin, some methods with larger noise: their number, and how
# many times as much they scatter.
UNEQUAL = (
    (10, 0.5, 5, "normal", 0, 5, 1, 5),
    (5, 0, 5, "normal", 0, 20, 10, 3),
    (6, 0.5, 5, "normal", 0, 10, 5, 5),
    (20, 0.9, 5, "t3", 0, 10, 5, 3),
    (10, 0.5, 5, "lognormal", 0, 5, 1, 5),
    (10, 0.5, 5, "lognormal", 0, 20, 10, 3),
)


def design() -> list[Cell]:
    """Return all cells."""
    return [*_equal(), *_rates(), *_at_the_margin(), *_one(), *_constants(), *_power(), *_unequal()]


def _cell(
    name: str,
    seeds: int,
    correlation: float,
    variation: float,
    shape: str,
    divergence: float,
    **truth: Any,
) -> Cell:
    """Return a cell; variation and divergence are given in percent."""
    return Cell(name, seeds, correlation, variation / 100, shape, divergence / 100, **truth)


def _equal() -> list[Cell]:
    return [
        _cell(f"equal {i}", *row, methods=(0.0,) * methods, twins=i % 2 == 0, tuning=CURVES[tuning])
        for i, (*row, methods, tuning) in enumerate(EQUAL, 1)
    ]


def _rates() -> list[Cell]:
    return [
        _cell(f"rates {i}", *row, methods=(0.0,) * methods, fixed=(), rates=3)
        for i, (*row, methods) in enumerate(RATES, 1)
    ]


def _at_the_margin() -> list[Cell]:
    return [
        _cell(f"{name} {i}", *row, methods=(change,) * methods, fixed=(change,) * FIXED)
        for name, rows, change in (("worse", WORSE, MARGIN), ("better", BETTER, -MARGIN))
        for i, (*row, methods) in enumerate(rows, 1)
    ]


def _one() -> list[Cell]:
    return [
        _cell(f"one {i}", *row, methods=(change, *(0.0,) * (methods - 1)))
        for i, (*row, methods, change) in enumerate(ONE, 1)
    ]


def _constants() -> list[Cell]:
    return [
        _cell(
            f"constants {i}",
            *row,
            methods=(METHOD,) * methods,
            fixed=(0.0 if which == "twins" else NEARLY,) * FIXED,
            twins=which != "fixed",
            twin=NEARLY,
        )
        for i, (*row, methods, which) in enumerate(CONSTANTS, 1)
    ]


def _power() -> list[Cell]:
    return [
        _cell(
            f"power {i}", 10, correlation, 2, "normal", 0, methods=(-0.05, *(0.0,) * (methods - 1))
        )
        for i, (correlation, methods) in enumerate(POWER, 1)
    ]


def _unequal() -> list[Cell]:
    return [
        _cell(
            f"unequal {i}",
            *row,
            methods=(-MARGIN,) * methods,
            fixed=(-MARGIN,) * FIXED,
            noisy=noisy,
            noise=noise,
        )
        for i, (*row, methods, noisy, noise) in enumerate(UNEQUAL, 1)
    ]
