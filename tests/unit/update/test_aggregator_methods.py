"""The aggregators by name: directions as TorchJD's, promises, small gradients, options per task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.update.aggregator_methods import METHODS
from tests.support.builders import QUICK, assert_near, assert_same_bits
from tests.unit.update.aggregations import aggregation_of, random_rows, shortest_by_scipy
from tests.unit.update.learners import projector
from tests.unit.update.test_simplex import by_bisection

aggregation = pytest.importorskip("torchjd.aggregation")

float64 = pytest.mark.usefixtures("float64")
method_is = pytest.mark.parametrize("name", METHODS)


# Each is TorchJD's


def db_mtl(beta: float = 0.9) -> Callable[[Tensor], Tensor]:
    """Return DB-MTL written from the paper; TorchJD does not have it."""
    averages: list[Tensor] = []

    def direction(rows: Tensor) -> Tensor:
        share = beta / math.sqrt(len(averages) + 1)
        before = averages[-1] if averages else torch.zeros_like(rows)
        averages.append(share * before + (1 - share) * rows)
        longest = max(row.norm() for row in averages[-1])
        parts = [longest * row / row.norm() for row in averages[-1]]
        return torch.stack(parts).sum(0)

    return direction


def moco(count: int, beta: float = 0.1, gamma: float = 0.1, rho: float = 0.1) -> Any:
    """Return MoCo written from the paper; TorchJD does not have it."""
    averages, shares = torch.zeros(count, 6), torch.full((count,), 1 / count)

    def direction(rows: Tensor) -> Tensor:
        averages.copy_((1 - beta) * averages + beta * rows)
        change = averages @ (averages.T @ shares) + rho * shares
        shares.copy_(by_bisection(shares - gamma * change))
        return averages.T @ shares

    return direction


def modo(count: int, gamma: float = 0.1, rho: float = 0.1) -> Any:
    """Return MoDo on equal batches, which is MoCo without an average."""
    return moco(count, 1.0, gamma, rho)


def sdmgrad(count: int, kappa: float = 0.3, step_size: float = 0.1, steps: int = 20) -> Any:
    """Return SDMGrad on equal batches, written from the paper; TorchJD does not have it."""
    shares = torch.full((count,), 1 / count)

    def direction(rows: Tensor) -> Tensor:
        size = rows.norm(dim=1).mean() ** 2
        for _ in range(steps):
            slope = rows @ (rows.T @ shares + kappa * rows.mean(0)) / size
            shares.copy_(by_bisection(shares - step_size * slope))
        return (rows.T @ shares + kappa * rows.mean(0)) / (1 + kappa)

    return direction


REFERENCES: dict[
    str, Callable[[int], Any]
] = {  # by the number of tasks, with the settings that we document
    "aligned_mtl": lambda _: aggregation.AlignedMTL(),
    "auxinash": lambda count: aggregation.NashMTL(n_tasks=count),  # with equal preferences
    "cagrad": lambda _: aggregation.CAGrad(c=0.5, norm_eps=1e-12),
    "config": lambda _: aggregation.ConFIG(),
    "constant": lambda count: aggregation.Constant(torch.ones(count)),
    "db_mtl": lambda _: db_mtl(),
    "dualproj": lambda _: aggregation.DualProj(projector=projector()),
    "excess_mtl": lambda _: aggregation.ExcessMTL(n_warmup_steps=1),
    "fairgrad": lambda _: aggregation.FairGrad(alpha=2.0),
    "graddrop": lambda _: aggregation.GradDrop(),
    "gradvac": lambda _: aggregation.GradVac(eps=1e-30),
    "imtl_g": lambda _: aggregation.IMTLG(),
    "krum": lambda _: aggregation.Krum(n_byzantine=0, n_selected=1),
    "mean": lambda _: aggregation.Mean(),
    "mgda": lambda _: shortest_by_scipy,  # TorchJD's is too long
    "moco": moco,
    "modo": modo,
    "nash_mtl": lambda count: aggregation.NashMTL(n_tasks=count),
    "pcd": lambda _: aggregation.PCD(eps=1e-20),
    "pcgrad": lambda _: aggregation.PCGrad(),
    "random": lambda _: aggregation.Random(),
    "sdmgrad": sdmgrad,
    "sum": lambda _: aggregation.Sum(),
    "trimmed_mean": lambda _: aggregation.TrimmedMean(trim_number=1),
    "upgrad": lambda _: aggregation.UPGrad(projector=projector()),
}
PRECISION = {
    "pcd": 1e-9,
    "fairgrad": 1e-6,
    "auxinash": 1e-5,
    "nash_mtl": 1e-5,
}  # those of TorchJD's solvers; the others: 1e-12
WITHOUT_WEIGHTS = {
    "config",
    "graddrop",
    "trimmed_mean",
}  # their direction is no combination of the rows that they would name
OF_AVERAGES = {"db_mtl", "moco"}  # their weights are those of averaged rows


@float64
@method_is
@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not DPP")
def test_the_direction_is_that_of_torchjd(name: str, count: int) -> None:
    """Breaks if a method is another one than its name says, or loses its state between calls."""
    aggregator, reference = aggregation_of(name, count, seed=5), REFERENCES[name](count)
    state = torch.Generator().manual_seed(5).get_state()
    for call in range(4):
        rows = random_rows(count, seed=call)
        direction, weights = aggregator(rows, tuple(range(count)))
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            expected = reference(rows)
            state = torch.get_rng_state()
        assert_near(direction, expected, PRECISION.get(name, 1e-12))
        if name in WITHOUT_WEIGHTS:
            assert weights.isnan().all()
        elif name not in OF_AVERAGES:
            assert_near(weights @ rows, direction, 1e-12)
        assert weights.shape == (count,)


def test_every_method_is_compared() -> None:
    """Breaks if a new name has no reference here."""
    assert REFERENCES.keys() == METHODS.keys()


@float64
def test_the_first_task_is_the_primary_one_of_pcd() -> None:
    """Breaks if the order of the tasks, which this method is about, gets lost."""
    rows = random_rows(3)
    first, _ = aggregation_of("pcd")(rows, (0, 1, 2))
    turned, _ = aggregation_of("pcd")(rows.flip(0), (0, 1, 2))
    assert_near(first.norm(), rows[0].norm(), 1e-12)
    assert_near(turned.norm(), rows[2].norm(), 1e-12)


# Promises of the methods


def conflict(name: str, rows: Tensor, **options: Any) -> float:
    """The cosine of the direction with the row that it serves worst, 0 if it serves all."""
    direction, _ = aggregation_of(name, len(rows), **options)(rows, tuple(range(len(rows))))
    cosines = rows @ direction / (rows.norm(dim=1) * direction.norm().clamp(min=1e-9 * rows.norm()))
    return min(0.0, cosines.min().item())


PEACEFUL: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("upgrad", {}),
    ("dualproj", {}),
    ("mgda", {}),
    ("cagrad", {"c": 1.0}),
    ("cagrad", {"c": 3.0}),
    ("config", {}),
    ("fairgrad", {}),
    ("nash_mtl", {}),
    ("auxinash", {"preferences": {"a": 3.0}}),
)
peaceful = pytest.mark.parametrize(
    ("name", "options"), PEACEFUL, ids=lambda value: value if isinstance(value, str) else ""
)


@float64
@peaceful
@QUICK
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 4),
    sizes=st.lists(st.floats(1, 2), min_size=4, max_size=4),
)
def test_no_task_gets_worse(
    name: str, options: Mapping[str, Any], seed: int, count: int, sizes: list[float]
) -> None:
    """Breaks if a method that promises it steps uphill for some task, to first order."""
    rows = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        sizes[:count]
    ).unsqueeze(1)
    assert conflict(name, rows, **options) > -1e-5


@float64
@peaceful
def test_no_task_gets_worse_though_gradients_differ_in_size(
    name: str, options: Mapping[str, Any]
) -> None:
    """Breaks if a threshold gives up gradients down to a hundredth of the largest."""
    generator = torch.Generator().manual_seed(0)
    sizes = [10 ** (2 * torch.rand(3, 1, generator=generator) - 1) for _ in range(50)]
    assert (
        min(
            conflict(name, size * torch.randn(3, 5, generator=generator), **options)
            for size in sizes
        )
        > -0.002
    )


@method_is
@pytest.mark.parametrize("seed", range(3))
def test_gradients_that_depend_on_each_other_are_no_obstacle(name: str, seed: int) -> None:
    """Breaks if a solver fails on a Gramian that rounding in float32 has made indefinite."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(4, 2, generator=generator) @ torch.randn(2, 100_000, generator=generator)
    direction, _ = aggregation_of(name, 4)(rows, (0, 1, 2, 3))
    assert direction.isfinite().all()


