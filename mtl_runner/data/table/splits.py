"""The rows of a table as train, val and test: by fractions, a column, files or folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.data.dataset import SPLITS, split_slices
from mtl_runner.data.table.files import read_table
from mtl_runner.data.table.guarded_splits import fold_rows, rows_by_fraction
from mtl_runner.data.table.parquet import open_table
from mtl_runner.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    import pandas as pd


def read_splits(
    path: str,
    split: Mapping[str, Any],
    seed: int,
    read: Mapping[str, Any] | None = None,
    stream: bool = False,
) -> dict[str, pd.DataFrame]:
    r"""Return the rows of each split.

    Args:
        path: The table.
        split: ``data.split``: ``{val: 0.15, test: 0.15}`` fractions, ``{column: name}`` of a column
            that holds train, val or test, ``{val: file, test: file}``, or ``{folds: 10, fold: 3}``,
            where the fold is the test split and the one after it the validation split. Beside
            fractions and folds, ``group`` names a column whose values stay in one split, and
            ``stratify`` one whose values every split has in equal shares.
        seed: Seed of the shuffle before fractions and folds.
        read: ``data.read``: how a text file is read.
        stream: Whether the rows stay on the disk: a
            :class:`~mtl_runner.data.table.parquet.LazyFrame`, which has of a data frame what is
            asked of one here and by all that is fitted on columns.

    Raises:
        ConfigError: If ``split`` is none of the four, ``group`` stands beside another, or a file is
            the training table itself.
        DataError: If a file cannot be read, or a split would be empty.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data.table.splits import read_splits
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "houses.csv")
        ...     _ = file.write_text("area,part\n50,train\n60,val\n70,test\n80,train\n")
        ...     splits = read_splits(str(file), {"column": "part"}, seed=0)
        >>> {name: rows["area"].tolist() for name, rows in splits.items()}
        {'train': [50, 80], 'val': [60], 'test': [70]}
    """
    read_rows: Callable[[str], Any] = partial(open_table if stream else read_table, options=read)
    frame = read_rows(path)
    files = {name: split.get(name) for name in ("val", "test")}
    by_files = all(isinstance(file, str) for file in files.values())
    for name, file in files.items() if by_files else ():
        if _are_one_file(str(file), path):
            raise ConfigError(
                f"data.split: {name}={file!r} is the table of the training rows, so that models would be judged by what they have learned; "
                "give a file of other rows, or fractions such as {val: 0.15, test: 0.15}."
            )
    return split_frame(frame, split, seed, read_rows)


def files_of_splits(path: str, split: Mapping[str, Any]) -> dict[str, str]:
    """Return the file of the rows of each split.

    Args:
        path: The table.
        split: ``data.split``.

    Example:
        >>> files_of_splits("a.csv", {"val": "b.csv", "test": "c.csv"})
        {'train': 'a.csv', 'val': 'b.csv', 'test': 'c.csv'}
        >>> files_of_splits("a.csv", {"val": 0.1, "test": 0.1})
        {'train': 'a.csv', 'val': 'a.csv', 'test': 'a.csv'}
    """
    files = {name: split.get(name) for name in ("val", "test")}
    is_cut = "column" in split or {"folds", "fold"} <= set(split)
    if is_cut or not all(isinstance(file, str) for file in files.values()):
        return dict.fromkeys(SPLITS, path)
    return {"train": path, **{name: str(file) for name, file in files.items()}}


def _are_one_file(path: str, other_path: str) -> bool:
    files = [Path(p).expanduser() for p in (path, other_path)]
    return all(file.exists() for file in files) and files[0].samefile(files[1])


def split_frame(
    frame: pd.DataFrame,
    split: Mapping[str, Any],
    seed: int,
    read_rows: Callable[[str], Any] = read_table,
) -> dict[str, pd.DataFrame]:
    """Return the rows of each split of a table in memory; see :func:`read_splits`."""
    guards = {key: split.get(key) for key in ("group", "stratify")}
    guarded = any(value is not None for value in guards.values())
    split = {key: value for key, value in split.items() if key not in guards}
    by_files = all(isinstance(split.get(name), str) for name in ("val", "test"))
    if guarded and ("column" in split or by_files):
        raise ConfigError(
            "data.split.group and data.split.stratify go with fractions or folds; a column or files say already which row is where."
        )
    if "column" in split:  # the defaults {val, test} may still stand beside it
        return _by_column(frame, str(split["column"]))
    order = np.random.default_rng(seed).permutation(len(frame))
    if {"folds", "fold"} <= set(split):
        folds, fold = _fold_numbers(split["folds"], split["fold"])
        parts = (
            fold_rows(frame, folds, seed=seed, **guards)
            if guarded
            else np.array_split(order, folds)
        )
        rows_of = _folds(parts, fold)
        return {name: frame.take(rows) for name, rows in rows_of.items()}
    if by_files:
        return {
            "train": frame,
            "val": read_rows(split["val"]),
            "test": read_rows(split["test"]),
        }
    if set(split) == {"val", "test"} and all(
        isinstance(value, int | float) for value in split.values()
    ):
        fractions = float(split["val"]), float(split["test"])
        slices = split_slices(len(frame), *fractions)
        if guarded:
            rows_of = rows_by_fraction(frame, fractions, seed=seed, **guards)
            return {name: frame.take(rows) for name, rows in rows_of.items()}
        return {name: frame.take(order[rows]) for name, rows in slices.items()}
    raise ConfigError(
        f"data.split={split} is not understood; give {{val: 0.15, test: 0.15}}, {{column: name}}, {{val: file, test: file}} or {{folds: 10, fold: 3}}."
    )


def _by_column(frame: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    if column not in frame.columns:
        raise ConfigError(
            f"data.split.column={column!r} is not a column of the table; {suggest(column, frame.columns)}."
        )
    unknown = frame[column][~frame[column].isin(SPLITS)]
    if len(unknown):
        raise DataError(
            f"Column {column!r} says which split a row is in, but holds {unknown.iloc[0]!r}; allowed: {', '.join(SPLITS)}."
        )
    groups = {name: frame.take(np.flatnonzero(frame[column] == name)) for name in SPLITS}
    for name, group in groups.items():
        if len(group) == 0:
            raise DataError(
                f"The {name} split is empty: column {column!r} never holds {name!r} (it should hold train, val and test)."
            )
    return groups


def _fold_numbers(folds: Any, fold: Any) -> tuple[int, int]:
    """Return the number of folds and that of the test fold, checked."""
    if (
        not isinstance(folds, int)
        or not isinstance(fold, int)
        or folds < 3
        or not 0 <= fold < folds
    ):
        raise ConfigError(
            f"data.split needs folds >= 3 and 0 <= fold < folds; found folds={folds!r}, fold={fold!r}."
        )
    return folds, fold


def _folds(parts: Sequence[np.ndarray], fold: int) -> dict[str, np.ndarray]:
    """Return the rows of each split: a fold for test, the one after it for validation."""
    following = (fold + 1) % len(parts)
    train = np.concatenate([part for k, part in enumerate(parts) if k not in (fold, following)])
    return {"train": train, "val": parts[following], "test": parts[fold]}
