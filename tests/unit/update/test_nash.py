"""The Nash bargaining solution: its equation, its norm, its invariances, and hopeless cases."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.update.nash import Nash
from tests.support.builders import QUICK, assert_near

pytestmark = pytest.mark.usefixtures("float64")

angles = st.floats(0.0, 3.1)  # of up to 178 degrees
norms = st.floats(1e-6, 1e6)
counts = st.integers(2, 6)
seeds = st.integers(0, 10**6)
sizes = st.lists(norms, min_size=6, max_size=6)
dtype_is = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def rows_at(angle: float, first: float, second: float) -> Tensor:
    """Return two gradients in three dimensions with this angle and these norms."""
    along, across = torch.tensor([0.6, 0.0, 0.8]), torch.tensor([0.8, 0.0, -0.6])
    return torch.stack(
        [first * along, second * (math.cos(angle) * along + math.sin(angle) * across)]
    )


def random_rows(count: int, seed: int, lengths: list[float]) -> Tensor:
    """Return random gradients in ten dimensions with these lengths."""
    rows = torch.randn(count, 10, generator=torch.Generator().manual_seed(seed))
    return rows * torch.tensor(lengths[:count]).unsqueeze(1)


# The solution


@QUICK
@given(angle=angles, first=norms, second=norms)
def test_the_weights_of_two_rows_solve_the_bargaining_equation(
    angle: float, first: float, second: float
) -> None:
    """Breaks if G alpha is not 1 / alpha: then one task pays for the other."""
    rows = rows_at(angle, first, second)
    gramian = rows @ rows.T
    weights = Nash(max_norm=0).gramian_weighting(gramian)
    assert (weights > 0).all()
    assert_near(
        weights * (gramian @ weights), torch.ones(2), 1e-9
    )  # of 178 degrees cancellation leaves ten digits


@QUICK
@given(count=counts, seed=seeds, lengths=sizes)
def test_the_weights_of_many_rows_solve_the_bargaining_equation(
    count: int, seed: int, lengths: list[float]
) -> None:
    """Breaks if the iteration stops short of the solution, or depends on gradient sizes."""
    rows = random_rows(count, seed, lengths)
    gramian = rows @ rows.T
    weights = Nash(max_norm=0).gramian_weighting(gramian)
    assert (weights > 0).all()
    assert_near(weights * (gramian @ weights), torch.ones(count), 1e-9)


@QUICK
@given(count=counts, seed=seeds, lengths=sizes)
def test_the_direction_serves_every_row_alike(count: int, seed: int, lengths: list[float]) -> None:
    """Breaks if a task makes no progress along the direction."""
    rows = random_rows(count, seed, lengths)
    direction = Nash()(rows)
    assert (rows @ direction > 0).all()


@QUICK
@given(count=counts, seed=seeds, lengths=sizes, max_norm=st.floats(0.01, 10))
def test_its_norm_is_the_root_of_the_number_of_rows_unless_it_is_limited(
    count: int, seed: int, lengths: list[float], max_norm: float
) -> None:
    """Breaks if the limit acts on directions below it, or leaves longer ones."""
    rows = random_rows(count, seed, lengths)
    free, limited = Nash(max_norm=0)(rows), Nash(max_norm)(rows)
    assert_near(free.norm(), torch.tensor(float(count)).sqrt(), 1e-9)
    assert_near(limited, free * min(1.0, max_norm / count**0.5), 1e-9)


def test_the_limit_is_one_unless_another_is_given() -> None:
    """Breaks if the default is not TorchJD's and the authors'."""
    assert_near(Nash()(torch.eye(3)).norm(), torch.tensor(1.0), 1e-12)


@QUICK
@given(count=counts, seed=seeds, lengths=sizes)
def test_the_sizes_of_the_gradients_do_not_matter(
    count: int, seed: int, lengths: list[float]
) -> None:
    """Breaks if a task gets a larger say by scaling its loss."""
    assert_near(
        Nash()(random_rows(count, seed, lengths)), Nash()(random_rows(count, seed, [1.0] * 6)), 1e-9
    )


@QUICK
@given(count=counts, seed=seeds, lengths=sizes)
def test_permuting_the_tasks_permutes_the_weights(
    count: int, seed: int, lengths: list[float]
) -> None:
    """Breaks if one of the rows is treated as the first."""
    rows = random_rows(count, seed, lengths)
    weights = Nash().gramian_weighting(rows @ rows.T)
    torch.testing.assert_close(
        Nash().gramian_weighting(rows.flip(0) @ rows.flip(0).T).flip(0), weights, rtol=1e-9, atol=0
    )


@QUICK
@given(angle=st.floats(0.0, 3.0), first=norms, second=norms)
def test_the_closed_form_is_what_the_iteration_finds(
    angle: float, first: float, second: float
) -> None:
    """Breaks if two tasks are solved by another equation than three, of which one has arrived."""
    rows = rows_at(angle, first, second)
    three = torch.cat([rows, torch.zeros(1, 3)])
    for max_norm in (0.0, 1.0):
        assert_near(Nash(max_norm)(three), Nash(max_norm)(rows), 1e-9)


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not DPP")
def test_it_is_the_solution_that_a_solver_finds() -> None:
    """Breaks if it is not TorchJD's method where TorchJD's solver solves the equation."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    cases = [
        rows_at(angle, 2.0, 2.0 * ratio)
        for angle in (0.2, 0.8, 2.2)
        for ratio in (0.2, 0.8, 1.3, 3.0)
    ]
    cases += [
        random_rows(count, seed, [2.0, 1.0, 3.0, 1.5, 0.5, 1.0])
        for count in (3, 5)
        for seed in range(5)
    ]
    solved = 0
    for rows in cases:
        count = len(rows)
        weights = aggregation.NashMTL(n_tasks=count, max_norm=0.0).weighting(rows)
        if (weights * (rows @ rows.T @ weights) - 1).abs().max() < 1e-6:
            solved += 1
            assert_near(Nash(max_norm=0)(rows), weights @ rows, 1e-5)
            limited = aggregation.NashMTL(n_tasks=count, max_norm=1.0)
            assert_near(Nash(max_norm=1.0)(rows), limited(rows), 1e-5)
    assert solved >= 14


