"""STCH, PBI and COSMOS: TorchJD's scalarizers with names and idle tasks, and what they are for: concave fronts."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.data import FonsecaFleming
from mtl_runner.errors import ConfigError
from mtl_runner.models import Point
from mtl_runner.weighting import COSMOS, PBI, STCH, Fixed, Weighting
from tests.support.builders import (
    QUICK,
    losses_of,
    make_learner,
    make_tasks,
    minimise,
    near,
    same_bits,
    some,
    train,
)

scalarization = pytest.importorskip("torchjd.scalarization")

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
KINDS: dict[str, Callable[..., Weighting]] = {"stch": STCH, "pbi": PBI, "cosmos": COSMOS}
kind_is = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
positive = st.lists(st.floats(0.05, 5), min_size=3, max_size=3)
preferences = st.lists(st.floats(0.1, 10), min_size=3, max_size=3)


def by_name(values: Sequence[float]) -> dict[str, float]:
    return dict(zip("abc", values, strict=True))


def weigh_by(
    objective: Callable[[Tensor], Tensor], losses: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Weights and objective of a function of the losses, by autograd."""
    values = torch.tensor(losses, requires_grad=True)
    value = objective(values)
    return torch.autograd.grad(value, values)[0], value.detach()


# The published objectives, and TorchJD's


@QUICK
@given(losses=positive, raw=preferences, mu=st.floats(0.05, 2))
def test_stch_is_a_smooth_maximum(losses: list[float], raw: list[float], mu: float) -> None:
    """Breaks if the objective, preference or ideal point are not those of mu log sum exp(lambda (L - z) / mu)."""
    preference, ideal = torch.tensor(raw) / sum(raw), torch.tensor([0.01, -0.2, 0.0])
    weighting = STCH(TASKS, mu=mu, weights=by_name(raw), reference={"a": 0.01, "b": -0.2})
    expected = weigh_by(lambda f: mu * (preference * (f - ideal) / mu).exp().sum().log(), losses)
    near(weighting.weigh(torch.tensor(losses)), expected, 1e-12)
    same = scalarization.STCH(mu, preference, ideal)
    near(weighting.weigh(torch.tensor(losses)), weigh_by(same, losses), 1e-14)


@QUICK
@given(losses=positive, raw=preferences, theta=st.floats(0, 10))
def test_pbi_is_the_way_along_the_preference_and_a_penalty_away_from_it(
    losses: list[float], raw: list[float], theta: float
) -> None:
    """Breaks if the objective, preference or ideal point are not those of d1 + theta d2."""
    ideal = torch.tensor([0.01, -0.2, 0.0])
    direction = torch.tensor(raw) / torch.tensor(raw).norm()
    away = torch.tensor(losses) - ideal
    assume((away - away.dot(direction) * direction).norm() > 1e-2)  # not in the kink
    weighting = PBI(TASKS, theta=theta, weights=by_name(raw), reference={"a": 0.01, "b": -0.2})

    def objective(f: Tensor) -> Tensor:
        along = (f - ideal).dot(direction)
        return along + theta * (f - ideal - along * direction).norm()

    near(
        weighting.weigh(torch.tensor(losses)), weigh_by(objective, losses), 1e-6
    )  # TorchJD rounds the kink off by 1e-12
    same = scalarization.PBI(theta, torch.tensor(raw), ideal)
    near(weighting.weigh(torch.tensor(losses)), weigh_by(same, losses), 1e-12)


@QUICK
@given(losses=positive, raw=preferences, penalty=st.floats(0, 8))
def test_cosmos_is_a_weighted_sum_less_the_cosine(
    losses: list[float], raw: list[float], penalty: float
) -> None:
    """Breaks if the objective or preference are not those of r L - lambda cos(r, L)."""
    preference = torch.tensor(raw) / sum(raw)
    weighting = COSMOS(TASKS, penalty=penalty, weights=by_name(raw))
    expected = weigh_by(
        lambda f: preference.dot(f) - penalty * preference.dot(f) / (preference.norm() * f.norm()),
        losses,
    )
    near(weighting.weigh(torch.tensor(losses)), expected, 1e-11)
    same = scalarization.COSMOS(penalty, preference)
    near(weighting.weigh(torch.tensor(losses)), weigh_by(same, losses), 1e-13)


@pytest.mark.parametrize(
    ("weighting", "same"),
    [
        (STCH, partial(scalarization.STCH, 0.1)),
        (PBI, partial(scalarization.PBI, 5.0)),
        (COSMOS, partial(scalarization.COSMOS, 1.0)),
    ],
    ids=KINDS,
)
def test_the_defaults_are_as_documented_and_prefer_no_task(
    weighting: type[Weighting], same: Callable[..., nn.Module]
) -> None:
    """Breaks if a default of the docs is not that of the code, or an equal preference does not sum to 1."""
    losses = [0.5, 1.5, 1.0]
    expected = weigh_by(same(weights=torch.full((3,), 1 / 3)), losses)
    near(weighting(TASKS).weigh(torch.tensor(losses)), expected, 1e-14)


