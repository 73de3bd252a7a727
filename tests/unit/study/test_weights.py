"""The fixed weights of a study: they leave out no corner, and suit losses of any scale."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study import Candidate
from mtl_runner.study.weights import fixed_candidates, shares
from tests.support.builders import QUICK


def weights_of(candidate: Candidate) -> dict[str, float]:
    """Return the weights that a candidate's options set."""
    pairs = (o.removeprefix("weighting.weights.").split("=") for o in candidate.overrides[1:])
    return {task: float(weight) for task, weight in pairs}


def test_two_tasks_are_swept_from_one_end_to_the_other() -> None:
    """Breaks if the fixed weights leave out the ends, where one task may need all."""
    points = shares(2, 11)
    assert [share for share, _ in points] == pytest.approx(
        [0.01, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.99]
    )
    assert all(sum(point) == pytest.approx(1) for point in points)


@given(st.integers(3, 8), st.integers(3, 40))
@QUICK
def test_more_tasks_get_more_points_up_to_the_cap(tasks: int, count: int) -> None:
    """Breaks if weights are no shares, if points are the same, or if their number explodes."""
    points = shares(tasks, count)
    assert len(points) == min(count, 4 * (tasks - 1))
    assert all(min(point) > 0 and sum(point) == pytest.approx(1) for point in points)
    assert len({tuple(point) for point in points}) == len(points)
    assert shares(tasks, count + 1)[: len(points)] == points, "a larger study goes on from these"


@given(st.integers(3, 8))
@QUICK
def test_no_point_of_more_tasks_leaves_a_task_out(tasks: int) -> None:
    """Breaks if points lie at the corners of the simplex, where most tasks have no weight."""
    for point in shares(tasks, 40):
        assert max(point) <= 100 * min(point)


@given(st.integers(3, 6))
@QUICK
def test_of_any_two_tasks_each_has_the_larger_weight_in_some_points(tasks: int) -> None:
    """Breaks if the first eight points crowd in one part of the weights."""
    points = shares(tasks, 8)
    for first in range(tasks):
        for second in range(first):
            above = sum(point[first] > point[second] for point in points)
            assert 1 <= above <= 7


def test_more_tasks_are_weighed_relative_to_the_trivial_predictors_losses() -> None:
    """Breaks if points of several tasks are of raw losses, where the largest always wins."""
    trivial = {"a": 1000.0, "b": 1.0, "c": 0.01}
    *points, auto = fixed_candidates(list(trivial), trivial, 11)
    assert "1/trivial" in auto.name
    for candidate in points:
        weights = weights_of(candidate)
        balanced = [weights[task] * loss for task, loss in trivial.items()]
        assert max(balanced) <= 101 * min(balanced)


def test_the_weights_of_norms_make_gradients_equally_long() -> None:
    """Breaks if the weights 1/norm are wrong, or are tried where norms are not known."""
    trivial = {"a": 4.0, "b": None, "c": 1.0}
    norms = {"a": 8.0, "b": 0.5, "c": 2.0}
    last = fixed_candidates(list(trivial), trivial, 3, norms)[-1]
    weights = weights_of(last)
    assert last.name.startswith("fixed 1/norm a=")
    assert [weights[t] * norms[t] for t in norms] == pytest.approx([weights["a"] * 8] * 3, rel=1e-3)
    assert sum(weights.values()) == pytest.approx(3, rel=1e-3)
    assert not any("1/norm" in c.name for c in fixed_candidates(list(trivial), trivial, 3, {}))


def test_two_tasks_keep_their_points() -> None:
    """Breaks if a study of two tasks that goes on, or is repeated, tries other weights."""
    names = [c.name for c in fixed_candidates(["a", "b"], {"a": 4.0, "b": 1.0}, 5)]
    assert names == [
        "fixed a=0.00504 b=1.99",
        "fixed a=0.154 b=1.85",
        "fixed a=0.857 b=1.14",
        "fixed a=1.92 b=0.0777",
        "fixed 1/trivial a=0.4 b=1.6",
    ]


def test_the_trivial_predictors_weights_make_its_losses_equal() -> None:
    """Breaks if the weights 1/L of the trivial predictor, which need no tuning, are wrong."""
    weights = weights_of(fixed_candidates(["a", "b"], {"a": 4.0, "b": 0.25}, 11)[-1])
    assert 4.0 * weights["a"] == pytest.approx(0.25 * weights["b"], rel=1e-3)
    assert weights["a"] + weights["b"] == pytest.approx(2, rel=1e-3)


def test_shares_are_of_losses_on_a_common_scale() -> None:
    """Breaks if a sweep over losses that differ by a thousand never leaves the largest one."""
    for candidate in fixed_candidates(["a", "b"], {"a": 1000.0, "b": 1.0}, 3):
        weights = weights_of(candidate)
        share = 1000 * weights["a"] / (1000 * weights["a"] + weights["b"])
        assert min(abs(share - expected) for expected in (0.01, 0.5, 0.99)) < 1e-3


def test_a_task_without_a_trivial_predictor_has_no_such_weights() -> None:
    """Breaks if a loss term stops the study."""
    assert len(fixed_candidates(["a", "b"], {"a": 4.0, "b": None}, 11)) == 10
    assert fixed_candidates(["a"], {"a": 1.0}, 11) == []


def test_a_single_task_has_nothing_to_weigh() -> None:
    """Breaks if shares of one task are asked for by mistake, and a study of nothing begins."""
    with pytest.raises(ValueError, match="nothing to weigh"):
        shares(1, 11)
