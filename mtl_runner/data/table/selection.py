"""Which columns of a table are of use as features, and a sentence on what became of each."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtl_runner.data.table import cells
from mtl_runner.data.table.columns import FeatureColumn, Features
from mtl_runner.data.table.dates import date_format

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("mtl_runner")

NAMED = 12  # so many columns of a sort are named
# A column of different whole numbers with such a name identifies its row: id, user_id, PassengerId.
IDENTIFIER = re.compile(
    r"(^|[_\s.-])(id|ids|uuid|guid|index|idx|row|rowid)$|[a-z](Id|ID)$|^(ID|Id|Index)$|^Unnamed: 0"
)
STARTS_LIKE_A_NUMBER = re.compile(r"[\s$€£+-]*\d")


def dropped_columns(frames: Mapping[str, pd.DataFrame], names: Sequence[str]) -> dict[str, str]:
    """Return the columns that say nothing about other rows, each with the reason.

    These are text of which hardly any value repeats (names, numbers of customers, free text), and
    different whole numbers in a column that is called an identifier. Dates, and numbers with a
    typing mistake, stay.

    Args:
        frames: The rows of each split; those of ``train`` decide.
        names: Names of the columns that may be features.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.selection import dropped_columns
        >>> names = [f"C{n}" for n in range(30)]
        >>> frame = pd.DataFrame({"customer": names, "age": range(30)})
        >>> dropped_columns({"train": frame}, ["customer", "age"])
        {'customer': '30 values in 30 rows'}
    """
    dropped = {}
    for name in names:
        values = frames["train"][name]
        known, distinct = int(values.count()), int(values.nunique())
        if not cells.are_too_many(distinct, known):
            continue
        text = cells.is_text(values)
        if text and date_format(values) is None and not _is_nearly_numeric(frames, name):
            dropped[name] = (
                f"{'' if distinct == known else 'text, '}{distinct} values in {known} rows"
            )
            _tell_of_numbers(values, distinct, known)
        elif not text and distinct == known and _is_identifier(values):
            dropped[name] = f"{distinct} values in {known} rows"
    return dropped


def identifier_columns(frames: Mapping[str, pd.DataFrame], names: Sequence[str]) -> list[str]:
    """Return the columns of which every row has another value: names, or numbers of customers.

    Args:
        frames: The rows of each split; those of ``train`` decide.
        names: Names of the columns that are neither features nor targets.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.selection import identifier_columns
        >>> frame = pd.DataFrame({"user_id": range(30), "age": range(30)})
        >>> identifier_columns({"train": frame}, ["user_id", "age"])
        ['user_id']
    """
    identifiers = []
    for name in names:
        values = frames["train"][name]
        distinct = int(values.nunique())
        if distinct < len(values) or not cells.are_too_many(distinct, len(values)):
            continue
        is_name = cells.is_text(values) and date_format(values) is None
        if is_name or (not cells.is_text(values) and _is_identifier(values)):
            identifiers.append(name)
    return identifiers


def describe(
    features: Features, dropped: Mapping[str, str], of_split: Mapping[str, str] | None = None
) -> str:
    """Return in one sentence what became of every column.

    Args:
        features: The fitted feature columns.
        dropped: Columns that are left out, with the reason.
        of_split: Columns that the split is made by and that are no features, with what they do.

    Example:
        >>> import pandas as pd
        >>> from mtl_runner.data.table.columns import Features
        >>> from mtl_runner.data.table.selection import describe
        >>> train = pd.DataFrame({"area": [50.0, None], "city": ["Bonn", "Rome"]})
        >>> features = Features.fit(train, ["area", "city"], scale=True, max_categories=100)
        >>> describe(features, {"id": "2 values in 2 rows"})
        'Inputs: 1 numeric (area; 1 with gaps), 1 categorical (city; 2 columns); id dropped: 2 values in 2 rows.'
    """
    plain = [column for column in features.columns if isinstance(column, FeatureColumn)]
    numeric = [column for column in plain if column.categories is None]
    categorical = [column for column in plain if column.categories is not None]
    sorts = []
    if numeric:
        gaps = sum(column.indicator for column in numeric)
        sorts.append(
            f"{len(numeric)} numeric ({_listed(numeric)}{f'; {gaps} with gaps' if gaps else ''})"
        )
    if categorical:
        width = sum(column.width for column in categorical)
        sorts.append(
            f"{len(categorical)} categorical ({_listed(categorical)}; {width} column{'s' * (width != 1)})"
        )
    parts = [", ".join(sorts)] if sorts else []
    for column in features.columns:
        if not isinstance(column, FeatureColumn):
            read_as = f"; read as {column.format}" if column.format else ""
            parts.append(f"{column.name} became {column.width} numbers ({column.numbers}{read_as})")
    parts += [f"{name} dropped: {reason}" for name, reason in dropped.items()]
    parts += [f"{name} {does} and is no feature" for name, does in (of_split or {}).items()]
    return f"Inputs: {'; '.join(parts)}."


def _listed(columns: Sequence[FeatureColumn]) -> str:
    names = [column.name for column in columns[:NAMED]]
    return ", ".join([*names, *(["..."] if len(columns) > NAMED else [])])


def _tell_of_numbers(values: pd.Series, distinct: int, known: int) -> None:
    """Warn of text that is dropped although it begins as numbers do: 12 kg, 1,000 or 99 %."""
    known_values = values.dropna().astype(str)
    share = known_values.map(lambda text: bool(STARTS_LIKE_A_NUMBER.match(text))).mean()
    if share >= 1 - cells.STRAY_SHARE:
        log.warning(
            "Column %r is left out: it holds no numbers but %d different values in %d rows; if they are numbers with units or separators (the first is %r), make numbers of them.",
            values.name,
            distinct,
            known,
            known_values.iloc[0],
        )


def _is_nearly_numeric(frames: Mapping[str, pd.DataFrame], name: str) -> bool:
    """Return whether a column of text holds numbers, but for a few cells of any split."""
    import pandas as pd

    values = pd.concat([frame[name] for frame in frames.values() if name in frame])
    return bool(len(cells.stray_text(values)))


def _is_identifier(values: pd.Series) -> bool:
    """Return whether different numbers are whole and called an identifier."""
    numbers = cells.numbers(values)
    known = numbers[~np.isnan(numbers)]
    return bool((known == np.round(known)).all()) and bool(IDENTIFIER.search(str(values.name)))
