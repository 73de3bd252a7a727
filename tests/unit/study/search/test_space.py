"""The space of a search: ratios of weights, taken of losses over the trivial predictor's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study.search.space import Space

LOSSES = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=8)
WEIGHTS, LR = (0.01, 100.0), (1e-3, 0.1)


@given(losses=LOSSES, data=st.data())
def test_weights_keep_their_ratios_and_have_mean_one(
    losses: list[float], data: st.DataObject
) -> None:
    """Breaks if a trial trains with other weights than those that Optuna is told."""
    tasks = [f"t{i}" for i in range(len(losses))]
    space = Space(dict(zip(tasks, losses, strict=True)), WEIGHTS, LR)
    point = {name: data.draw(st.floats(*ends)) for name, ends in space.ranges.items()}
    weights = space.weights(point)
    assert sum(weights.values()) == pytest.approx(len(tasks))
    for task, loss in zip(tasks[1:], losses[1:], strict=True):
        ratio = weights[task] * loss / (weights["t0"] * losses[0])
        assert ratio == pytest.approx(point[f"weight of {task}"])


def test_a_search_begins_with_equal_trivial_losses_and_equal_weights() -> None:
    """Breaks if the best trial can be worse than what one would have tried by hand."""
    space = Space({"a": 4.0, "b": 1.0}, WEIGHTS, LR)
    first, second = space.first_points(0.01)
    assert space.weights(first) == pytest.approx({"a": 0.4, "b": 1.6})
    assert space.weights(second) == pytest.approx({"a": 1.0, "b": 1.0})
    assert first["lr"] == second["lr"] == 0.01


def test_first_points_lie_in_the_ranges() -> None:
    """Breaks if Optuna is asked to try what it may not, or the same twice."""
    assert Space({"a": 1.0, "b": 1.0}, WEIGHTS, LR).first_points(7.0) == [
        {"lr": 0.1, "weight of b": 1.0}
    ]
    assert Space({"a": 1e5, "b": 1.0}, WEIGHTS, LR).first_points(0.01) == [
        {"lr": 0.01, "weight of b": 1.0}
    ]
    assert Space({"a": 1.0, "b": 1.0}, (2.0, 3.0), LR).first_points(0.01) == []


def test_without_a_trivial_loss_the_raw_losses_are_weighed() -> None:
    """Breaks if a user's loss, which has no trivial predictor, ends a search."""
    space = Space({"a": 4.0, "b": None}, WEIGHTS, LR)
    assert space.weights({"lr": 0.01, "weight of b": 1.0}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    "point",
    [
        None,
        {"lr": 0.01},
        {"weight of b": 1.0, "lr": 0.01},
        {"lr": 0.01, "weight of b": "1"},
        {"lr": 0.01, "weight of b": math.nan},
        {"lr": 1.0, "weight of b": 1.0},
    ],
)
def test_what_a_file_holds_need_not_be_a_trial(point: object) -> None:
    """Breaks if a damaged search.json, or one of another search, is trained."""
    space = Space({"a": 1.0, "b": 1.0}, WEIGHTS, LR)
    assert not space.holds(point)
    assert space.holds({"lr": 0.01, "weight of b": 1.0})


def test_settings_near_an_end_are_named() -> None:
    """Breaks if a user is not told that a wider range may hold better settings."""
    space = Space({"a": 1.0, "b": 1.0}, WEIGHTS, LR)
    assert space.edges({"lr": 0.01, "weight of b": 1.0}) == []
    assert space.edges({"lr": 0.0011, "weight of b": 99.0}) == ["lr", "weight of b"]


def test_the_run_of_a_trial() -> None:
    """Breaks if a trial counts as evidence, or as a strategy of its own."""
    run = Space({"a": 4.0, "b": 1.0}, WEIGHTS, LR).run({"lr": 0.01, "weight of b": 1.0}, seed=3)
    assert (run.candidate.name, run.candidate.role, run.final) == ("fixed (search)", "fixed", False)
    assert run.overrides == [
        "weighting=fixed",
        "weighting.weights.a=0.4",
        "weighting.weights.b=1.6",
        "optimizer.lr=0.01",
        "seed=3",
    ]
