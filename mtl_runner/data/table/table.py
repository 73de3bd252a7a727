"""Any table as a multi-task problem: columns of a CSV or Parquet file become features and targets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtl_runner.data.dataset import SPLITS, Split, cut
from mtl_runner.data.table.columns import Features
from mtl_runner.data.table.targets import Target, read_targets
from mtl_runner.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    import pandas as pd

SPLIT = {"val": 0.15, "test": 0.15}


class Table:
    """Features and targets from a CSV or Parquet file; scalers, imputation and categories are fitted on the training split.

    Args:
        path: the file (``.csv``, ``.csv.gz``, ``.tsv``, ``.parquet``).
        targets: ``{name: kind}``, a list of names (kinds inferred), or a list of ``{name, column, kind, positive}``.
        features: null (all columns that are no target), a list of names, or ``{drop: [names]}``.
        split: ``{val: 0.15, test: 0.15}`` fractions, ``{column: name}`` of a column that holds train/val/test,
            ``{val: file, test: file}``, or ``{folds: 10, fold: 3}`` (test is the fold, val the one after it).
        scale_features, scale_targets: to mean 0 and standard deviation 1; metrics stay in original units.
        max_categories: rarer categories of a column share none of the one-hot columns.
        seed: of the split.

    Raises ``DataError`` for a missing file or column, a non-numeric regression target or an empty split.
    """

    def __init__(
        self,
        path: str | None,
        targets: Mapping[str, str] | Sequence[str | Mapping[str, Any]] | None,
        features: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        split: Mapping[str, Any] = SPLIT,
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
        split = dict(split or SPLIT)
        frames = self._read_splits(path, split, seed)
        columns = list(frames["train"].columns)
        specs = read_targets(targets, columns, frames["train"])
        taken = {column for spec in specs for column in spec.columns} | {str(split.get("column"))}
        for name, frame in frames.items():
            for column in dict.fromkeys(column for spec in specs for column in spec.columns):
                if column not in frame.columns:
                    raise DataError(
                        f"The {name} table has no column {column!r}, a target; {suggest(column, frame.columns)}."
                    )
        names = _feature_names(features, [c for c in columns if c not in taken], columns)
        inputs = Features.fit(
            frames["train"], names, scale=scale_features, max_categories=max_categories
        )
        fitted = [spec.fit(frames, scale_targets) for spec in specs]
        self.tasks = [target.task for target in fitted]
        self.splits = {
            name: Split(
                _tensor(inputs.transform(frame)), {t.task.name: _target(t, frame) for t in fitted}
            )
            for name, frame in frames.items()
        }
        self.preprocessing = inputs.state()

    @staticmethod
    def _read_splits(path: str, split: dict[str, Any], seed: int) -> dict[str, pd.DataFrame]:
        frame = read_table(path)
        if "column" in split:  # the defaults {val, test} may still stand beside it
            return _by_column(frame, str(split["column"]))
        order = np.random.default_rng(seed).permutation(len(frame))
        if {"folds", "fold"} <= set(split):
            return {
                name: frame.iloc[rows]
                for name, rows in _folds(order, split["folds"], split["fold"]).items()
            }
        if all(isinstance(split.get(name), str) for name in ("val", "test")):
            return {
                "train": frame,
                "val": read_table(split["val"]),
                "test": read_table(split["test"]),
            }
        if set(split) == {"val", "test"} and all(
            isinstance(value, int | float) for value in split.values()
        ):
            return {
                name: frame.iloc[order[rows]]
                for name, rows in cut(len(frame), float(split["val"]), float(split["test"])).items()
            }
        raise ConfigError(
            f"data.split={split} is not understood; give {{val: 0.15, test: 0.15}}, {{column: name}}, {{val: file, test: file}} or {{folds: 10, fold: 3}}."
        )


def read_table(path: str) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet file; every failure is one sentence."""
    import pandas as pd

    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(
            f"There is no file {path!r} (looked in {file.absolute().parent}); set data.path to the table."
        )
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", pd.errors.DtypeWarning
            )  # a mixed column is a category or a worded error below
            return pd.read_csv(file, sep="\t" if ".tsv" in file.suffixes else ",")
    except ImportError:
        raise DataError(
            f"Reading {path!r} needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
        ) from None
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"The table {path!r} cannot be read ({reason}); it should be CSV with a header line, or Parquet."
        ) from error


def _by_column(frame: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    if column not in frame.columns:
        raise ConfigError(
            f"data.split.column={column!r} is not a column of the table; {suggest(column, frame.columns)}."
        )
    unknown = frame[column][~frame[column].isin(SPLITS)]
    if len(unknown):
        raise DataError(
            f"FeatureColumn {column!r} says which split a row is in, but holds {unknown.iloc[0]!r}; allowed: {', '.join(SPLITS)}."
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


def _feature_names(
    features: Sequence[str] | Mapping[str, Sequence[str]] | None,
    candidates: list[str],
    columns: list[str],
) -> list[str]:
    asked = (
        features["drop"]
        if isinstance(features, Mapping) and set(features) == {"drop"}
        else features
    )
    if isinstance(asked, Mapping | str):
        raise ConfigError("data.features must be a list of columns or {drop: [columns]}.")
    for name in asked or ():
        if name not in columns:
            raise ConfigError(
                f"data.features names the unknown column {name!r}; {suggest(name, columns)}."
            )
        if name not in candidates and not isinstance(features, Mapping):
            raise ConfigError(
                f"data.features names {name!r}, which is a target; a target cannot be a feature too."
            )
    if features is None:
        chosen = candidates
    else:
        chosen = (
            [c for c in candidates if c not in set(asked or ())]
            if isinstance(features, Mapping)
            else list(asked or ())
        )
    if not chosen:
        raise ConfigError("No feature column is left; name some in data.features.")
    return chosen


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.get_default_dtype())


def _target(target: Target, frame: pd.DataFrame) -> torch.Tensor:
    values = target.values(frame)
    return torch.as_tensor(values) if values.dtype.kind == "i" else _tensor(values)