@kind_is
@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e6])
def test_the_scale_of_the_preference_does_not_matter(
    kind: Callable[..., Weighting], factor: float
) -> None:
    """Breaks if weights (2, 1) and (200, 100) are different preferences, or change the size of the step."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    preference = {"a": 2.0, "b": 1.0, "c": 0.5}
    scaled = {name: factor * value for name, value in preference.items()}
    near(
        kind(TASKS, weights=scaled).weigh(losses),
        kind(TASKS, weights=preference).weigh(losses),
        1e-13,
    )


@kind_is
def test_missing_tasks_are_preferred_by_one(kind: Callable[..., Weighting]) -> None:
    """Breaks if a task that the preference does not name is left out, or a number for all is not one for each."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    named = kind(TASKS, weights={"a": 3.0, "b": 1.0, "c": 1.0})
    same_bits(kind(TASKS, weights={"a": 3.0}).weigh(losses), named.weigh(losses))
    same_bits(kind(TASKS, weights=4).weigh(losses), kind(TASKS).weigh(losses))


@pytest.mark.parametrize("kind", [STCH, PBI])
def test_one_ideal_for_all_is_a_shift_of_the_losses(kind: Callable[..., Weighting]) -> None:
    """Breaks if the ideal point is added, scaled, or ignored."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    preference = {"a": 2.0, "b": 1.0, "c": 0.5}
    shifted = kind(TASKS, weights=preference, reference=0.25).weigh(losses)
    near(shifted, kind(TASKS, weights=preference).weigh(losses - 0.25), 1e-14)
    assert not torch.allclose(shifted[1], kind(TASKS, weights=preference).weigh(losses)[1])
    same_bits(kind(TASKS, reference=None).weigh(losses), kind(TASKS, reference=0.0).weigh(losses))


def test_a_small_mu_is_the_maximum_and_a_large_one_the_mean() -> None:
    """Breaks if the smoothness is turned round."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    weights, objective = STCH(TASKS, mu=1e-3).weigh(losses)
    near(weights, torch.tensor([0.0, 1 / 3, 0.0]), 1e-12)
    assert objective.item() == pytest.approx(0.5)
    near(STCH(TASKS, mu=1e6).weigh(losses)[0], torch.full((3,), 1 / 9), 1e-6)


def test_a_task_far_ahead_of_the_preference_is_held_back_by_pbi() -> None:
    """Breaks if the documented negative weight is clipped away."""
    weights, _ = PBI(TASKS[:2], theta=5.0).weigh(torch.tensor([1.0, 0.1]))
    near(weights, torch.tensor([6.0, -4.0]) / math.sqrt(2), 1e-9)


# Idle tasks


@kind_is
@pytest.mark.parametrize("active", [(0, 2), (1,), (1, 2)])
def test_the_active_tasks_keep_their_own_preference_and_ideal(
    kind: Callable[..., Weighting], active: tuple[int, ...]
) -> None:
    """Breaks if the numbers of one task are used for another, or an idle task's are not left out of the sum."""
    preference, ideal = {"a": 2.0, "b": 1.0, "c": 0.5}, {"a": 0.1, "b": 0.3, "c": -0.2}
    options = {} if kind is COSMOS else {"reference": ideal}
    whole = kind(TASKS, weights=preference, **options)
    losses = torch.tensor([0.5, 1.5, 1.0])
    for others in (None, some(0, 1), some(0)):  # what is made for them must not be used for these
        whole.weigh(losses, others)
    weights, objective = whole.weigh(losses, some(*active))
    names = ["abc"[i] for i in active]
    chosen = {} if kind is COSMOS else {"reference": {name: ideal[name] for name in names}}
    part = kind(
        [TASKS[i] for i in active], weights={name: preference[name] for name in names}, **chosen
    )
    alone, expected = part.weigh(losses[list(active)])
    same_bits(weights[list(active)], alone)
    same_bits(objective, expected)
    assert all(weights[i] == 0 for i in range(3) if i not in active)
    same_bits(whole.weigh(losses), kind(TASKS, weights=preference, **options).weigh(losses))


