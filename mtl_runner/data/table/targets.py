"""Target columns of a table: from ``data.targets`` as written to tasks and numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.data.table import cells
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.tasks.kinds import KINDS, MISSING_CLASS, Kind
from mtl_runner.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("mtl_runner")

_OPTIONS = ("name", "column", "columns", "kind", "positive", "separator", "class_weights")
RARE = 0.2  # a class with less than this share of what it would have if all were equal
SHOWN = 5  # values of a column that an error names
_TABLE_KINDS = [name for name, kind in KINDS.items() if kind.column]


@dataclass(frozen=True)
class Target:
    """A target of a table: the columns it is read from and the task it makes.

    Attributes:
        task: The task; after :meth:`fit` with its classes, offset and scale.
        columns: The columns; several only for a multilabel target.
        positive: For a derived binary target: the value that makes class 1; None: no such target.
        separator: What separates the labels of a multilabel target in one text column.
        balanced: Whether every class weighs the same in the loss, however many rows it has.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner import Task
        >>> from mtl_runner.data.table.targets import Target
        >>> frame = pd.DataFrame({"state": ["new", "ruin", None]})
        >>> target = Target(Task("state", "classification"), ("state",))
        >>> target = target.fit({"train": frame}, scale=True)
        >>> target.task.classes, target.values(frame).tolist()
        (('new', 'ruin'), [0, 1, -100])
    """

    task: Task
    columns: tuple[str, ...]
    positive: str | None = None
    separator: str | None = None
    balanced: bool = False

    def check(self, frame: pd.DataFrame) -> None:
        """Raise ``DataError`` if a numeric target holds nothing but text.

        That the kind is wrong can be told of rows of which some may still be left out.

        Args:
            frame: The training rows.
        """
        column = self.columns[0]
        texts = len(cells.cells_of_text(frame[column]))
        if self.task.spec.column == "numbers" and 0 < texts == frame[column].count():
            _numbers(frame[column], column, self.task.name)

    def fit(self, frames: Mapping[str, pd.DataFrame], scale: bool) -> Target:
        """Return the target with its classes, or its offset and scale.

        Args:
            frames: The rows of each split. Offset, scale and classes come from ``train`` alone:
                of a class that it does not hold nothing can be learned, so such labels of other
                splits are missing ones. The labels of ``multilabel`` come from all splits.
            scale: Whether a numeric target gets mean 0 and standard deviation 1.

        Raises:
            DataError: If a numeric target holds text, or a number beyond 32 bits, or no label of a
                split is of a class that a training row has.
        """
        form = self.task.spec.column
        if form == "numbers":
            return self._fit_scale(frames, scale)
        if form == "labels" and self.separator is None:
            return self._with_classes(self.columns)
        labels = {name: _labels(frame[self.columns[0]].dropna()) for name, frame in frames.items()}
        if self.separator:
            parts = {
                part
                for values in labels.values()
                for value in values
                for part in _parts(value, self.separator)
            }
            return self._with_classes(tuple(sorted(parts, key=_numeric_first)))
        if self.positive is not None:
            negatives = {label for values in labels.values() for label in values} - {self.positive}
            negative = negatives.pop() if len(negatives) == 1 else f"not {self.positive}"
            is_positive = labels["train"] == self.positive
            counts = np.array([(~is_positive).sum(), is_positive.sum()])
            return self._with_classes((negative, self.positive), counts)
        classes = sorted(set(labels["train"]), key=_numeric_first)
        self._warn_of_many(len(classes), frames)
        self._warn_of_unseen(labels, set(classes))
        counts = np.array([(labels["train"] == label).sum() for label in classes])
        return self._with_classes(tuple(classes), counts)

    def _with_classes(self, classes: tuple[str, ...], counts: np.ndarray | None = None) -> Target:
        """Return the target with its classes and their weights; tell of a class that is rare.

        Args:
            classes: The classes, or labels.
            counts: The training rows of each class; None for labels.
        """
        rows = 0 if counts is None else int(counts.sum())
        weights = self.task.class_weights
        if counts is not None and self.balanced:
            # A class without a row has no loss to weigh.
            weights = tuple((rows / (len(counts) * counts.clip(1))).tolist())
        if counts is not None and not weights and rows and counts.min() < RARE * rows / len(counts):
            log.info(
                "Target %r: %r has %.2g %% of the training rows; class_weights: balanced lets every class weigh the same.",
                self.task.name,
                classes[int(counts.argmin())],
                100 * counts.min() / rows,
            )
        return replace(self, task=replace(self.task, classes=classes, class_weights=weights))

    def _warn_of_unseen(self, labels: Mapping[str, np.ndarray], classes: set[str]) -> None:
        """Warn of labels of classes that no training row has; a split of only such is an error."""
        for split, values in labels.items():
            unseen = [label for label in values if label not in classes]
            if unseen and len(unseen) == len(values):
                raise DataError(
                    f"Target {self.task.name!r}: no label of the {split} split is of a class that a training row has (its first is {unseen[0]!r}); choose another split, or another kind."
                )
            if unseen:
                log.warning(
                    "Target %r: %d labels of the %s split are of classes without a training row (such as %r); they count as missing.",
                    self.task.name,
                    len(unseen),
                    split,
                    unseen[0],
                )

    def _warn_of_many(self, classes: int, frames: Mapping[str, pd.DataFrame]) -> None:
        rows = sum(int(frame[self.columns[0]].count()) for frame in frames.values())
        if cells.are_too_many(classes, rows):
            log.warning(
                "Target %r is a classification of %d classes in %d rows, too few rows per class to learn from; if column %r holds numbers or dates, clean it and use kind: regression.",
                self.task.name,
                classes,
                rows,
                self.columns[0],
            )

    def _fit_scale(self, frames: Mapping[str, pd.DataFrame], scale: bool) -> Target:
        _check_numbers(frames, self.columns[0], self.task.name)
        numbers = self._numeric(frames["train"])
        known = numbers[~np.isnan(numbers)]  # where none is, `prepare` says what is wrong
        if not scale or not self.task.spec.numeric or not len(known):
            return self
        offset, deviation = float(known.mean()), float(known.std())
        return replace(self, task=replace(self.task, offset=offset, scale=deviation or 1.0))

    def values(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the target of some rows in training units.

        Returns:
            Floats ``[N]`` or ``[N, labels]`` with NaN where missing, or class indices ``[N]`` with
            ``MISSING_CLASS`` where missing.

        Raises:
            DataError: If a numeric target holds text.
        """
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
            label_sets = [set(_parts(label, self.separator)) for label in labels]
            for k, name in enumerate(self.task.classes):
                matrix[known, k] = [name in label_set for label_set in label_sets]
            return matrix
        index = np.full(len(frame), MISSING_CLASS, dtype=np.int64)
        if self.positive is not None:
            index[known] = labels == self.positive
        else:
            positions = pd.Index(list(self.task.classes), dtype=object).get_indexer(
                pd.Index(labels, dtype=object)
            )
            index[known] = np.where(positions < 0, MISSING_CLASS, positions)
        return index

    def _numeric(self, frame: pd.DataFrame) -> np.ndarray:
        numbers = _numbers(frame[self.columns[0]], self.columns[0], self.task.name)
        try:
            return self.task.spec.from_column(numbers)
        except DataError as error:
            raise DataError(
                f"Target {self.task.name!r}: column {self.columns[0]!r} {error}."
            ) from None


