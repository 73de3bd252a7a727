"""Any table as a multi-task problem: columns of a file become features and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.data.table.columns import Features, warn_about_categories
from mtl_runner.data.table.splits import read_splits
from mtl_runner.data.table.targets import Target, read_targets
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import flag, whole_number

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SPLIT = {"val": 0.15, "test": 0.15}


class Table:
    r"""Features and targets from a CSV or Parquet file.

    Scalers, imputation and categories are fitted on the training split alone; they are its
    attribute ``preprocessing``, as plain values. Metrics stay in the targets' own units.

    Args:
        path: The file (``.csv``, ``.csv.gz``, ``.tsv``, ``.parquet``).
        targets: ``{name: kind}``, a list of names (their kinds are inferred), or a list of
            ``{name, column, kind, positive}``.
        features: None (all columns that are no target), a list of names, or ``{drop: [names]}``.
        split: ``{val: 0.15, test: 0.15}`` fractions, ``{column: name}`` of a column that holds
            train, val or test, ``{val: file, test: file}``, or ``{folds: 10, fold: 3}`` (the fold
            is the test split, the one after it the validation split).
        scale_features: Whether numeric features get mean 0 and standard deviation 1.
        scale_targets: Whether numeric targets do.
        max_categories: How many categories of a column, the most frequent ones, get an input.
        seed: Seed of the split.

    Raises:
        ConfigError: If an option is impossible or names an unknown column.
        DataError: If a file or column is missing, a regression target is not numeric, or a split
            is empty.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data import Table
        >>> rows = "".join(f"{n},{10 * n},{'yes' if n % 2 else 'no'}\n" for n in range(20))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "houses.csv")
        ...     _ = file.write_text("area,price,sold\n" + rows)
        ...     table = Table(str(file), targets=["price", "sold"])
        >>> [(task.name, task.kind) for task in table.tasks]
        [('price', 'regression'), ('sold', 'classification')]
        >>> {name: tuple(split.inputs.shape) for name, split in table.splits.items()}
        {'val': (3, 1), 'test': (3, 1), 'train': (14, 1)}
    """

    def __init__(
        self,
        path: str | None,
        targets: Mapping[str, str] | Sequence[str | Mapping[str, Any]] | None,
        features: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        split: Mapping[str, Any] = DEFAULT_SPLIT,
        scale_features: bool = True,
        scale_targets: bool = True,
        max_categories: int = 100,
        seed: int = 0,
    ) -> None:
        if path is None:
            raise ConfigError("data=table needs data.path, the CSV or Parquet file to read.")
        if not targets:
            raise ConfigError(
                "data=table needs data.targets, e.g. data.targets='{price: regression, sold: classification}'."
            )
        flag(scale_features, "data.scale_features")
        flag(scale_targets, "data.scale_targets")
        whole_number(max_categories, "data.max_categories", 1)
        whole_number(seed, "data.seed", 0)
        split = dict(split or DEFAULT_SPLIT)
        frames = read_splits(path, split, seed)
        columns = list(frames["train"].columns)
        unfitted = read_targets(targets, frames)
        target_columns = [column for target in unfitted for column in target.columns]
        _check_target_columns(frames, target_columns)
        excluded = {*target_columns, str(split.get("column"))}
        names = _feature_names(features, [c for c in columns if c not in excluded], columns)
        inputs = Features.fit(
            frames["train"], names, scale=scale_features, max_categories=max_categories
        )
        fitted = [target.fit(frames, scale_targets) for target in unfitted]
        warn_about_categories(frames, names, max_categories)
        self.tasks = [target.task for target in fitted]
        self.splits = {
            name: Split(
                _float_tensor(inputs.transform(frame)),
                {target.task.name: _target_tensor(target, frame) for target in fitted},
            )
            for name, frame in frames.items()
        }
        self.preprocessing = inputs.state()


def _check_target_columns(frames: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> None:
    for name, frame in frames.items():
        for column in columns:
            if column not in frame.columns:
                raise DataError(
                    f"The {name} table has no column {column!r}, a target; {suggest(column, frame.columns)}."
                )


def _feature_names(
    features: Sequence[str] | Mapping[str, Sequence[str]] | None,
    candidates: list[str],
    columns: list[str],
) -> list[str]:
    """Return the feature columns that ``data.features`` asks for, in order.

    Args:
        features: ``data.features``.
        candidates: Columns that are neither a target nor the split column.
        columns: All columns of the table.
    """
    dropping = isinstance(features, Mapping) and set(features) == {"drop"}
    names = features["drop"] if isinstance(features, Mapping) and dropping else features
    if isinstance(names, Mapping | str):
        raise ConfigError("data.features must be a list of columns or {drop: [columns]}.")
    for name in names or ():
        if name not in columns:
            raise ConfigError(
                f"data.features names the unknown column {name!r}; {suggest(name, columns)}."
            )
        if name not in candidates and not dropping:
            raise ConfigError(
                f"data.features names {name!r}, which is a target; a target cannot be a feature too."
            )
    if features is None:
        chosen = candidates
    elif dropping:
        chosen = [column for column in candidates if column not in set(names or ())]
    else:
        chosen = list(names or ())
    if not chosen:
        raise ConfigError("No feature column is left; name some in data.features.")
    return chosen


def _float_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.get_default_dtype())


def _target_tensor(target: Target, frame: pd.DataFrame) -> torch.Tensor:
    values = target.values(frame)
    return torch.as_tensor(values) if values.dtype.kind == "i" else _float_tensor(values)