@kind_is
def test_a_preference_of_zero_for_all_active_tasks_is_refused(
    kind: Callable[..., Weighting],
) -> None:
    """Breaks if the stage of tasks without a preference trains nothing without a word, or ends in NaN (0/0)."""
    weighting = kind(TASKS, weights={"a": 1.0, "b": 0.0, "c": 0.0})
    weighting.weigh(torch.tensor([0.5, 1.5, 1.0]))
    words = (
        r"weighting\.weights are 0 for all active tasks \(b, c\); give one of them a preference\."
    )
    with pytest.raises(ConfigError, match=words):
        weighting.weigh(torch.tensor([0.5, 1.5, 1.0]), active=some(1, 2))


# The concave front

FRONT = FonsecaFleming(20)
ROW = FRONT.splits["train"]
END = 1 - math.exp(-4)


def solution(weighting: Weighting, restarts: int = 5) -> tuple[Tensor, tuple[float, float]]:
    """Where the weighting's objective is least from an unremarkable start: the point, and (f1, f2)."""
    model = Point((0.3, -0.2) * 10)
    minimise(model.parameters(), lambda: weighting(losses_of(model, FRONT.tasks, ROW)), restarts)
    f1, f2 = losses_of(model, FRONT.tasks, ROW).tolist()
    return model.point.detach(), (f1, f2)


def share(preference: float) -> dict[str, float]:
    return {"f1": preference, "f2": 1 - preference}


@pytest.mark.parametrize("preference", [0.2, 0.35, 0.5, 0.6])
@pytest.mark.parametrize(
    "make",
    [partial(STCH, mu=0.01), partial(PBI, theta=5.0), partial(COSMOS, penalty=3.0)],
    ids=KINDS,
)
def test_every_preference_lands_in_the_middle_of_a_concave_front(
    make: Callable[..., Weighting], preference: float
) -> None:
    """Breaks the case for these methods: every fixed weighting ends at an end of this front."""
    point, (f1, f2) = solution(make(FRONT.tasks, weights=share(preference)))
    near(
        point, point.mean().expand(20), 1e-6
    )  # on the front: equal coordinates between the two centres
    assert abs(point.mean().item()) < 1 / math.sqrt(20)
    assert min(f1, f2) > 0.1
    assert f2 == pytest.approx(
        1 - math.exp(-((2 - math.sqrt(-math.log(1 - f1))) ** 2)), abs=1e-9
    )  # the front's formula
    fixed = solution(Fixed(FRONT.tasks, weights=share(preference)))[1]
    assert min(fixed) < 0.01


@pytest.mark.parametrize("preference", [0.3, 0.5, 0.65])
def test_stch_ends_where_the_weighted_losses_are_equal(preference: float) -> None:
    """Breaks if the preference does not say where on the front a run ends: l1 f1 = l2 f2, up to mu."""
    f1, f2 = solution(STCH(FRONT.tasks, mu=1e-3, weights=share(preference)))[1]
    assert preference * f1 == pytest.approx((1 - preference) * f2, abs=5e-3)


def test_pbi_ends_on_the_ray_of_the_preference() -> None:
    """Breaks if the preference is a weight where it must be a direction: f1 : f2 = w1 : w2."""
    for preference in (0.2, 0.4):
        f1, f2 = solution(PBI(FRONT.tasks, weights=share(preference)))[1]
        assert f1 / f2 == pytest.approx(preference / (1 - preference), rel=1e-3)


