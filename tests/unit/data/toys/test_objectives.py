"""Objectives of a point have the values that their formulas give."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mtl_runner.data import CAGradToy, Dataset, FonsecaFleming
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError

PLANE = [
    (-8.5, 7.5),
    (-8.5, -5.0),
    (9.0, 9.0),
    (0.0, -8.0),
    (3.0, 0.3),
    (-2.0, -0.01),
    (7.0, 1e-3),
    (-6.2, 0.4),
]
END = 1 - math.exp(-4)  # of the one objective of Fonseca and Fleming where the other is 0


def values(data: Dataset, *point: float) -> list[float]:
    """Return the objectives at a point."""
    return [float(task.loss({"point": torch.tensor(point)}, {})) for task in data.tasks]


# The CAGrad toy


def cagrad_by_hand(x1: float, x2: float) -> list[float]:
    """Return both losses by formulas that are multiplied out, with exponentials for tanh.

    Only one of the two halves of the plane counts.
    """
    tanh = 1 - 2 / (math.exp(2 * x2) + 1)
    blend = (math.exp(abs(x2)) - 1) / (math.exp(abs(x2)) + 1)
    if x2 > 0:
        return [
            blend * (math.log(max(distance, 5e-6)) + 6)
            for distance in (abs(tanh - x1 / 2 - 3.5), abs(3.5 - x1 / 2 - tanh))
        ]
    height = x2**2 / 100 + 0.16 * x2 + 0.64
    return [blend * (x1**2 / 10 + side * 1.4 * x1 + 4.9 + height - 20) for side in (-1, 1)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("point", PLANE)
def test_cagrad_toy_is_its_formula(point: tuple[float, float]) -> None:
    """Breaks the published iteration counts: another constant is another problem."""
    assert values(CAGradToy(), *point) == pytest.approx(
        cagrad_by_hand(*point), rel=1e-11, abs=1e-12
    )


@pytest.mark.parametrize("point", PLANE)
def test_cagrad_toy_is_its_formula_in_single_precision(point: tuple[float, float]) -> None:
    """Breaks the published counts, which are of float32, if a form of the formula cancels."""
    assert values(CAGradToy(), *point) == pytest.approx(cagrad_by_hand(*point), rel=1e-5, abs=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("x1", "x2"), PLANE)
def test_cagrad_tasks_are_mirror_images(x1: float, x2: float) -> None:
    """Breaks the conflict: what moves `l1` down on the left moves `l2` down on the right."""
    assert values(CAGradToy(), x1, x2) == pytest.approx(
        values(CAGradToy(), -x1, x2)[::-1], rel=1e-12, abs=1e-12
    )


def test_cagrad_toy_is_cut_off_in_its_valleys() -> None:
    """Breaks every run that crosses a valley.

    Without the floor its loss is minus infinity and its gradient NaN.
    """
    point = torch.tensor(
        [-5.0, 20.0], requires_grad=True
    )  # tanh(20) is 1 in single precision, so that f1 = log 0
    loss = CAGradToy().tasks[0].loss({"point": point}, {})
    loss.backward()
    assert loss.item() == pytest.approx(math.log(5e-6) + 6)
    assert point.grad is not None
    assert point.grad.isfinite().all()


# Fonseca and Fleming


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("n", [1, 2, 20])
def test_ends_and_middle_of_the_fonseca_fleming_front(n: int) -> None:
    """Breaks the comparison of methods on the front.

    Its ends do not depend on the number of coordinates.
    """
    data, centre = FonsecaFleming(n), 1 / math.sqrt(n)
    assert values(data, *[centre] * n) == pytest.approx([0, END], abs=1e-14)
    assert values(data, *[-centre] * n) == pytest.approx([END, 0], abs=1e-14)
    assert values(data, *[0.0] * n) == pytest.approx([1 - math.exp(-1)] * 2, abs=1e-14)


@pytest.mark.usefixtures("float64")
def test_fonseca_fleming_is_its_formula_at_any_point() -> None:
    """Breaks off the front: a mean in place of the sum of squares, say, has the same symmetries."""
    point = [0.3, -0.1, 0.25, 0.0, -0.4]
    square, total = sum(x * x for x in point), sum(point)
    expected = [1 - math.exp(-square + sign * 2 * total / math.sqrt(5) - 1) for sign in (1, -1)]
    assert values(FonsecaFleming(5), *point) == pytest.approx(expected, rel=1e-13)
    assert values(FonsecaFleming(5), *(-x for x in point)) == pytest.approx(
        expected[::-1], rel=1e-13
    )
    assert values(FonsecaFleming(5), *sorted(point)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.usefixtures("float64")
def test_the_front_dominates_the_known_area() -> None:
    """Breaks the hypervolumes that methods are compared by.

    With reference (1, 1) the whole front has .3421156.
    """
    data, steps = FonsecaFleming(20), 2000
    centre = 1 / math.sqrt(20)
    front = [values(data, *[centre * (1 - 2 * i / steps)] * 20) for i in range(steps + 1)]
    area = sum((b[0] - a[0]) * (1 - (a[1] + b[1]) / 2) for a, b in itertools.pairwise(front))
    assert area + (1 - END) == pytest.approx(
        0.3421156, abs=1e-6
    )  # and the strip beyond the end where f2 = 0


# Both


@pytest.mark.parametrize(
    ("data", "names"), [(CAGradToy(), ["l1", "l2"]), (FonsecaFleming(), ["f1", "f2"])]
)
def test_an_epoch_is_a_step(data: Dataset, names: list[str]) -> None:
    """Breaks the count of iterations if a split has more than its one row."""
    prepared = prepare(data)
    assert [(task.name, task.kind) for task in prepared.tasks] == [(name, "term") for name in names]
    assert {name: len(split) for name, split in prepared.splits.items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_a_bad_number_of_coordinates_is_refused(n: object) -> None:
    """Breaks if a point of no coordinates, or of two and a half, is tried."""
    with pytest.raises(ConfigError, match=r"data\.n must be a whole number of at least 1"):
        FonsecaFleming(n)  # type: ignore[arg-type]


@pytest.mark.parametrize(("data", "size"), [(CAGradToy(), 2), (FonsecaFleming(20), 20)])
def test_a_point_of_another_size_or_another_model_is_refused(data: Dataset, size: int) -> None:
    """Breaks in silence otherwise: a point of one coordinate broadcasts to any number."""
    for outputs in (
        {"point": torch.zeros(1)},
        {"point": torch.zeros(size, 1)},
        {"y": torch.zeros(1, 1)},
    ):
        with pytest.raises(
            ConfigError, match=rf"use model=point and give model\.start {size} numbers"
        ):
            data.tasks[0].loss(outputs, {})
