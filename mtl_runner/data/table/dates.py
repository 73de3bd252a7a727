"""Columns of dates: how they are written, and the numbers that a model learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtl_runner.data.table import cells
from mtl_runner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# How dates are written, in the format codes of `strptime`. Of two that fit, the first is taken.
DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%d-%b-%Y")
CLOCKS = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", "T%H:%M:%S", "T%H:%M", "T%H:%M:%S.%f")
FORMATS = tuple(f"{day}{clock}" for day in DAYS for clock in CLOCKS)
DAYS_PER_YEAR = 365.2425


def date_format(values: pd.Series) -> str | None:
    """Return how the dates of a column are written; None if it holds anything else.

    Args:
        values: The column; a column of dates of its own type has the format ``""``.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.dates import date_format
        >>> date_format(pd.Series(["2021-01-31", None])), date_format(pd.Series(["31.1.", "x"]))
        ('%Y-%m-%d', None)
    """
    import pandas as pd
    from pandas.api.types import is_datetime64_any_dtype

    if is_datetime64_any_dtype(values):
        return ""
    known = values.dropna()
    if not cells.is_text(values) or not len(known):
        return None
    known = known.astype(str)
    for form in FORMATS:
        # Most columns are told by their first cell.
        for part in (known.iloc[:1], known):
            if pd.to_datetime(part, format=form, errors="coerce").isna().any():
                break
        else:
            return form
    return None


@dataclass(frozen=True)
class DateColumn:
    """A fitted feature column of dates.

    A date becomes its day, counted from the mean of the training rows, its weekday, and sine and
    cosine of the day of the year; where the training rows hold times, sine and cosine of the time
    of the day, too. A missing date is all zero.

    Attributes:
        name: Name of the column in the table.
        format: How the dates are written; ``""``: they are dates of their own type.
        mean: The day, counted from 1970, that is subtracted.
        scale: What the difference is divided by.
        clock: Whether the time of the day counts.
        indicator: Whether one more number says (0 or 1) that the date was missing.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from mtl_runner.data.table.dates import DateColumn
        >>> dates = pd.Series(["2021-01-01", "2021-01-03"])
        >>> column = DateColumn.fit(dates, "signed_up", "%Y-%m-%d", scale=True)
        >>> numbers = np.zeros((2, column.width))
        >>> column.write(dates, numbers)
        >>> numbers[:, 0].tolist()
        [-1.0, 1.0]
    """

    name: str
    format: str
    mean: float = 0.0
    scale: float = 1.0
    clock: bool = False
    indicator: bool = False

    @classmethod
    def fit(cls, values: pd.Series, name: str, form: str, *, scale: bool) -> DateColumn:
        """Return the column fitted on the training rows.

        Args:
            values: The training rows.
            name: Name of the column.
            form: How its dates are written (:func:`date_format`).
            scale: Whether the days get standard deviation 1.
        """
        days = _days(values, name, form)
        known = days[~np.isnan(days)]
        mean = float(known.mean()) if len(known) else 0.0
        deviation = float(known.std()) if scale and len(known) else 1.0
        clock = bool((known % 1 != 0).any())
        return cls(name, form, mean, deviation or 1.0, clock, len(known) < len(days))

    @property
    def width(self) -> int:
        """How many numbers a row has in this column."""
        return 4 + 2 * self.clock + self.indicator

    @property
    def numbers(self) -> str:
        """The names of the numbers, in words."""
        clock = ", sine and cosine of the time of the day" if self.clock else ""
        flag = ", whether it is missing" if self.indicator else ""
        return f"day, weekday, sine and cosine of the day of the year{clock}{flag}"

    def write(self, values: pd.Series, out: np.ndarray) -> None:
        """Write the column's numbers into ``out`` ``[N, width]``, which holds zeros.

        Raises:
            DataError: If a cell is no date as the training rows write them.
        """
        days = _days(values, self.name, self.format)
        known = ~np.isnan(days)
        day = days[known]
        angles = [_day_of_year(day) / DAYS_PER_YEAR, *([day % 1] if self.clock else [])]
        numbers = [(day - self.mean) / self.scale, ((np.floor(day) + 3) % 7 - 3) / 2]
        for angle in angles:
            numbers += [np.sin(2 * np.pi * angle), np.cos(2 * np.pi * angle)]
        out[known, : len(numbers)] = np.stack(numbers, 1)
        if self.indicator:
            out[~known, -1] = 1


def _days(values: pd.Series, name: str, form: str) -> np.ndarray:
    """Return the dates of a column as days since 1970; NaN where they are missing."""
    import pandas as pd
    from pandas.api.types import is_datetime64_any_dtype

    if is_datetime64_any_dtype(values):
        dates = values
    else:
        text = values.astype(str).where(values.notna())
        dates = pd.to_datetime(text, format=form or "ISO8601", errors="coerce")
        wrong = values[dates.isna() & values.notna()]
        if len(wrong):
            raise DataError(
                f"Column {name!r} holds dates ({form or 'ISO 8601'}) in the training rows, but {wrong.iloc[0]!r} in row {cells.row_number(wrong)}; clean it or leave it out."
            )
    if getattr(dates.dtype, "tz", None) is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = dates.astype("datetime64[ns]").to_numpy()
    days = moments.astype("datetime64[ns]").astype(np.int64) / 86_400e9
    return np.where(np.isnat(moments), np.nan, days)


def _day_of_year(days: np.ndarray) -> np.ndarray:
    """Return how many days have passed since the beginning of the year."""
    dates = np.floor(days).astype(np.int64).astype("datetime64[D]")
    passed: np.ndarray = (dates - dates.astype("datetime64[Y]")).astype(np.int64) + days % 1
    return passed