def test_plain_descent_lands_on_the_front_too() -> None:
    """Breaks if a run, with its weights taken as constants at every step, does not end where the objective is least."""
    model = Point((0.3, -0.2) * 10)
    weighting = STCH(FRONT.tasks, mu=0.1, weights=share(0.4))
    learner = make_learner(
        FRONT.tasks,
        ROW,
        model=model,
        weighting=weighting,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    found = train(learner, ROW, 400).losses[-1].tolist()
    assert found == pytest.approx(
        solution(STCH(FRONT.tasks, mu=0.1, weights=share(0.4)))[1], abs=1e-6
    )
    assert min(found) > 0.25


@cache
def stch_front(count: int) -> tuple[tuple[float, float], ...]:
    """(f1, f2) of STCH for preferences at equal angles from one end to the other, by rising f1."""
    angles = [math.pi / 2 * i / count for i in range(count + 1)]
    solutions = [
        solution(
            STCH(FRONT.tasks, mu=0.01, weights={"f1": math.cos(a), "f2": math.sin(a)}), restarts=1
        )[1]
        for a in angles
    ]
    return tuple(sorted(solutions))


def test_stch_covers_the_front_up_to_its_hypervolume() -> None:
    """Breaks if some part of the front cannot be reached by any preference: with reference (1, 1) it dominates .3421156.

    Between two neighbouring solutions the front is taken as the straight line, which lies below a concave front: the area is a
    little too large (.3421217 for 80 intervals). What the solutions dominate by themselves, in steps, is less (.3365).
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


# What is refused


@kind_is
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"weights": {"y": 1.0}},
            r"weighting\.weights names the unknown task 'y'; allowed: a, b, c\.",
        ),
        ({"weights": {"a": "much"}}, r"weighting\.weights\.a must be a number; found 'much'\."),
        (
            {"weights": "auto"},
            r"weighting\.weights must be a number or \{task: number\}; found 'auto'\.",
        ),
        (
            {"weights": {"a": -1.0}},
            r"weighting\.weights must be finite, not negative and not all 0; found \[-1\.0, 1\.0, 1\.0\]\.",
        ),
        (
            {"weights": 0},
            r"weighting\.weights must be finite, not negative and not all 0; found \[0\.0, 0\.0, 0\.0\]\.",
        ),
        (
            {"weights": math.inf},
            r"weighting\.weights must be finite, not negative and not all 0; found \[inf",
        ),
        (
            {"weights": math.nan},
            r"weighting\.weights must be finite, not negative and not all 0; found \[nan",
        ),
    ],
)
def test_preferences_that_make_no_sense_are_refused(
    kind: Callable[..., Weighting], options: dict[str, Any], words: str
) -> None:
    """Breaks if a typo in a preference trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        kind(TASKS, **options)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (STCH, {"mu": 0.0}, r"weighting\.mu must be a positive number; found 0\.0\."),
        (STCH, {"mu": -1}, r"weighting\.mu must be a positive number; found -1\."),
        (STCH, {"mu": "soft"}, r"weighting\.mu must be a positive number; found 'soft'\."),
        (STCH, {"mu": math.inf}, r"weighting\.mu must be a positive number; found inf\."),
        (
            STCH,
            {"reference": {"y": 0}},
            r"weighting\.reference names the unknown task 'y'; allowed: a, b, c\.",
        ),
        (
            PBI,
            {"reference": "ideal"},
            r"weighting\.reference must be a number or \{task: number\}; found 'ideal'\.",
        ),
        (PBI, {"theta": -1}, r"weighting\.theta must be a number of at least 0; found -1\."),
        (PBI, {"theta": math.nan}, r"weighting\.theta must be a number of at least 0; found nan\."),
        (PBI, {"theta": math.inf}, r"weighting\.theta must be a number of at least 0; found inf\."),
        (PBI, {"theta": True}, r"weighting\.theta must be a number of at least 0; found True\."),
        (PBI, {"theta": None}, r"weighting\.theta must be a number of at least 0; found None\."),
        (
            COSMOS,
            {"penalty": -0.5},
            r"weighting\.penalty must be a number of at least 0; found -0\.5\.",
        ),
        (
            COSMOS,
            {"penalty": math.nan},
            r"weighting\.penalty must be a number of at least 0; found nan\.",
        ),
        (
            COSMOS,
            {"penalty": math.inf},
            r"weighting\.penalty must be a number of at least 0; found inf\.",
        ),
        (
            COSMOS,
            {"penalty": "8"},
            r"weighting\.penalty must be a number of at least 0; found '8'\.",
        ),
        (
            COSMOS,
            {"penalty": False},
            r"weighting\.penalty must be a number of at least 0; found False\.",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    kind: Callable[..., Weighting], options: dict[str, Any], words: str
) -> None:
    """Breaks if a typo trains something else without a word, or ends in TorchJD's own words."""
    with pytest.raises(ConfigError, match=words):
        kind(TASKS, **options)


@pytest.mark.parametrize(("kind", "options"), [(PBI, {"theta": 0}), (COSMOS, {"penalty": 0})])
def test_a_penalty_of_zero_is_a_weighted_sum(
    kind: Callable[..., Weighting], options: dict[str, Any]
) -> None:
    """Breaks if 0 is refused, or something is left of the penalty."""
    weighting = kind(TASKS, weights={"a": 2.0}, **options)
    weights = [
        weighting.weigh(torch.tensor(losses))[0] for losses in ([1.0, 2.0, 3.0], [0.1, 7.0, 0.2])
    ]
    near(weights[0], weights[1], 1e-14)
    near(weights[0] / weights[0].sum(), torch.tensor([0.5, 0.25, 0.25]), 1e-14)


@pytest.mark.parametrize(("kind", "name"), [(STCH, "stch"), (PBI, "pbi"), (COSMOS, "cosmos")])
def test_without_torchjd_the_line_that_installs_it_is_named(
    kind: Callable[..., Weighting], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a missing extra ends in an ImportError: at the latest when the first losses are weighed."""
    monkeypatch.setitem(sys.modules, "torchjd", None)  # as if it were not installed
    with pytest.raises(
        ConfigError,
        match=rf"weighting={name} needs TorchJD; install it with: pip install 'mtl-runner\[torchjd\]'",
    ):
        kind(TASKS).weigh(torch.ones(3))
