"""STCH, PBI and COSMOS reach the middle of a concave front, which no weighted sum does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from mtl_runner.data import FonsecaFleming
from mtl_runner.models import Point
from mtl_runner.weighting import COSMOS, PBI, STCH, Fixed, Weighting
from tests.support.builders import assert_near, losses_of, make_learner, minimise, train

pytest.importorskip("torchjd.scalarization")

pytestmark = pytest.mark.usefixtures("float64")

FRONT = FonsecaFleming(20)
ROW = FRONT.splits["train"]
END = 1 - math.exp(-4)


def solution(weighting: Weighting, restarts: int = 5) -> tuple[Tensor, tuple[float, float]]:
    """Return where the weighting's objective is least: the point, and (f1, f2)."""
    model = Point((0.3, -0.2) * 10)
    minimise(model.parameters(), lambda: weighting(losses_of(model, FRONT.tasks, ROW)), restarts)
    f1, f2 = losses_of(model, FRONT.tasks, ROW).tolist()
    return model.point.detach(), (f1, f2)


def share(preference: float) -> dict[str, float]:
    """Return the preference for f1, and what remains for f2."""
    return {"f1": preference, "f2": 1 - preference}


@pytest.mark.parametrize("preference", [0.2, 0.35, 0.5, 0.6])
@pytest.mark.parametrize(
    "make",
    [partial(STCH, mu=0.01), partial(PBI, theta=5.0), partial(COSMOS, penalty=3.0)],
    ids=["stch", "pbi", "cosmos"],
)
def test_every_preference_lands_in_the_middle_of_a_concave_front(
    make: Callable[..., Weighting], preference: float
) -> None:
    """Breaks if these methods, like fixed weights, reach only the ends of a concave front."""
    point, (f1, f2) = solution(make(FRONT.tasks, weights=share(preference)))
    # It lies on the front: equal coordinates between the two centres.
    assert_near(point, point.mean().expand(20), 1e-6)
    assert abs(point.mean().item()) < 1 / math.sqrt(20)
    assert min(f1, f2) > 0.1
    # The point satisfies the front's formula.
    assert f2 == pytest.approx(1 - math.exp(-((2 - math.sqrt(-math.log(1 - f1))) ** 2)), abs=1e-9)
    fixed = solution(Fixed(FRONT.tasks, weights=share(preference)))[1]
    assert min(fixed) < 0.01


@pytest.mark.parametrize("preference", [0.3, 0.5, 0.65])
def test_stch_ends_where_the_weighted_losses_are_equal(preference: float) -> None:
    """Breaks if the preference does not decide where a run ends: w1 f1 = w2 f2, up to mu."""
    f1, f2 = solution(STCH(FRONT.tasks, mu=1e-3, weights=share(preference)))[1]
    assert preference * f1 == pytest.approx((1 - preference) * f2, abs=5e-3)


def test_pbi_ends_on_the_ray_of_the_preference() -> None:
    """Breaks if the preference is a weight where it must be a direction: f1 : f2 = w1 : w2."""
    for preference in (0.2, 0.4):
        f1, f2 = solution(PBI(FRONT.tasks, weights=share(preference)))[1]
        assert f1 / f2 == pytest.approx(preference / (1 - preference), rel=1e-3)


def test_plain_descent_lands_on_the_front_too() -> None:
    """Breaks if training, in which the weights of a step are constants, misses the minimum."""
    model = Point((0.3, -0.2) * 10)
    weighting = STCH(FRONT.tasks, mu=0.1, weights=share(0.4))
    learner = make_learner(
        FRONT.tasks,
        ROW,
        model=model,
        weighting=weighting,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    losses = train(learner, ROW, 400).losses[-1].tolist()
    assert losses == pytest.approx(
        solution(STCH(FRONT.tasks, mu=0.1, weights=share(0.4)))[1], abs=1e-6
    )
    assert min(losses) > 0.25


@cache
def stch_front(count: int) -> tuple[tuple[float, float], ...]:
    """Return (f1, f2) of STCH for preferences at equal angles, by rising f1."""
    angles = [math.pi / 2 * i / count for i in range(count + 1)]
    solutions = [
        solution(
            STCH(FRONT.tasks, mu=0.01, weights={"f1": math.cos(a), "f2": math.sin(a)}), restarts=1
        )[1]
        for a in angles
    ]
    return tuple(sorted(solutions))


def test_stch_covers_the_front_up_to_its_hypervolume() -> None:
    """Breaks if some part of the front cannot be reached by any preference.

    With reference (1, 1) the front dominates .3421156. Between two neighbouring solutions it is
    taken as the straight line, which lies below a concave front: the area is a little too large
    (.3421217 for 80 intervals). The solutions by themselves, in steps, dominate less (.3365).
    """
    front = stch_front(80)
    assert front[0] == pytest.approx((0, END), abs=1e-9)
    assert front[-1] == pytest.approx((END, 0), abs=1e-9)
    beyond = (1 - front[-1][0]) * (1 - front[-1][1])
    lines = beyond + sum(
        (b[0] - a[0]) * (1 - (a[1] + b[1]) / 2) for a, b in itertools.pairwise(front)
    )
    steps = beyond + sum((b[0] - a[0]) * (1 - a[1]) for a, b in itertools.pairwise(front))
    assert steps < 0.3421156 < lines
    assert lines == pytest.approx(0.3421156, abs=1e-5)
    assert steps == pytest.approx(0.3421156, abs=6e-3)
    assert max(b[0] - a[0] for a, b in itertools.pairwise(front)) < 0.03  # no gap