DEGREES = {  # the direction for s J is s^degree times that for J
    **dict.fromkeys(
        (
            "aligned_mtl",
            "cagrad",
            "config",
            "constant",
            "db_mtl",
            "dualproj",
            "excess_mtl",
            "imtl_g",
            "krum",
            "mean",
            "mgda",
            "sdmgrad",
            "sum",
            "upgrad",
            "trimmed_mean",
        ),
        1.0,
    ),
    **dict.fromkeys(("graddrop", "pcgrad", "random"), 1.0),  # from the same random numbers
    "gradvac": 1.0,
    "pcd": 1.0,
    "fairgrad": -1 / 3,  # 1 - 2 alpha / (1 + alpha)
    **dict.fromkeys(("nash_mtl", "auxinash"), None),  # limited in norm
}


# A step of their weights is measured in inverse squares of gradients.
SIZE_MATTERS = ("moco", "modo")


@pytest.mark.parametrize("name", DEGREES)
@pytest.mark.parametrize("factor", [1e-2, 1e-4, 1e-6])
def test_small_gradients_have_the_same_direction(name: str, factor: float) -> None:
    """Breaks if a threshold turns a method into another one, or nothing, late in training."""
    rows = random_rows(3, dtype=torch.float32)
    large, _ = aggregation_of(name)(rows, (0, 1, 2))
    small, _ = aggregation_of(name)(factor * rows, (0, 1, 2))
    assert_near(
        small.double() / small.double().norm(), large.double() / large.double().norm(), 3e-5
    )
    degree = DEGREES[name]
    if degree is not None:
        assert small.double().norm() / large.double().norm() == pytest.approx(
            factor**degree, rel=1e-3
        )


