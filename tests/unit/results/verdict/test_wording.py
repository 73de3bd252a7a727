"""Differences in words: readable numbers, and no claim that was not shown."""

from __future__ import annotations

import pytest

from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.verdict.sentences import describe
from mtl_runner.results.verdict.wording import listed, paired_words, same_words
from tests.unit.results.verdict.made_verdicts import verdict, versus

WORDS = [
    (
        versus(-0.0799, -0.329, 0.17),
        "8 % better than equal weights (95 % interval: 33 % better to 17 % worse;",
    ),
    (
        versus(-0.72, -0.78, -0.65),
        "72 % better than equal weights (95 % interval: 65 to 78 % better;",
    ),
    (
        versus(2.25, 1.3, 3.19),
        "3.2 times the loss of equal weights (95 % interval: 2.3 to 4.2 times the loss;",
    ),
    (
        versus(0.9, 0.3, 1.6),
        "90 % worse than equal weights (95 % interval: 30 % worse to 2.6 times the loss;",
    ),
    (versus(1.99e-7, -1e-6, 1e-6), "the same as equal weights (95 % interval: the same;"),
    (
        versus(0.01, 0.0001, 0.02),
        "1 % worse than equal weights (95 % interval: the same to 2 % worse;",
    ),
    (
        versus(-0.4, -0.4012, -0.3988),
        "40 % better than equal weights (95 % interval: 39.9 to 40.1 % better;",
    ),
    (
        versus(-0.998, -0.999, -0.99),
        "99.8 % better than equal weights (95 % interval: 99 to 99.9 % better;",
    ),
]


@pytest.mark.parametrize(("equal", "words"), WORDS)
def test_differences_in_words(equal: Paired, words: str) -> None:
    """Breaks if an interval says `-17 to 32.9 %` better, or no difference `1.99e-05 %`."""
    assert f": {words[:-1]}" in describe(verdict("s", "undecided", equal))


def test_one_and_several_are_told_apart() -> None:
    """Breaks if a list of one gets an "and", or one seed an "s"."""
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
    assert (paired_words(1, "seed"), paired_words(2, "fold")) == ("1 paired seed", "2 paired folds")
    assert (same_words("fold"), same_words("run")) == ("the same fold", "the same seed and fold")
