"""metrics.csv of a run as curves over epochs; of a file that is cut off, the whole rows."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from mtl_runner.files import open_regular
from mtl_runner.results.records.reading import UnreadableError

Curve = dict[float, float]  # {epoch: value}; inside an epoch a fraction
Row = list[str]
PLACES = ("epoch", "split", "task")  # the columns that say what a row is about
NUMBERS = ("loss", "weight", "sigma", "relative_loss")  # columns that hold numbers or nothing
TOTAL = "total"  # the name of the rows that hold the objective and the mean over tasks


@dataclass(frozen=True)
class RecordedCurves:
    """The rows of metrics.csv by split and task.

    Attributes:
        columns: ``{column: its place in a row}``.
        rows: ``{(split, task): rows}`` in the order of the epochs.
    """

    columns: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[tuple[str, str], list[Row]] = field(default_factory=dict)

    def curve(self, split: str, task: str, column: str) -> Curve:
        """Return ``{epoch: value}`` of a column; empty cells and unknown columns are left out."""
        place, epoch = self.columns.get(column), self.columns.get("epoch")
        if place is None or epoch is None:
            return {}
        curve = {}
        for row in self.rows.get((split, task), ()):
            if row[place]:
                try:
                    curve[_epoch(row[epoch])] = float(row[place])
                except (ValueError, OverflowError):
                    continue  # a cell that is no number belongs to no curve
        return curve

    def tasks(self, split: str) -> list[str]:
        """Return the tasks that have rows of a split, without the total."""
        return [task for name, task in self.rows if name == split and task != TOTAL]

    def only(self, split: str, column: str) -> RecordedCurves:
        """Return the curves of one column on one split alone, which take little memory."""
        place, epoch = self.columns.get(column), self.columns.get("epoch")
        if place is None or epoch is None:
            return RecordedCurves()
        return RecordedCurves(
            {"epoch": 0, column: 1},
            {
                key: [[row[epoch], row[place]] for row in rows]
                for key, rows in self.rows.items()
                if key[0] == split
            },
        )

    def has(self, column: str) -> bool:
        """Return whether any row has a value in the column."""
        place = self.columns.get(column)
        return place is not None and any(row[place] for rows in self.rows.values() for row in rows)


def read_curves(directory: Path) -> RecordedCurves:
    """Read metrics.csv of a run directory; no curves if there is no such file."""
    columns: dict[str, int] = {}
    rows: dict[tuple[str, str], list[Row]] = {}
    try:
        with _open_csv(directory / "metrics.csv", "replace") as file:
            reader = csv.reader(_whole_lines(file))
            columns = {name: place for place, name in enumerate(next(reader, []))}
            if not columns.keys() >= set(PLACES):
                return RecordedCurves()
            split, task = columns["split"], columns["task"]
            for row in reader:
                if len(row) == len(columns):
                    rows.setdefault((row[split], row[task]), []).append(row)
    except (OSError, csv.Error):
        pass  # what was read before the file broke off stands
    return RecordedCurves(columns, rows)


def check_curves(directory: Path) -> None:
    """Check that metrics.csv of a finished run is what a run writes, if there is one.

    Only the end of its last line may be missing, which a run writes again when it is resumed.

    Raises:
        UnreadableError: If it is anything else; the text says in which line.
    """
    number = 1
    try:
        with _open_csv(directory / "metrics.csv", "strict") as file:
            reader = csv.reader(_whole_lines(file))
            header = next(reader, [])
            missing = [name for name in PLACES if name not in header]
            if missing or len(set(header)) < len(header):
                raise UnreadableError(
                    f"its first line must name the columns {', '.join(PLACES)} between commas, each once"
                )
            epoch = header.index("epoch")
            numbers = [header.index(name) for name in NUMBERS if name in header]
            for number, row in enumerate(reader, 2):
                if len(row) != len(header):
                    raise UnreadableError(
                        f"line {number} has {len(row)} cells; the first line has {len(header)}"
                    )
                _epoch(row[epoch])
                for place in numbers:
                    if row[place]:
                        float(row[place])
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise UnreadableError("it is no UTF-8 text") from None
    except (ValueError, OverflowError):
        raise UnreadableError(f"line {number} has a text where a number must be") from None
    except csv.Error:
        raise UnreadableError(f"line {number + 1} is no line of a CSV file") from None
    except OSError as error:
        raise UnreadableError.of(error) from None


def _epoch(cell: str) -> float:
    """Return the epoch of a row, as an integer where it is whole."""
    number = float(cell)
    # NaN and infinity are no epoch: an error.
    rounded = int(number)
    return rounded if rounded == number else number


@contextmanager
def _open_csv(path: Path, errors: str) -> Iterator[TextIO]:
    """Open a CSV file; some programs begin it with a byte order mark."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, newline="\n", encoding="utf-8-sig", errors=errors) as file:
        yield file


def _whole_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines; one without its end is that of a run that was killed while it wrote."""
    return (line for line in file if line.endswith("\n"))
