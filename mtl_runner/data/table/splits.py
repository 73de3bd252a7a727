"""The rows of a table as train, val and test: by fractions, a column, files or folds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.data.dataset import SPLITS, split_slices
from mtl_runner.data.table.files import read_table
from mtl_runner.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    import pandas as pd


def read_splits(path: str, split: Mapping[str, Any], seed: int) -> dict[str, pd.DataFrame]:
    r"""Return the rows of each split.

    Args:
        path: The table.
        split: ``data.split``: ``{val: 0.15, test: 0.15}`` fractions, ``{column: name}`` of a column
            that holds train, val or test, ``{val: file, test: file}``, or ``{folds: 10, fold: 3}``,
            where the fold is the test split and the one after it the validation split.
        seed: Seed of the shuffle before fractions and folds.

    Raises:
        ConfigError: If ``split`` is none of the four, or a file is the training table itself.
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
    frame = read_table(path)
    if "column" in split:  # the defaults {val, test} may still stand beside it
        return _by_column(frame, str(split["column"]))
    order = np.random.default_rng(seed).permutation(len(frame))
    if {"folds", "fold"} <= set(split):
        rows_of = _folds(order, split["folds"], split["fold"])
        return {name: frame.iloc[rows] for name, rows in rows_of.items()}
    if all(isinstance(split.get(name), str) for name in ("val", "test")):
        frames = {name: read_table(split[name]) for name in ("val", "test")}
        for name in frames:
            if Path(split[name]).expanduser().samefile(Path(path).expanduser()):
                raise ConfigError(
                    f"data.split: {name}={split[name]!r} is the table of the training rows, so that models would be judged by what they have learned; "
                    "give a file of other rows, or fractions such as {val: 0.15, test: 0.15}."
                )
        return {"train": frame, **frames}
    if set(split) == {"val", "test"} and all(
        isinstance(value, int | float) for value in split.values()
    ):
        slices = split_slices(len(frame), float(split["val"]), float(split["test"]))
        return {name: frame.iloc[order[rows]] for name, rows in slices.items()}
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
    groups = {name: frame[frame[column] == name] for name in SPLITS}
    for name, group in groups.items():
        if len(group) == 0:
            raise DataError(
                f"The {name} split is empty: column {column!r} never holds {name!r} (it should hold train, val and test)."
            )
    return groups


def _folds(order: np.ndarray, folds: int, fold: int) -> dict[str, np.ndarray]:
    if (
        not isinstance(folds, int)
        or not isinstance(fold, int)
        or folds < 3
        or not 0 <= fold < folds
    ):
        raise ConfigError(
            f"data.split needs folds >= 3 and 0 <= fold < folds; found folds={folds!r}, fold={fold!r}."
        )
    parts = np.array_split(order, folds)
    following = (fold + 1) % folds
    train = np.concatenate([part for k, part in enumerate(parts) if k not in (fold, following)])
    return {"train": train, "val": parts[following], "test": parts[fold]}
