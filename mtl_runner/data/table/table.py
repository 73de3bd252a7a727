"""Any table as a multi-task problem: columns of a file become features and targets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.data.table.columns import Features, warn_about_categories
from mtl_runner.data.table.files import columns_as_written
from mtl_runner.data.table.parquet import LazyFrame
from mtl_runner.data.table.selection import describe, dropped_columns, identifier_columns
from mtl_runner.data.table.splits import files_of_splits, read_splits
from mtl_runner.data.table.stream import RowsOfTable, TableStream
from mtl_runner.data.table.targets import Target, read_targets
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import flag, whole_number

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("mtl_runner")

DEFAULT_SPLIT = {"val": 0.15, "test": 0.15}


class Table:
    r"""Features and targets from a CSV or Parquet file.

    Scalers, imputation and categories are fitted on the training split alone; they are its
    attribute ``preprocessing``, as plain values. Metrics stay in the targets' own units.

    Args:
        path: The file (``.csv``, ``.csv.gz``, ``.tsv``, ``.parquet``).
        targets: ``{name: kind}`` or ``{name: {kind: ..., option: value}}``, a list of names (their
            kinds are inferred), or a list of ``{name, column, kind, positive}``.
        features: None (all columns that are no target and identify no row), a list of names, or
            ``{drop: [names]}``.
        split: ``{val: 0.15, test: 0.15}`` fractions, ``{column: name}`` of a column that holds
            train, val or test, ``{val: file, test: file}``, or ``{folds: 10, fold: 3}`` (the fold
            is the test split, the one after it the validation split); beside fractions and folds
            also ``group`` (a column whose values stay in one split) and ``stratify`` (a column
            whose values every split has in equal shares).
        scale_features: Whether numeric features get mean 0 and standard deviation 1.
        scale_targets: Whether numeric targets do.
        max_categories: How many categories of a column, the most frequent ones, get an input.
        read: How a text file is written: ``sep``, ``encoding``, ``decimal``, ``thousands``,
            ``na_values``, ``quotechar``, ``comment``, ``skiprows``, as ``pandas.read_csv`` knows.
        stream: Whether the rows stay on the disk, for tables that do not fit into memory.
        shuffle_rows: Rows, at least, that are shuffled at once where they stay on the disk.
        metric_group: The column whose equal values are a group for metrics within groups, such as
            ``gauc``; a row without a value belongs to none. It is a feature like any other.
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
        targets: Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None,
        features: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        split: Mapping[str, Any] = DEFAULT_SPLIT,
        scale_features: bool = True,
        scale_targets: bool = True,
        max_categories: int = 100,
        read: Mapping[str, Any] | None = None,
        stream: bool = False,
        shuffle_rows: int = 100_000,
        metric_group: str | None = None,
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
        flag(stream, "data.stream")
        whole_number(shuffle_rows, "data.shuffle_rows", 1)
        split = dict(split or DEFAULT_SPLIT)
        if read is not None and not isinstance(read, Mapping):
            raise ConfigError(
                f"data.read must be a mapping, e.g. {{sep: ;, encoding: latin-1}}; found {read!r}."
            )
        frames = read_splits(path, split, seed, read, stream)
        columns = list(frames["train"].columns)
        unfitted = read_targets(targets, frames)
        target_columns = [column for target in unfitted for column in target.columns]
        _check_target_columns(frames, target_columns)
        excluded = {*target_columns, str(split.get("column")), str(split.get("group"))}
        candidates = [column for column in columns if column not in excluded]
        if isinstance(split.get("group"), str) and _is_list(features):
            candidates.append(split["group"])  # named, it is a feature
        names = _feature_names(features, candidates, columns)
        # Whoever names the features wants them all.
        dropped = {} if _is_list(features) else dropped_columns(frames, names)
        names = [name for name in names if name not in dropped]
        if not names:
            raise ConfigError(
                f"No feature column is left ({', '.join(dropped)} identify rows); name some in data.features."
            )
        inputs = Features.fit(
            frames["train"], names, scale=scale_features, max_categories=max_categories
        )
        fitted = [target.fit(frames, scale_targets) for target in unfitted]
        warn_about_categories(frames, names, max_categories)
        roles = {"column": "names the split", "group": "groups the split"}
        of_split = {str(split[key]): does for key, does in roles.items() if split.get(key)}
        for name in (*names, *target_columns):
            of_split.pop(name, None)
        log.info("%s", describe(inputs, dropped, of_split))
        self.tasks = [target.task for target in fitted]
        unused = [name for name in columns if name not in {*names, *target_columns}]
        self.identifiers = identifier_columns(frames, unused)
        self.preprocessing = {**inputs.state(), "identifiers": self.identifiers}
        if metric_group is not None:
            self.row_groups = group_numbers(frames, metric_group)
        self._files, self._read = files_of_splits(path, split), read
        self._frames = frames if stream else self._written(frames)
        if stream:
            self.splits: dict[str, Split | TableStream] = {
                name: TableStream(
                    # read_splits made them so
                    RowsOfTable(cast(LazyFrame, frame), inputs, fitted),
                    shuffle_rows,
                    name,
                    self.tasks,
                )
                for name, frame in frames.items()
            }
            return
        self.splits = {
            name: Split(
                _float_tensor(inputs.transform(frame)),
                {target.task.name: _target_tensor(target, frame) for target in fitted},
            )
            for name, frame in frames.items()
        }

    def row_ids(self, split: str) -> dict[str, Sequence[Any]]:
        """Return what identifies the rows of a split, in its order.

        Args:
            split: The split.

        Returns:
            ``row``, the row of the table, counted from 0 below the header line, and the columns of
            which every row has another value.
        """
        frame = self._frames[split]
        # Of a table that stays on the disk, only what is asked for is read.
        lazy = isinstance(frame, LazyFrame)
        written = self._written({split: frame})[split] if lazy else frame
        columns = {
            name: written[name].tolist() if name in written else [""] * len(written)
            for name in self.identifiers
        }
        return {"row": written.index.tolist(), **columns}

    def _written(self, frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """Return the identifiers of some splits as they stand in the files; each is read once."""
        import pandas as pd

        written: dict[str, pd.DataFrame] = {}
        for file in dict.fromkeys(self._files[name] for name in frames):
            here = {n: frame for n, frame in frames.items() if self._files[n] == file}
            indices = {n: _index(frame) for n, frame in here.items()}
            columns = {
                name: pd.concat([frame[name] for frame in here.values()])
                for name in self.identifiers
                if all(name in frame for frame in here.values())
            }
            index = pd.Index(np.concatenate(list(indices.values())))
            cells = pd.DataFrame(columns_as_written(columns, file, self._read), index=index)
            written |= {n: cells.loc[rows] for n, rows in indices.items()}
        return written


def group_numbers(frames: Mapping[str, pd.DataFrame], column: str) -> dict[str, torch.Tensor]:
    """Return the number of each row's group by split: equal values of a column are a group.

    Args:
        frames: The rows of each split.
        column: The column.

    Returns:
        ``{split: [N]}``; -1 where the column has no value.

    Raises:
        ConfigError: If there is no such column.

    Example:
        >>> import pandas as pd
        >>> group_numbers({"train": pd.DataFrame({"user": ["b", "a", None, "b"]})}, "user")
        {'train': tensor([ 0,  1, -1,  0])}
    """
    import pandas as pd

    for name, frame in frames.items():
        if not isinstance(column, str) or column not in frame.columns:
            raise ConfigError(
                f"data.metric_group names {column!r}, a column that the {name} table does not have; {suggest(str(column), frame.columns)}."
            )
    return {
        name: torch.as_tensor(pd.factorize(frame[column])[0].astype(np.int64))
        for name, frame in frames.items()
    }


def _index(frame: pd.DataFrame) -> Any:
    """Return the rows of the table that a frame holds."""
    return frame.positions if isinstance(frame, LazyFrame) else frame.index


def _is_list(features: object) -> bool:
    """Return whether ``data.features`` names the columns to use."""
    return features is not None and not isinstance(features, Mapping)


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