# Preferences

powers = st.lists(st.floats(0.01, 100), min_size=6, max_size=6)


@QUICK
@given(count=counts, seed=seeds, lengths=sizes, preferences=powers)
def test_with_preferences_each_task_gains_what_is_its_due(
    count: int, seed: int, lengths: list[float], preferences: list[float]
) -> None:
    """Breaks if a (G a) is not p, by the closed form or the iteration, whatever the sizes."""
    rows, wanted = random_rows(count, seed, lengths), torch.tensor(preferences[:count])
    gramian = rows @ rows.T
    weights = Nash(max_norm=0, preferences=wanted).gramian_weighting(gramian)
    assert (weights > 0).all()
    assert_near(
        weights * (gramian @ weights) * wanted.sum() / wanted / count, torch.ones(count), 1e-8
    )


@QUICK
@given(count=counts, seed=seeds, lengths=sizes, power=st.sampled_from([0.25, 1.0, 8.0]))
def test_equal_preferences_are_none(
    count: int, seed: int, lengths: list[float], power: float
) -> None:
    """Breaks if the bargaining of equals is another one with preferences, by a single bit."""
    rows = random_rows(count, seed, lengths)
    equal = Nash(preferences=torch.full((count,), power))
    assert torch.equal(equal(rows), Nash()(rows))


@QUICK
@given(angle=st.floats(0.0, 3.0), first=norms, second=norms, power=st.floats(0.01, 100))
def test_the_closed_form_with_preferences_is_what_the_iteration_finds(
    angle: float, first: float, second: float, power: float
) -> None:
    """Breaks if two tasks bargain otherwise than three, of which one has arrived."""
    rows = rows_at(angle, first, second)
    three = torch.cat([rows, torch.zeros(1, 3)])
    preferences = torch.tensor([power, 1.0, 7.0])
    for max_norm in (0.0, 1.0):
        assert_near(Nash(max_norm, preferences)(three), Nash(max_norm, preferences[:2])(rows), 1e-8)


@dtype_is
@pytest.mark.parametrize("power", [0.01, 1.0, 100.0])
def test_opposite_gradients_stand_still_whatever_the_preferences(
    power: float, dtype: torch.dtype
) -> None:
    """Breaks if a preference makes one of two opposite gradients the winner."""
    rows = torch.tensor([[1.0, 0.0], [-3.0, 0.0]], dtype=dtype)
    assert_near(Nash(preferences=torch.tensor([power, 1.0]))(rows), torch.zeros(2, dtype=dtype), 0)


@pytest.mark.parametrize("power", [0.0, -1.0, math.nan])
def test_a_preference_is_positive(power: float) -> None:
    """Breaks if a task without bargaining power gives 0/0, or a weight that is not positive."""
    with pytest.raises(ConfigError) as error:
        Nash(preferences=torch.tensor([1.0, power]))
    assert str(error.value).startswith(
        f"update.options.preferences must be positive for every task; found {power:g}"
    )


# Where there is none


