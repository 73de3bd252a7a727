"""The cells of a column: numbers, text, and what is beyond the range of numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_runner.data.table.cells import (
    are_too_many,
    cells_of_text,
    check_range,
    is_text,
    numbers,
    row_number,
    stray_text,
)
from mtl_runner.errors import DataError
from tests.unit.data.table.houses import fails


def test_text_is_told_from_missing_cells() -> None:
    """Breaks if a gap counts as a typing mistake."""
    values = pd.Series([1, "2.5", None, "x", np.nan], index=[7, 5, 3, 8, 1], dtype=object)
    assert np.isnan(numbers(values)).tolist() == [False, False, True, True, True]
    assert cells_of_text(values).to_dict() == {8: "x"}
    assert row_number(cells_of_text(values)) == 9, "the first row below the header is row 1"


def test_rows_with_names_are_called_by_them() -> None:
    """Breaks if a frame with an index of its own, given to `predict`, fails at the error."""
    assert row_number(pd.Series(["x"], index=["Bonn"])) == "Bonn"


@pytest.mark.parametrize(("wrong", "stray"), [(1, 1), (10, 10), (11, 0), (0, 0)])
def test_few_cells_of_text_among_numbers_are_mistakes(wrong: int, stray: int) -> None:
    """Breaks if a column of codes such as 12a is called numeric, or a typo goes unseen."""
    values = pd.Series([*map(str, range(100 - wrong)), *["?"] * wrong])
    assert len(stray_text(values)) == stray


def test_declared_categories_and_numbers_hold_no_stray_text() -> None:
    """Breaks if a Parquet file whose author declared categories is refused."""
    texts = [*map(str, range(99)), "?"]
    assert is_text(pd.Series(texts))
    assert not is_text(pd.Series(texts, dtype="category"))
    assert not len(stray_text(pd.Series(texts, dtype="category")))
    assert not len(stray_text(pd.Series(range(9))))


@pytest.mark.parametrize(
    ("distinct", "rows", "too_many"), [(20, 20, False), (21, 62, True), (21, 63, False)]
)
def test_values_that_hardly_repeat_are_too_many(distinct: int, rows: int, too_many: bool) -> None:
    """Breaks if small tables are refused, or a class per row is not."""
    assert are_too_many(distinct, rows) == too_many


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_numbers_beyond_32_bits_are_refused(value: float) -> None:
    """Breaks if a number that training sees as infinity goes through."""
    check_range(pd.Series([3e38, np.nan, -3e38]), "x")
    with fails(DataError, f"Column 'x' holds {value} in row 2; a number must lie within ±3.4e+38"):
        check_range(pd.Series([1.0, value]), "x")
