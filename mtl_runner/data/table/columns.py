"""Feature columns to numbers: numeric ones imputed and scaled, categories one-hot, dates.

What is fitted are plain numbers and strings, not pickled estimators, so that a checkpoint loads
with ``weights_only=True``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.data.table import cells
from mtl_runner.data.table.dates import DateColumn, date_format
from mtl_runner.errors import DataError

log = logging.getLogger("mtl_runner")

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FeatureColumn:
    """A fitted feature column of a table, numeric or a category.

    Attributes:
        name: Name of the column in the table.
        mean: Subtracted from a number.
        scale: What the difference is divided by.
        fill: What stands for a missing number: the mean of the training rows.
        indicator: Whether one more number says (0 or 1) that the value was missing; so where any
            was in the training rows.
        categories: One number (0 or 1) for each of these; None for a numeric column.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from mtl_runner.data.table.columns import FeatureColumn
        >>> numbers = np.zeros((3, 2))
        >>> FeatureColumn("city", categories=["Bonn", "Rome"]).write(
        ...     pd.Series(["Rome", None, "Bonn"]), numbers
        ... )
        >>> numbers.tolist()
        [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0
    fill: float = 0.0
    indicator: bool = False
    categories: list[str] | None = None

    @property
    def width(self) -> int:
        """How many numbers a row has in this column."""
        return 1 + self.indicator if self.categories is None else len(self.categories)

    def write(self, values: pd.Series, out: np.ndarray) -> None:
        """Write the column's numbers into ``out`` ``[N, width]``, which holds zeros.

        An unknown or missing category is all zero.
        """
        import pandas as pd

        if self.categories is not None:
            codes = pd.Index(self.categories).get_indexer(pd.Index(_text(values)))
            known = codes >= 0
            out[np.flatnonzero(known), codes[known]] = 1
            return
        numbers = _numbers(self.name, values)
        missing = np.isnan(numbers)
        out[:, 0] = (np.where(missing, self.fill, numbers) - self.mean) / self.scale
        if self.indicator:
            out[:, 1] = missing


@dataclass(frozen=True)
class Features:
    """The fitted feature columns of a table, in order.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.columns import Features
        >>> train = pd.DataFrame({"area": [50.0, 70.0], "city": ["Bonn", "Rome"]})
        >>> features = Features.fit(train, ["area", "city"], scale=True, max_categories=100)
        >>> features.transform(pd.DataFrame({"area": [60.0], "city": ["Rome"]})).tolist()
        [[0.0, 0.0, 1.0]]
    """

    columns: list[FeatureColumn | DateColumn]

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, names: list[str], *, scale: bool, max_categories: int
    ) -> Features:
        """Return columns fitted on the training rows.

        Args:
            frame: The training rows.
            names: Names of the feature columns, in order.
            scale: Whether numeric columns, and days, get mean 0 and standard deviation 1.
            max_categories: How many categories of a column, the most frequent ones, get a number.
        """
        return cls([_fit(frame[name], name, scale, max_categories) for name in names])

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Features:
        """Return the columns of a saved :meth:`state`."""
        return cls(
            [
                DateColumn(**column) if "format" in column else FeatureColumn(**column)
                for column in state["columns"]
            ]
        )

    def state(self) -> dict[str, Any]:
        """Return the fitted columns as plain numbers and strings, for the checkpoint."""
        return {"columns": [asdict(column) for column in self.columns]}

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return sum(column.width for column in self.columns)

    def category_blocks(self) -> dict[str, tuple[int, int]]:
        """Return start and width of the numbers of each column of categories, by its name."""
        blocks: dict[str, tuple[int, int]] = {}
        start = 0
        for column in self.columns:
            if isinstance(column, FeatureColumn) and column.categories:
                blocks[column.name] = (start, column.width)
            start += column.width
        return blocks

    def unknown_categories(self, frame: pd.DataFrame) -> dict[str, tuple[int, list[str]]]:
        """Return the categories that no training row had, which count as missing.

        Args:
            frame: The rows of a table.

        Returns:
            For each column that holds some, in how many rows, and which.

        Example:
            >>> import pandas as pd
            >>> train = pd.DataFrame({"city": ["Bonn", "Rome"]})
            >>> features = Features.fit(train, ["city"], scale=True, max_categories=100)
            >>> features.unknown_categories(pd.DataFrame({"city": ["Oslo", "Rome", None, "Oslo"]}))
            {'city': (2, ['Oslo'])}
        """
        unknown = {}
        for column in self.columns:
            if not isinstance(column, FeatureColumn) or column.categories is None:
                continue
            if column.name in frame.columns:
                text = _text(frame[column.name]).dropna()
                text = text[~text.isin(column.categories)]
                if len(text):
                    unknown[column.name] = (len(text), text.unique().tolist())
        return unknown

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the rows of a table as numbers, ``[N, width]`` in float32.

        Raises:
            DataError: If a column is missing, or a numeric one holds text or infinity.
        """
        numbers = np.zeros((len(frame), self.width), dtype=np.float32)
        start = 0
        for column in self.columns:
            if column.name not in frame.columns:
                raise DataError(
                    f"The table has no column {column.name!r}, which the training table had."
                )
            column.write(frame[column.name], numbers[:, start : start + column.width])
            start += column.width
        return numbers


def _text(values: pd.Series) -> pd.Series:
    return values.astype(str).where(values.notna())


def _numbers(name: str, values: pd.Series) -> np.ndarray:
    """Return the values as floats, NaN where they are missing."""
    text = cells.cells_of_text(values)
    if len(text):
        raise DataError(
            f"Column {name!r} is numeric in the training rows but holds {text.iloc[0]!r}; clean it or leave it out."
        )
    cells.check_range(values, name)
    return cells.numbers(values)


def warn_about_categories(
    frames: Mapping[str, pd.DataFrame], names: list[str], max_categories: int
) -> None:
    """Warn of columns that are hardly categories: numbers with a typo, names.

    Args:
        frames: The rows of each split.
        names: Names of the feature columns.
        max_categories: How many categories of a column get a number.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    for name in names:
        values = pd.concat([frame[name] for frame in frames.values() if name in frame])
        if is_numeric_dtype(values) or date_format(frames["train"][name]) is not None:
            continue
        known, distinct, stray = values.count(), values.nunique(), cells.stray_text(values)
        if len(stray):
            log.warning(
                "Column %r is a number in %d of %d rows, but row %s holds %r, so that every value became a category; clean it, or leave it out.",
                name,
                known - len(stray),
                known,
                cells.row_number(stray),
                stray.iloc[0],
            )
        elif distinct > max_categories or cells.are_too_many(distinct, known):
            log.warning(
                "Column %r holds no numbers but %d different values in %d rows, of which the most frequent (at most %d) became an input each; leave it out (data.features='{drop: [%s]}'), embed it (model.embeddings=auto), or make numbers of dates and of numbers with units or separators.",
                name,
                distinct,
                known,
                max_categories,
                name,
            )


def _fit(
    values: pd.Series, name: str, scale: bool, max_categories: int
) -> FeatureColumn | DateColumn:
    from pandas.api.types import is_numeric_dtype

    form = date_format(values)
    if form is not None:
        return DateColumn.fit(values, name, form, scale=scale)
    if not is_numeric_dtype(values):
        counts = _text(values).value_counts()  # most frequent first
        return FeatureColumn(name, categories=sorted(counts.index[:max_categories]))
    numbers = _numbers(name, values)
    known = numbers[~np.isnan(numbers)]
    deviation = float(known.std()) if scale and len(known) else 1.0
    mean = float(known.mean()) if len(known) else 0.0
    return FeatureColumn(
        name, mean if scale else 0.0, deviation or 1.0, mean, indicator=len(known) < len(numbers)
    )
