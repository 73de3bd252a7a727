"""Target columns of a table: what the user wrote in ``data.targets``, fitted into tasks and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.tasks.kinds import KINDS, MISSING_CLASS, Kind
from mtl_runner.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

_OPTIONS = ("name", "column", "columns", "kind", "positive", "separator", "class_weights")
_TABLE_KINDS = [name for name, kind in KINDS.items() if kind.column]


@dataclass(frozen=True)
class Target:
    """One target: the column(s) it is read from and the task it makes."""

    task: Task
    columns: tuple[str, ...]
    positive: str | None = None  # a derived binary target: is the column equal to this?
    separator: str | None = None  # multilabel in one text column

    def fit(self, frames: Mapping[str, pd.DataFrame], scale: bool) -> Target:
        """Classes from all splits (a class only seen in test is still a class); mean and scale from training alone."""
        task = self.task
        form = task.spec.column
        if form == "numbers":
            numbers = self._numeric(frames["train"])
            for frame in frames.values():
                self._numeric(frame)
            known = numbers[
                np.isfinite(numbers)
            ]  # prepare() words what is wrong with none, or with infinity
            if not scale or not task.spec.numeric or not len(known):
                return self
            return replace(
                self,
                task=replace(task, offset=float(known.mean()), scale=float(known.std()) or 1.0),
            )
        if form == "labels" and self.separator is None:
            return replace(self, task=replace(task, classes=self.columns))
        if form == "classes" and self.positive is not None:
            return replace(
                self, task=replace(task, classes=(f"not {self.positive}", self.positive))
            )
        seen: set[str] = set()
        for frame in frames.values():
            values = _labels(frame[self.columns[0]].dropna())
            seen |= (
                {part for value in values for part in _parts(value, self.separator)}
                if self.separator
                else set(values)
            )
        return replace(self, task=replace(task, classes=tuple(sorted(seen, key=_numeric_first))))

    def values(self, frame: pd.DataFrame) -> np.ndarray:
        """The target of these rows in training units: floats with NaN, or class indices with ``MISSING_CLASS``."""
        import pandas as pd

        form = self.task.spec.column
        if form == "numbers":
            return (self._numeric(frame) - self.task.offset) / self.task.scale
        if form == "labels" and self.separator is None:
            return np.stack(
                [_numbers(frame[column], column, self.task.name) for column in self.columns], 1
            )
        column = frame[self.columns[0]]
        known = column.notna().to_numpy()
        labels = _labels(column[known])
        if form == "labels":
            matrix = np.full((len(frame), len(self.task.classes)), np.nan)
            rows = [set(_parts(label, self.separator)) for label in labels]
            for k, name in enumerate(self.task.classes):
                matrix[known, k] = [name in row for row in rows]
            return matrix
        index = np.full(len(frame), MISSING_CLASS, dtype=np.int64)
        if self.positive is not None:
            index[known] = labels == self.positive
        else:
            index[known] = pd.Index(list(self.task.classes), dtype=object).get_indexer(
                pd.Index(labels, dtype=object)
            )
        return index

    def _numeric(self, frame: pd.DataFrame) -> np.ndarray:
        return _numbers(frame[self.columns[0]], self.columns[0], self.task.name)


def read_targets(
    targets: Mapping[str, str] | Sequence[str | Mapping[str, Any]],
    columns: Sequence[str],
    frame: pd.DataFrame,
) -> list[Target]:
    """Understand the three ways to write ``data.targets``. Raises ``ConfigError`` with the nearest name."""
    if isinstance(targets, str) or not isinstance(targets, Mapping | Sequence):
        raise ConfigError(
            f"data.targets={targets!r} must be a mapping {{name: kind}} or a list, e.g. '[{targets}]'."
        )
    listed: list[Any] = (
        [{"name": k, "kind": v} for k, v in targets.items()]
        if isinstance(targets, Mapping)
        else list(targets)
    )
    found = []
    for entry in listed:
        spec = dict(entry) if isinstance(entry, Mapping) else {"name": str(entry)}
        for key in spec:
            if key not in _OPTIONS:
                raise ConfigError(
                    f"data.targets has the unknown option {key!r}; {suggest(key, _OPTIONS)}."
                )
        if "name" not in spec:
            raise ConfigError(
                f"The target {spec} in data.targets has no name; write {{name: ..., kind: ...}}."
            )
        name = str(spec["name"])
        if isinstance(spec.get("columns"), str):
            raise ConfigError(
                f"Target {name!r}: columns must be a list, e.g. columns: [{spec['columns']}]."
            )
        sources = tuple(str(c) for c in spec.get("columns") or [spec.get("column", name)])
        for source in sources:
            if source not in columns:
                raise ConfigError(
                    f"data.targets: the table has no column {source!r}; {suggest(source, columns)}."
                )
        kind = spec.get("kind") or _infer(spec, frame[sources[0]])
        kind = kind if isinstance(kind, Kind) else str(kind)
        if kind not in _TABLE_KINDS and not (isinstance(kind, Kind) and kind.column):
            raise ConfigError(
                f"Target {name!r} has the unknown kind {kind!r}; {suggest(str(kind), _TABLE_KINDS)}."
            )
        form = kind.column if isinstance(kind, Kind) else KINDS[kind].column
        positive = _label(spec["positive"]) if "positive" in spec else None
        if positive is not None and positive not in set(_labels(frame[sources[0]].dropna())):
            raise ConfigError(
                f"Target {name!r}: column {sources[0]!r} never holds {positive!r} in the training rows."
            )
        if positive is not None and form != "classes":
            raise ConfigError(
                f"Target {name!r}: positive makes a classification of two classes, but its kind is {kind!r}."
            )
        weights = tuple(float(w) for w in spec.get("class_weights", ()))
        found.append(
            Target(
                Task(name, kind, class_weights=weights), sources, positive, spec.get("separator")
            )
        )
    return found


def _infer(spec: Mapping[str, Any], values: pd.Series) -> str:
    """Text, booleans and two-valued numbers are classes; other numbers are a regression."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if "columns" in spec or "separator" in spec:
        return "multilabel"
    if (
        "positive" in spec
        or is_bool_dtype(values)
        or not is_numeric_dtype(values)
        or values.nunique() <= 2
    ):
        return "classification"
    return "regression"


def _numbers(values: pd.Series, column: str, name: str) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = np.isnan(numbers) & values.notna().to_numpy()
    if text.any():
        raise DataError(
            f"Target {name!r}: column {column!r} holds {values[text].iloc[0]!r}, which is not a number; use kind: classification or clean it."
        )
    return numbers


def _label(value: object) -> str:
    """Class labels as text; 1.0 (an integer column with gaps) and 1 are the same class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _labels(values: pd.Series) -> np.ndarray:
    return np.array([_label(value) for value in values.tolist()], dtype=object)


def _parts(value: str, separator: str | None) -> list[str]:
    return [part.strip() for part in value.split(separator) if part.strip()]


def _numeric_first(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)