def read_targets(
    targets: Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
    frames: Mapping[str, pd.DataFrame],
) -> list[Target]:
    """Return the targets that ``data.targets`` describes in one of its three ways, not yet fitted.

    Args:
        targets: ``{name: kind}`` or ``{name: {option: value}}``, a list of names, or a list of
            mappings of options.
        frames: The rows of each split, off which missing kinds are read.

    Raises:
        ConfigError: If an option, column, kind or value is unknown; it names the nearest one.
        DataError: If a kind is missing and cannot be read off the column.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.targets import read_targets
        >>> frame = pd.DataFrame({"price": [1.5, 2.5, 3.5], "state": ["new", "ruin", "new"]})
        >>> [target.task.kind for target in read_targets(["price", "state"], {"train": frame})]
        ['regression', 'classification']
    """
    if isinstance(targets, str) or not isinstance(targets, Mapping | Sequence):
        raise ConfigError(
            f"data.targets={targets!r} must be a mapping {{name: kind}} or a list, e.g. '[{targets}]'."
        )
    entries: list[Any] = (
        [
            {"name": name, **(kind if isinstance(kind, Mapping) else {"kind": kind})}
            for name, kind in targets.items()
        ]
        if isinstance(targets, Mapping)
        else list(targets)
    )
    return [
        _read_target(dict(entry) if isinstance(entry, Mapping) else {"name": str(entry)}, frames)
        for entry in entries
    ]