HOPELESS = {
    "opposite": [[0.1, -0.7, 0.3], [-0.3, 2.1, -0.9]],
    "two of three opposite": [[0.1, -0.7, 0.3], [1.0, 0.2, 0.5], [-0.3, 2.1, -0.9]],
    "a star": [[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]],
    "a line": [[1.0], [2.0], [-1.0]],
}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            rows,
            id=name,
        )
        for name, rows in HOPELESS.items()
    ],
)
def test_where_no_direction_serves_all_it_stands_still(rows: list[list[float]]) -> None:
    """Breaks if gradients that cancel give 0/0, a huge weight, or the error of a solver."""
    for dtype, scale, max_norm in itertools.product(
        (torch.float32, torch.float64), (1e-12, 1.0, 1e12), (0.0, 1.0)
    ):
        direction = Nash(max_norm)(scale * torch.tensor(rows, dtype=dtype))
        assert direction.dtype == dtype
        assert_near(direction, torch.zeros(len(rows[0]), dtype=dtype), 0)


@QUICK
@given(
    name=st.sampled_from(sorted(HOPELESS)),
    seed=seeds,
    size=st.sampled_from([1e-17, 1e-12, 1e-8, 1e-7]),
)
def test_the_rounding_of_a_gramian_does_not_decide_whether_there_is_a_solution(
    name: str, seed: int, size: float
) -> None:
    """Breaks if rounding, and so the processor, decides whether cancelling gradients move."""
    rows = torch.tensor(HOPELESS[name])
    rows = rows / rows.norm(dim=1, keepdim=True)
    rounding = (
        torch.randn(len(rows), len(rows), generator=torch.Generator().manual_seed(seed)).clamp(
            -2, 2
        )
        * size
    )
    assert_near(
        Nash(max_norm=0).gramian_weighting(rows @ rows.T + (rounding + rounding.T) / 2),
        torch.zeros(len(rows)),
        0,
    )


@pytest.mark.parametrize(
    "angle", [0.003, 0.01, 0.1]
)  # between the first row and the second one turned around
def test_rows_that_nearly_cancel_still_have_a_solution(angle: float) -> None:
    """Breaks if the tolerance for rounding takes a hard bargain for none."""
    two = torch.tensor([[1.0, 0.0, 0.0], [-math.cos(angle), math.sin(angle), 0.0]])
    for rows in (two, torch.cat([two, torch.tensor([[0.0, 0.0, 1.0]])])):
        weights = Nash(max_norm=0).gramian_weighting(rows @ rows.T)
        assert_near(weights * (rows @ rows.T @ weights), torch.ones(len(rows)), 1e-6)


@dtype_is
@pytest.mark.parametrize("zero", [0, 1])
def test_a_gradient_of_zero_leaves_the_other_at_norm_one(dtype: torch.dtype, zero: int) -> None:
    """Breaks if a task that has arrived stops the other one, or divides by its norm."""
    rows = torch.tensor([[3.0, 4.0], [3.0, 4.0]], dtype=dtype)
    rows[zero] = 0
    assert_near(Nash(max_norm=0)(rows), torch.tensor([0.6, 0.8], dtype=dtype), 1e-6)
    assert_near(Nash(max_norm=0.5)(rows), torch.tensor([0.3, 0.4], dtype=dtype), 1e-6)
    assert Nash().gramian_weighting(rows @ rows.T)[zero] == 0


@pytest.mark.parametrize("zero", [0, 2, 3])
def test_a_gradient_of_zero_leaves_the_others_as_if_it_were_not_there(zero: int) -> None:
    """Breaks if a task that has arrived shifts the bargain of the remaining."""
    rows = random_rows(4, 0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    remaining = torch.cat([rows[:zero], rows[zero + 1 :]])
    rows[zero] = 0
    assert_near(Nash(max_norm=0)(rows), Nash(max_norm=0)(remaining), 1e-12)
    assert Nash().gramian_weighting(rows @ rows.T)[zero] == 0


@dtype_is
@pytest.mark.parametrize("count", [2, 3])
def test_gradients_of_zero_are_no_direction(count: int, dtype: torch.dtype) -> None:
    """Breaks if a finished training turns into NaN."""
    assert_near(Nash()(torch.zeros(count, 3, dtype=dtype)), torch.zeros(3, dtype=dtype), 0)


@pytest.mark.parametrize("count", [2, 3])
def test_a_nan_stays_one(count: int) -> None:
    """Breaks if a diverged task is hidden by the others."""
    rows = torch.eye(3)[:count].clone()
    rows[0, 2] = torch.nan
    assert Nash()(rows).isnan().any()


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), "big", True, None])
def test_what_is_no_limit_is_refused(wrong: object) -> None:
    """Breaks if a negative limit turns every step around."""
    with pytest.raises(ConfigError) as error:
        Nash(wrong)  # type: ignore[arg-type]
    assert str(error.value) == f"update.options.max_norm must be at least 0; found {wrong!r}."
