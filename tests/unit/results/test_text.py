"""Tables and numbers as text."""

from __future__ import annotations

import math

import pytest

from mtl_runner.results.text import align, markdown_table, markdown_text, number


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.5678, 4, "1235"),
        (0.00012345, 2, "0.00012"),
        (1.0, 4, "1"),
        (math.nan, 4, ""),
        (None, 4, ""),
        (math.inf, 4, "inf"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    """Breaks if a table shows `nan`, or more digits than a mean of few seeds has."""
    assert number(value, digits) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Breaks if columns are shifted, or lines end in blanks."""
    assert align([["a", "b"], ["long", ""]]) == "a     b\n----  -\nlong"


def test_markdown_cells_stay_in_their_column() -> None:
    """Breaks if a bar, a tag or a line break in a name breaks the table."""
    assert markdown_table([["a|b"], ["<i>\nx"]]) == "| a\\|b |\n| --- |\n| \\<i\\> x |"
    assert markdown_text("[a](b) `c` ~d~") == "\\[a\\](b) \\`c\\` \\~d\\~"
