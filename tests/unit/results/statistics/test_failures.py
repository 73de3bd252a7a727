"""Failed runs of two strategies, compared by a sign test."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from mtl_runner.results.statistics.failures import Failures, failures, sign_test
from tests.unit.results.evidence_builders import strategy


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (6, 0), (8, 1), (1, 8), (3, 3), (40, 20)])
def test_the_sign_test_is_scipys(lost: int, won: int) -> None:
    """Breaks if the p-value is two-sided, or of the other direction."""
    expected = binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert sign_test(lost, won) == pytest.approx(expected)


def test_seeds_that_both_failed_or_one_did_not_run_are_no_evidence() -> None:
    """Breaks if a seed counts that tells nothing of which one fails more often."""
    s = strategy("s", "strategy", failed=[0, 1, 2])
    equal = strategy("equal", "equal", seeds=10, failed=[2, 5, 9])
    assert failures(s, equal) == Failures(failed=3, runs=10, reliable=False, lost=2, won=1)
    assert failures(equal, s) == Failures(failed=3, runs=8, reliable=False, lost=1, won=2)
    assert failures(s, equal).p == 0.5


def test_without_a_reference_nothing_failed() -> None:
    """Breaks if a missing reference is one that diverged."""
    assert failures(strategy("s", "strategy", failed=[0]), None) == Failures()
