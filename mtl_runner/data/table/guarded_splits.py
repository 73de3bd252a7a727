"""Splits that keep the rows of a group together, or the shares of classes equal."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.data.table import cells
from mtl_runner.errors import ConfigError, suggest

if TYPE_CHECKING:
    import pandas as pd

BINS = 10  # a column of many numbers is stratified by its quantiles


def rows_by_fraction(
    frame: pd.DataFrame, fractions: tuple[float, float], group: Any, stratify: Any, seed: int
) -> dict[str, np.ndarray]:
    """Return the positions of the rows of each split, by scikit-learn's splitters.

    Args:
        frame: The table.
        fractions: The fractions for validation and test; with groups, roughly.
        group: Name of the column whose values are never spread over splits; None: there is none.
        stratify: Name of the column whose values every split holds in equal shares; None: likewise.
        seed: Seed of the shuffle.

    Raises:
        ConfigError: If a column is unknown, or has too few groups or too few rows of a class.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.guarded_splits import rows_by_fraction
        >>> frame = pd.DataFrame({"patient": [n // 2 for n in range(20)]})
        >>> rows = rows_by_fraction(frame, (0.2, 0.2), "patient", None, seed=0)
        >>> [sorted({n // 2 for n in rows[name]} & {n // 2 for n in rows["test"]}) == []
        ...  for name in ("train", "val")]
        [True, True]
    """
    val, test = fractions
    groups, strata = _groups(frame, group), _strata(frame, stratify)
    train, test_rows = _cut(np.arange(len(frame)), test, groups, strata, seed)
    train, val_rows = _cut(train, val / (1 - test), groups, strata, seed)
    return {"train": train, "val": val_rows, "test": test_rows}


def fold_rows(
    frame: pd.DataFrame, folds: int, group: Any, stratify: Any, seed: int
) -> list[np.ndarray]:
    """Return the positions of the rows of each fold; arguments as :func:`rows_by_fraction`.

    Raises:
        ConfigError: If a column is unknown, or has too few groups or too few rows of a class.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.guarded_splits import fold_rows
        >>> frame = pd.DataFrame({"state": ["new", "used"] * 15})
        >>> [frame["state"].iloc[rows].eq("new").sum().item()
        ...  for rows in fold_rows(frame, 3, None, "state", seed=0)]
        [5, 5, 5]
    """
    groups, strata = _groups(frame, group), _strata(frame, stratify)
    return _folds(np.arange(len(frame)), folds, groups, strata, seed)


def _cut(
    rows: np.ndarray,
    fraction: float,
    groups: np.ndarray | None,
    strata: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return most of some rows, and a fraction of them."""
    from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

    if groups is not None and strata is not None:
        first, *following = _folds(rows, max(2, round(1 / fraction)), groups, strata, seed)
        return np.concatenate(following), first
    splitter = (StratifiedShuffleSplit if groups is None else GroupShuffleSplit)(
        1, test_size=fraction, random_state=seed
    )
    labels = None if strata is None else _without_rare(strata[rows], 2)
    members = None if groups is None else groups[rows]
    try:
        train, part = next(splitter.split(rows, labels, members))
    except ValueError as error:
        raise _too_few(groups is not None, error) from None
    return rows[train], rows[part]


def _folds(
    rows: np.ndarray,
    folds: int,
    groups: np.ndarray | None,
    strata: np.ndarray | None,
    seed: int,
) -> list[np.ndarray]:
    """Return rows in folds of about equal size."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(
        folds, shuffle=True, random_state=seed
    )
    # One stratum for all balances the sizes of folds that keep groups together.
    labels = np.zeros(len(rows), int) if strata is None else _without_rare(strata[rows], folds)
    members = None if groups is None else groups[rows]
    if members is not None and len(np.unique(members)) < folds:
        raise _too_few(True, f"{len(np.unique(members))} groups for {folds} folds")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class that some fold lacks
            return [rows[part] for _, part in splitter.split(rows, labels, members)]
    except ValueError as error:
        raise _too_few(groups is not None, error) from None


def _too_few(has_groups: bool, reason: object) -> ConfigError:
    key = "group" if has_groups else "stratify"
    text = str(reason).splitlines()[0].rstrip(".")
    return ConfigError(
        f"data.split.{key}: the rows cannot be split like that ({text}); choose another column, or larger fractions."
    )


def _column(frame: pd.DataFrame, name: Any, key: str) -> pd.Series:
    if name not in frame.columns:
        raise ConfigError(
            f"data.split.{key}={name!r} is not a column of the table; {suggest(str(name), map(str, frame.columns))}."
        )
    column: pd.Series = frame[name]
    return column


def _groups(frame: pd.DataFrame, name: Any) -> np.ndarray | None:
    """Return the number of each row's group; a row without one is a group of its own."""
    if name is None:
        return None
    codes = _column(frame, name, "group").factorize()[0].astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    return codes


def _strata(frame: pd.DataFrame, name: Any) -> np.ndarray | None:
    """Return the number of each row's stratum; missing values are one of their own."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if name is None:
        return None
    values = _column(frame, name, "stratify")
    if is_numeric_dtype(values) and values.nunique() > cells.MANY_VALUES:
        values = pd.Series(pd.qcut(values, BINS, labels=False, duplicates="drop"))
    return values.factorize()[0].astype(np.int64) + 1


def _without_rare(strata: np.ndarray, least: int) -> np.ndarray:
    """Return strata in which those of fewer rows are one; they join the largest if still few."""
    numbers, inverse, counts = np.unique(strata, return_inverse=True, return_counts=True)
    rare = counts < least
    if not rare.any():
        return strata
    to_few = int(counts[rare].sum()) < least
    joined = numbers[counts.argmax()] if to_few else numbers.max() + 1
    return np.where(rare, joined, numbers)[inverse]
