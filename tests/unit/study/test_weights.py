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


@given(st.integers(3, 6), st.integers(3, 20))
@QUICK
def test_more_tasks_get_as_many_points_spread_over_the_simplex(tasks: int, count: int) -> None:
    """Breaks if weights are negative, do not add up, or are the same again."""
    points = shares(tasks, count)
    assert len(points) == count
    assert all(min(point) > 0 and sum(point) == pytest.approx(1) for point in points)
    assert len({tuple(point) for point in points}) == count


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
