"""Feature columns to numbers: numeric columns imputed and scaled, categories one-hot; the fitted state is plain numbers.

Plain numbers, not pickled estimators, so that a checkpoint loads with ``weights_only=True``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FeatureColumn:
    """One fitted feature column: numeric if ``categories`` is None.

    ``indicator``: whether a 0/1 column says where the value was missing (when it was in the training split).
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0
    fill: float = 0.0  # what stands for a missing value: the training mean
    indicator: bool = False
    categories: list[str] | None = None

    @property
    def width(self) -> int:
        return 1 + self.indicator if self.categories is None else len(self.categories)

    def write(self, values: pd.Series, out: np.ndarray) -> None:
        """Write the column's numbers into ``out`` ``[N, width]``; unknown and missing categories are all zero."""
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
    """The fitted columns, in order."""

    columns: list[FeatureColumn]

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, names: list[str], *, scale: bool, max_categories: int
    ) -> Features:
        """Fit on the training rows: mean and standard deviation of numeric columns, the categories of the others."""
        return cls([_fit(frame[name], name, scale, max_categories) for name in names])

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Features:
        return cls([FeatureColumn(**column) for column in state["columns"]])

    def state(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {"columns": [asdict(column) for column in self.columns]}

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns)

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Numbers ``[N, width]`` in float32. Raises ``DataError`` for a missing column or text in a numeric one."""
        out = np.zeros((len(frame), self.width), dtype=np.float32)
        at = 0
        for column in self.columns:
            if column.name not in frame.columns:
                raise DataError(
                    f"The table has no column {column.name!r}, which the training table had."
                )
            column.write(frame[column.name], out[:, at : at + column.width])
            at += column.width
        return out


def _text(values: pd.Series) -> pd.Series:
    return values.astype(str).where(values.notna())


def _numbers(name: str, values: pd.Series) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = np.isnan(numbers) & values.notna().to_numpy()
    if text.any():
        raise DataError(
            f"FeatureColumn {name!r} is numeric in the training rows but holds {values[text].iloc[0]!r}; clean it or leave it out."
        )
    return np.where(np.isinf(numbers), np.nan, numbers)


def _fit(values: pd.Series, name: str, scale: bool, max_categories: int) -> FeatureColumn:
    from pandas.api.types import is_numeric_dtype

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
