"""metrics.csv of a run as curves over epochs; of a file that is cut off, the whole rows."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Curve = dict[int, float]  # {epoch: value}
Row = list[str]
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
                    curve[int(float(row[epoch]))] = float(row[place])
                except ValueError:
                    continue  # a cell that is no number belongs to no curve
        return curve

    def tasks(self, split: str) -> list[str]:
        """Return the tasks that have rows of a split, without the total."""
        return [task for name, task in self.rows if name == split and task != TOTAL]

    def has(self, column: str) -> bool:
        """Return whether any row has a value in the column."""
        place = self.columns.get(column)
        return place is not None and any(row[place] for rows in self.rows.values() for row in rows)


def read_curves(directory: Path) -> RecordedCurves:
    """Read metrics.csv of a run directory; no curves if there is no such file."""
    columns: dict[str, int] = {}
    rows: dict[tuple[str, str], list[Row]] = {}
    try:
        path = directory / "metrics.csv"
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            lines = file.read().split("\n")
        # A line without its end is that of a run that was killed while it wrote a number.
        reader = csv.reader(f"{line}\n" for line in lines[:-1])
        columns = {name: place for place, name in enumerate(next(reader, []))}
        if not {"epoch", "split", "task"} <= columns.keys():
            return RecordedCurves()
        split, task = columns["split"], columns["task"]
        for row in reader:
            if len(row) == len(columns):
                rows.setdefault((row[split], row[task]), []).append(row)
    except (OSError, csv.Error):
        pass  # what was read before the file broke off stands
    return RecordedCurves(columns, rows)
