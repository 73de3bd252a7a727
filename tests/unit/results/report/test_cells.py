"""Heads and cells of tables."""

from __future__ import annotations

import math

from mtl_runner.results.report.cells import Head, Number


def test_a_column_of_names_is_sorted_as_text() -> None:
    """Breaks if the script of the page sorts names as numbers."""
    assert [Head("strategy").numeric, Head("loss", "low").numeric] == [False, True]


def test_a_cell_is_sorted_by_the_whole_number() -> None:
    """Breaks if two means that print alike are sorted at random, or NaN is a number."""
    assert float(Number(1 / 3, 2).data) == 1 / 3
    assert [Number(v).known for v in (0.0, math.nan, math.inf)] == [True, False, False]
