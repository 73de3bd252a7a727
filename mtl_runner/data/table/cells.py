"""The cells of a column: which are numbers, and which of them a model can train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtl_runner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

LARGEST = float(np.finfo(np.float32).max)
STRAY_SHARE = 0.1  # a column with no more text than this beside its numbers was meant to be numeric
MANY_VALUES = 20  # fewer different values are classes or categories, however few the rows are
ROWS_PER_VALUE = 3  # fewer rows per value say too little about any of them


def numbers(values: pd.Series) -> np.ndarray:
    """Return the cells as floats; NaN where they are missing or text.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.cells import numbers
        >>> numbers(pd.Series(["1.5", None, "12 %"])).tolist()
        [1.5, nan, nan]
    """
    import pandas as pd

    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def cells_of_text(values: pd.Series) -> pd.Series:
    """Return the cells that are neither missing nor numbers."""
    text: pd.Series = values[np.isnan(numbers(values)) & values.notna().to_numpy()]
    return text


def row_number(cells: pd.Series) -> object:
    """Return the row of the first of some cells, counted from 1 below the header line."""
    label = cells.index[0]
    return int(label) + 1 if isinstance(label, int | np.integer) else label


def check_range(values: pd.Series, column: str) -> None:
    """Raise ``DataError`` if a cell is infinite, or beyond the range of 32-bit numbers."""
    too_large = values[np.abs(numbers(values)) > LARGEST]
    if len(too_large):
        raise DataError(
            f"Column {column!r} holds {too_large.iloc[0]} in row {row_number(too_large)}; a number must lie within ±{LARGEST:.1e}, and a missing one is an empty cell."
        )


def stray_text(values: pd.Series) -> pd.Series:
    """Return the few cells that are no numbers in a column of text that otherwise holds numbers.

    A single such cell makes text of the whole column. In a column of numbers, of categories or of
    other text there are none.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.cells import stray_text
        >>> stray_text(pd.Series([*map(str, range(99)), "n.a.?"])).to_dict()
        {99: 'n.a.?'}
    """
    known = values.dropna().astype(str) if is_text(values) else values.iloc[:0]
    text = cells_of_text(known)
    return text if len(text) <= STRAY_SHARE * len(known) else text.iloc[:0]


def are_too_many(distinct: int, rows: int) -> bool:
    """Return whether so many different values in so few rows are hardly classes or categories."""
    return distinct > MANY_VALUES and distinct * ROWS_PER_VALUE > rows


def is_text(values: pd.Series) -> bool:
    """Return whether a column was read as text; declared categories are none."""
    import pandas as pd
    from pandas.api.types import is_object_dtype, is_string_dtype

    declared = isinstance(values.dtype, pd.CategoricalDtype)
    return (is_object_dtype(values) or is_string_dtype(values)) and not declared
