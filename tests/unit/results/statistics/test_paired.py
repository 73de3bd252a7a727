"""Paired differences: sign-flip p-values and Holm's rule, against scipy and by definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.statistics.paired import (
    EXACT,
    SAMPLED,
    holm,
    least_p,
    paired,
    sign_flip,
)
from tests.support.builders import QUICK

few = st.lists(st.integers(-50, 50).map(lambda i: i / 8), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("seeds", "least"), [(2, 0.5), (4, 0.125), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)]
)
def test_the_smallest_p_that_n_seeds_can_reach(seeds: int, least: float) -> None:
    """Breaks if five seeds that all agree pretend to reach p < .05."""
    assert sign_flip([0.1 * (i + 1) for i in range(seeds)]) == least == least_p(seeds)


@QUICK
@given(differences=few)
def test_p_is_the_share_of_all_sign_patterns(differences: list[float]) -> None:
    """Breaks if ties with the observed sum are lost to rounding."""
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    assert sign_flip(differences) == np.mean([s >= sums[0] for s in sums])  # eighths add up exactly


@QUICK
@given(tenths=st.lists(st.integers(-50, 50), min_size=1, max_size=9))
def test_ties_survive_rounding(tenths: list[int]) -> None:
    """Breaks if tenths, which do not add up exactly, have another p than whole numbers."""
    assert sign_flip([value / 10 for value in tenths]) == sign_flip(list(map(float, tenths)))


@pytest.mark.parametrize("seed", range(4))
def test_p_is_scipys(seed: int) -> None:
    """Breaks if the test differs from scipy's permutation test of paired samples."""
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=9), generator.normal(0.6, 1, size=9)
    reference = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=math.inf
    )
    assert sign_flip(list(a - b)) == pytest.approx(float(reference.pvalue), abs=1e-12)


@pytest.mark.parametrize("count", [2, 7, EXACT, EXACT + 1, 20])
def test_p_of_every_number_of_pairs_is_scipys(count: int) -> None:
    """Breaks if the patterns that are kept are others than those that scipy tries or draws."""
    for seed, decimals in ((0, 1), (1, 12)):  # one digit makes ties
        differences = np.random.default_rng(seed).normal(0.3, 1, size=count).round(decimals)
        reference = stats.permutation_test(
            (differences / abs(differences).max(),),
            lambda x, axis: x.mean(axis=axis).round(12),
            permutation_type="samples",
            vectorized=True,
            n_resamples=math.inf if count <= EXACT else SAMPLED,
            batch=2**12,
            random_state=np.random.default_rng(0),
        )
        assert sign_flip(differences.tolist()) == pytest.approx(float(reference.pvalue), abs=1e-12)


@QUICK
@given(differences=few, factor=st.floats(1e-6, 1e6))
def test_neither_unit_nor_sign_nor_order_matters(differences: list[float], factor: float) -> None:
    """Breaks if a metric in other units, or the opposite question, has another p."""
    p = sign_flip(differences)
    assert sign_flip([factor * d for d in differences]) == p
    assert sign_flip([-d for d in differences]) == p
    assert sign_flip(differences[::-1]) == p


def test_many_seeds_are_sampled_reproducibly_and_near_the_exact_value() -> None:
    """Breaks if more pairs than can be enumerated stop the comparison, or p changes per call."""
    generator = np.random.default_rng(1)
    differences = list(generator.normal(0.35, 1, size=EXACT + 4))
    p = sign_flip(differences)
    assert p == sign_flip(differences)
    reference = stats.permutation_test(
        (np.array(differences),),
        np.mean,
        permutation_type="samples",
        n_resamples=50_000,
        rng=np.random.default_rng(2),
    )
    assert p == pytest.approx(float(reference.pvalue), abs=0.01)
    assert sign_flip([1.0] * 30) > 0  # never "impossible" from a sample of patterns


def test_under_the_null_p_is_uniform_enough() -> None:
    """Breaks if the test rejects more often than its level allows.

    Under the null every sign pattern is as likely as any other: of all patterns of one sample, at
    most a share of 5 % may have p <= .05.
    """
    sizes = np.random.default_rng(3).gamma(2.0, size=8)
    p_values = [
        sign_flip((sizes * signs).tolist()) for signs in itertools.product((1, -1), repeat=8)
    ]
    for level in (0.05, 0.1, 0.5):
        assert np.mean([p <= level for p in p_values]) <= level
    assert np.mean([p <= 0.05 for p in p_values]) > 0.04


def test_nothing_and_no_difference() -> None:
    """Breaks if identical runs look different, or no pair at all crashes."""
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0
    assert math.isnan(sign_flip([]))


def test_a_pair_that_is_not_finite_is_no_pair() -> None:
    """Breaks if one diverged seed hides the others."""
    result = paired([1.0, math.nan, 2.0, math.inf])
    assert (result.mean, result.count, result.p) == (1.5, 2, 0.5)
    assert repr(result) == repr(paired([1.0, 2.0]))  # NaN is not equal to NaN
    assert (result.low, result.high) == (interval([1.0, 2.0]).low, interval([1.0, 2.0]).high)


def test_holm_of_a_textbook_example() -> None:
    """Breaks if the adjustment is Bonferroni's, or not monotone (values of R's p.adjust)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@QUICK
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    """Breaks if p_(k) is not the largest (m - j + 1) p_(j) over j <= k, at most 1."""
    count = len(p_values)
    ordered = sorted(p_values)
    expected = {
        p: max(min(1.0, (count - j) * ordered[j]) for j in range(count) if ordered[j] <= p)
        for p in p_values
    }
    assert holm(p_values) == [expected[p] for p in p_values]


@QUICK
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=7), level=st.floats(0.001, 0.5))
def test_holm_rejects_what_its_stepwise_rule_rejects(p_values: list[float], level: float) -> None:
    """Breaks if it decides otherwise: reject in order while p_(k) <= level / (m - k + 1)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for k, i in enumerate(order):
        if p_values[i] * (len(order) - k) > level:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_what_was_not_tested_is_no_hypothesis() -> None:
    """Breaks if a strategy without runs makes the others' p-values larger."""
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert adjusted[2] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