def _read_target(options: dict[str, Any], frames: Mapping[str, pd.DataFrame]) -> Target:
    frame = frames["train"]
    for key in options:
        if key not in _OPTIONS:
            raise ConfigError(
                f"data.targets has the unknown option {key!r}; {suggest(key, _OPTIONS)}."
            )
    if "name" not in options:
        raise ConfigError(
            f"The target {options} in data.targets has no name; write {{name: ..., kind: ...}}."
        )
    name = str(options["name"])
    if isinstance(options.get("columns"), str):
        raise ConfigError(
            f"Target {name!r}: columns must be a list, e.g. columns: [{options['columns']}]."
        )
    sources = tuple(str(c) for c in options.get("columns") or [options.get("column", name)])
    for source in sources:
        if source not in frame.columns:
            raise ConfigError(
                f"data.targets: the table has no column {source!r}; {suggest(source, frame.columns)}."
            )
    kind = _kind(name, options, [f[sources[0]] for f in frames.values() if sources[0] in f])
    form = kind.column if isinstance(kind, Kind) else KINDS[kind].column
    positive = _label(options["positive"]) if "positive" in options else None
    labels = set(_labels(frame[sources[0]].dropna())) if positive is not None else set()
    if positive is not None and positive not in labels:
        held = ", ".join(map(repr, sorted(labels)[:SHOWN]))
        raise ConfigError(
            f"Target {name!r}: column {sources[0]!r} never holds {positive!r} in the training rows; it holds {held}{', ...' if len(labels) > SHOWN else ''}."
        )
    if positive is not None and form != "classes":
        raise ConfigError(
            f"Target {name!r}: positive makes a classification of two classes, but its kind is {kind!r}."
        )
    weights = options.get("class_weights") or ()
    balanced = weights == "balanced"
    if (isinstance(weights, str) and not balanced) or (balanced and form != "classes"):
        raise ConfigError(
            f"Target {name!r}: class_weights are one number per class of a classification, or balanced; found {weights!r}."
        )
    task = Task(name, kind, class_weights=() if balanced else tuple(map(float, weights)))
    return Target(task, sources, positive, options.get("separator"), balanced)


def _kind(name: str, options: Mapping[str, Any], values: list[pd.Series]) -> str | Kind:
    kind = options.get("kind") or _inferred_kind(name, options, values)
    kind = kind if isinstance(kind, Kind) else str(kind)
    if kind not in _TABLE_KINDS and not (isinstance(kind, Kind) and kind.column):
        raise ConfigError(
            f"Target {name!r} has the unknown kind {kind!r}; {suggest(str(kind), _TABLE_KINDS)}."
        )
    return kind


def _inferred_kind(name: str, options: Mapping[str, Any], values: list[pd.Series]) -> str:
    """Return the kind of a target: classes for text, booleans and two-valued numbers.

    Args:
        name: Its name.
        options: Its options as written.
        values: Its column in each split, the training rows first.

    Raises:
        DataError: If it holds no numbers, but too many different values to be classes.
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    train = values[0]
    if "columns" in options or "separator" in options:
        return "multilabel"
    if "positive" in options or is_bool_dtype(train):
        return "classification"
    if is_numeric_dtype(train):
        return "classification" if train.nunique() <= 2 else "regression"
    column = pd.concat(values)
    distinct, rows = int(column.nunique()), int(column.count())
    if distinct > 2 and len(cells.stray_text(column)):
        return "regression"  # whose check names the cells that are no numbers
    if cells.are_too_many(distinct, rows):
        raise DataError(
            f"Target {name!r}: column {column.name!r} holds no numbers but {distinct} different values in {rows} rows, too many for classes; make numbers of dates and of numbers with units or separators, or give it kind: classification."
        )
    return "classification"


def _check_numbers(frames: Mapping[str, pd.DataFrame], column: str, name: str) -> None:
    """Raise ``DataError`` if a numeric target holds text, or a number beyond 32 bits."""
    known = sum(int(frame[column].count()) for frame in frames.values())
    texts = {split: cells.cells_of_text(frame[column]) for split, frame in frames.items()}
    count = sum(map(len, texts.values()))
    if 0 < count < known:
        split, text = next((split, text) for split, text in texts.items() if len(text))
        raise DataError(
            f"Target {name!r}: column {column!r} is a number in {known - count} of {known} rows, but row {cells.row_number(text)} (of the {split} split) holds {text.iloc[0]!r}, which is not a number; clean it, or use kind: classification."
        )
    for frame in frames.values():
        _numbers(frame[column], column, name)  # raises where all cells are text
        cells.check_range(frame[column], column)


def _numbers(values: pd.Series, column: str, name: str) -> np.ndarray:
    """Return the values as floats, NaN where they are missing."""
    text = cells.cells_of_text(values)
    if len(text):
        raise DataError(
            f"Target {name!r}: column {column!r} holds {text.iloc[0]!r}, which is not a number; use kind: classification or clean it."
        )
    return cells.numbers(values)


def _label(value: object) -> str:
    """Return a class label as text; 1.0 (an integer column with gaps) and 1 are the same class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _labels(values: pd.Series) -> np.ndarray:
    return np.array([_label(value) for value in values.tolist()], dtype=object)


def _parts(value: str, separator: str | None) -> list[str]:
    return [part.strip() for part in value.split(separator) if part.strip()]


def _numeric_first(label: str) -> tuple[int, float, str]:
    """Return a sort key: numbers in their order, then other labels in the alphabet's."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)
