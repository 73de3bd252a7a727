"""Tests with variances that inform each other, against Smyth's model and by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from mtl_runner.results.statistics.intervals import exceedance
from mtl_runner.results.statistics.moderated import (
    VariancePrior,
    inverse_trigamma,
    moderated_exceedance,
    variance_prior,
)
from tests.support.builders import QUICK

Samples = list[list[float]]
samples = st.lists(
    st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=2, max_size=8),
    min_size=1,
    max_size=6,
)


def drawn_samples(freedom: float, count: int, size: int, seed: int = 0) -> Samples:
    """Return samples of mean 0 whose variances come from the model around 4."""
    random = np.random.default_rng(seed)
    variances = 4.0 * freedom / random.chisquare(freedom, count)
    values: Samples = (random.normal(size=(count, size)) * np.sqrt(variances)[:, None]).tolist()
    return values


@pytest.mark.parametrize("freedom", [4.0, 10.0])
def test_the_model_that_made_the_samples_is_found(freedom: float) -> None:
    """Breaks if the degrees of freedom, or the common variance, are those of another model."""
    prior = variance_prior(drawn_samples(freedom, count=4000, size=10))
    assert prior.freedom == pytest.approx(freedom, rel=0.1)
    assert prior.variance == pytest.approx(4.0, rel=0.05)
    assert prior.most == 4000 * 9


def test_the_prior_solves_the_equations_of_the_paper() -> None:
    """Breaks if an equation of Smyth (2004), section 6.2, is another, also for unequal sizes."""
    given_samples = [[1.0, 2.0, 4.0], [0.0, 9.0, 5.0, 1.0], [0.1, 0.2, 0.1, 0.4, 0.2], [3.0, 8.0]]
    freedoms = np.array([len(sample) - 1 for sample in given_samples])
    variances = np.array([np.var(sample, ddof=1) for sample in given_samples])
    e = np.log(variances) - special.psi(freedoms / 2) + np.log(freedoms / 2)
    right = np.mean(
        (e - e.mean()) ** 2 * len(e) / (len(e) - 1) - special.polygamma(1, freedoms / 2)
    )
    d0 = optimize.brentq(lambda d: special.polygamma(1, d / 2) - right, 1e-3, 1e3)
    s0 = math.exp(e.mean() + special.psi(d0 / 2) - math.log(d0 / 2))
    prior = variance_prior(given_samples)
    assert (prior.freedom, prior.variance) == pytest.approx((d0, s0))
    drawn, freedom = prior.drawn(variances[0], freedoms[0])
    assert drawn == pytest.approx((d0 * s0 + 2 * variances[0]) / (d0 + 2))
    assert freedom == pytest.approx(d0 + 2)


@pytest.mark.parametrize("value", [1e-8, 1e-3, 0.1, 1.0, 5.0, 1e4, 1e9])
def test_the_inverse_of_trigamma(value: float) -> None:
    """Breaks if Newton's method ends early, or an asymptotic end is wrong."""
    assert float(special.polygamma(1, inverse_trigamma(value))) == pytest.approx(value, rel=1e-3)


def test_a_test_with_many_samples_that_scatter_alike_is_as_one_with_a_known_variance() -> None:
    """Breaks if nothing is gained: then twenty strategies of ten seeds hide what five show."""
    alike = drawn_samples(1e9, count=200, size=10)
    prior = variance_prior(alike)
    assert prior.freedom > 100
    sample = [3.0 + value for value in alike[0]]
    own, mean = np.var(sample, ddof=1), np.mean(sample)
    p = moderated_exceedance(sample, 0.0, prior)
    known = stats.norm.sf(mean / math.sqrt(max(own, 4.0) / 10))
    assert math.log10(p) == pytest.approx(math.log10(known), abs=0.5)
    assert p < exceedance(sample, 0.0)


def test_chance_gives_small_p_values_no_more_often_than_their_level() -> None:
    """Breaks if variances that are drawn together make false results."""
    random = np.random.default_rng(1)
    counts = {0.05: 0, 0.01: 0, 0.001: 0}
    studies, strategies = 300, 8
    for _ in range(studies):
        group: Samples = (random.normal(size=(strategies, 6)) - random.normal(size=(1, 6))).tolist()
        prior = variance_prior(group)
        for sample in group:
            p = moderated_exceedance(sample, 0.0, prior)
            for level in counts:
                counts[level] += p <= level
    for level, count in counts.items():
        # Those of one study share a reference, so that they are fewer than they look.
        chance = 5 * math.sqrt(level * studies * strategies)
        assert count <= level * studies * strategies + chance


@QUICK
@given(group=samples, border=st.floats(-5, 5))
def test_a_sample_has_to_show_by_itself_what_it_shows(group: Samples, border: float) -> None:
    """Breaks if a strategy that scatters more than the others borrows their certainty."""
    prior = variance_prior(group)
    for sample in group:
        p, by_itself = moderated_exceedance(sample, border, prior), exceedance(sample, border)
        assert 0 <= p <= 1
        assert p >= by_itself or by_itself <= 0.025


@QUICK
@given(group=samples, factor=st.sampled_from([2.0**k for k in (-20, -3, 5, 20)]))
def test_the_unit_does_not_matter(group: Samples, factor: float) -> None:
    """Breaks if losses in other units have other p-values."""
    scaled = [[factor * value for value in sample] for sample in group]
    prior, scaled_prior = variance_prior(group), variance_prior(scaled)
    for sample, other in zip(group, scaled, strict=True):
        p = moderated_exceedance(sample, 1.0, prior)
        assert moderated_exceedance(other, factor, scaled_prior) == pytest.approx(p, rel=1e-6)


def test_one_sample_has_nobody_to_ask() -> None:
    """Breaks if a single strategy is judged otherwise than by Student's t."""
    sample = [1.0, 2.0, 2.5]
    for group in ([sample], [sample, [1.0]], [sample, [3.0, 3.0, 3.0]], [sample, []]):
        prior = variance_prior(group)
        assert prior == VariancePrior()
        assert moderated_exceedance(sample, 0.5, prior) == exceedance(sample, 0.5)
    assert moderated_exceedance([1.0], 0.0, VariancePrior(1.0, 5.0, 9.0)) == 1.0


def test_a_sample_without_spread_has_that_of_the_others() -> None:
    """Breaks if runs that do not differ over seeds divide by zero, or are certain of anything."""
    prior = variance_prior([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.5, 0.5, 0.5]])
    assert math.isinf(prior.freedom)
    assert 1e-6 < moderated_exceedance([0.5, 0.5, 0.5], 0.0, prior) < 1
    assert moderated_exceedance([0.5, 0.5, 0.5], 0.6, prior) == 1.0
