"""No fixed weighting reaches the middle of a concave front."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from mtl_runner.data import FonsecaFleming
from mtl_runner.models import Point
from mtl_runner.weighting import Fixed
from tests.support.builders import make_learner, train
from tests.support.lengths import long_but

# One objective of Fonseca and Fleming at the end of the front where the other is 0.
END = 1 - math.exp(-4)


def distance_to_the_end(ratio: float) -> float:
    """Return the distance d from an end of the front at which a weighted sum is stationary.

    The distance is in units of half the front. With x = t / sqrt(n) in every coordinate and
    t = 1 - d, it is the solution of d = ratio (2 - d) exp(-4 (1 - d)), iterated from d = 0.

    Args:
        ratio: Weight of the far objective over that of the near one.

    Returns:
        The distance; NaN if the sum has no minimum near that end.
    """
    d = 0.0
    for _ in range(500):
        d = ratio * (2 - d) * math.exp(-4 * (1 - d))
        if d > 0.3:
            return math.nan
    return d


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "weight", long_but([0.1, 0.5, 0.55], [0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9])
)
@pytest.mark.parametrize("start", [(0.3, -0.2), (0.2, -0.3), (0.05, 0.02), (-0.05, -0.02)])
def test_every_fixed_weighting_ends_at_an_end_of_a_concave_front(
    weight: float, start: tuple[float, float]
) -> None:
    """Breaks if a fixed weighting reaches the middle of a concave front."""
    data = FonsecaFleming(20)
    weighting = Fixed(data.tasks, {"f1": weight, "f2": 1 - weight})
    model = Point(start * 10)
    split = data.splits["train"]
    learner = make_learner(
        data.tasks,
        split,
        model=model,
        weighting=weighting,
        optimizer=partial(torch.optim.SGD, lr=0.5),
    )
    f1, f2 = train(learner, split, 1000).losses[-1].tolist()
    best, worst, ratio = (f1, f2, 1 / weight - 1) if f1 < f2 else (f2, f1, 1 / (1 / weight - 1))
    d = distance_to_the_end(ratio)
    assert (best, worst) == pytest.approx((0, END), abs=0.005)
    assert (best, worst) == pytest.approx(
        (1 - math.exp(-(d**2)), 1 - math.exp(-((2 - d) ** 2))), abs=1e-9
    )