def test_every_method_has_a_degree() -> None:
    """Breaks if a new name is not asked what it does with small gradients."""
    assert {*DEGREES, *SIZE_MATTERS} == METHODS.keys()


@method_is
def test_a_task_that_has_arrived_leaves_a_finite_direction(name: str) -> None:
    """Breaks if a gradient of exactly 0, of one task or of all, gives NaN."""
    rows = random_rows(3, dtype=torch.float32)
    rows[1] = 0
    direction, _ = aggregation_of(name)(rows, (0, 1, 2))
    assert direction.isfinite().all()


@method_is
def test_when_all_have_arrived_nothing_moves(name: str) -> None:
    """Breaks if training stops with an error, or with NaN, at a point where every gradient is 0."""
    direction, _ = aggregation_of(name)(torch.zeros(3, 6), (0, 1, 2))
    assert_near(direction, torch.zeros(6), 0)


# Excess risks


@float64
def test_the_first_step_of_excess_mtl_only_stores_the_baseline() -> None:
    """Breaks if the weights of the first step are not 1/T, as in the paper's code.

    The second step is computed by hand. The first gradients are 3 and 5, so that their squares over
    the roots of their sums, the baseline, are 3 and 5. The second ones are 4 and 12: 16 / 5 and
    144 / 13, relative to the baseline 16 / 15 and 144 / 65.
    """
    aggregator = aggregation_of("excess_mtl", 2)
    first, weights = aggregator(torch.diag(torch.tensor([3.0, 5.0])), (0, 1))
    assert_near(weights, torch.tensor([0.5, 0.5]), 0)
    assert_near(first, torch.tensor([1.5, 2.5]), 0)
    second, weights = aggregator(torch.diag(torch.tensor([4.0, 12.0])), (0, 1))
    shares = [math.exp(16 / 15), math.exp(144 / 65)]
    expected = torch.tensor(shares) / sum(shares)
    # The published code adds 1e-7 under the root.
    assert_near(weights, expected, 1e-7)
    assert_near(second, torch.tensor([4.0, 12.0]) * expected, 1e-6)


@float64
@pytest.mark.parametrize("factor", [1e-2, 1e3])
def test_the_weights_of_excess_mtl_do_not_depend_on_the_scale_of_a_loss(factor: float) -> None:
    """Breaks if an excess risk is used raw at any step, not relative to the baseline."""
    plain, scaled = aggregation_of("excess_mtl"), aggregation_of("excess_mtl")
    scales = torch.tensor([[1.0], [factor], [1.0]])
    for step in range(5):
        rows = random_rows(3, seed=step)
        _, expected = plain(rows, (0, 1, 2))
        _, weights = scaled(scales * rows, (0, 1, 2))
        assert_near(weights, expected, 1e-3)


# Options per task


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "aligned_mtl", "config"])
def test_equal_preferences_are_no_preferences(name: str) -> None:
    """Breaks if a preference of 1, for every task or for one, changes a method's scale."""
    rows = random_rows(4)
    expected, _ = aggregation_of(name, 4)(rows, (0, 1, 2, 3))
    for preferences in (1.0, {"b": 1.0}):
        assert_near(
            aggregation_of(name, 4, pref_vector=preferences)(rows, (0, 1, 2, 3))[0], expected, 1e-6
        )


@float64
def test_preferences_of_auxinash_are_those_of_the_active_tasks() -> None:
    """Breaks if a task's preference goes to another one while some are idle."""
    rows = torch.eye(2)
    aggregator = aggregation_of("auxinash", 4, preferences={"b": 3.0, "d": 9.0})
    for tasks, ratio in (((0, 1), 3.0), ((1, 3), 3.0), ((2, 3), 9.0), ((0, 2), 1.0)):
        _, weights = aggregator(rows, tasks)
        assert_near(weights[1] / weights[0], torch.tensor(ratio).sqrt(), 1e-12)


def test_a_leak_given_for_one_task_lets_no_other_one_through() -> None:
    """Breaks if tasks that the option does not name are exempted from GradDrop."""
    rows = torch.tensor([[1.0] * 200, [-1.0] * 200])
    leaking, _ = aggregation_of("graddrop", 2, leak={"a": 0.0})(rows, (0, 1))
    plain, _ = aggregation_of("graddrop", 2)(rows, (0, 1))
    assert_same_bits(leaking, plain)
