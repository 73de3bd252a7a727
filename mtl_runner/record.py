"""metrics.csv: tidy, one row per (evaluated epoch, split, task), written so that a kill loses at most the current epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtl_runner.errors import RunDirectoryError
from mtl_runner.task import Task

BASE_COLUMNS = ("epoch", "step", "split", "task", "loss", "weight", "sigma", "active", "relative_loss")
Row = Mapping[str, str | int | float | None]


class MetricsFile:
    """Appends rows to ``metrics.csv``.

    Args:
        path: of the file. tasks: whose metrics are the columns. position: length in bytes to cut an existing file back to (from the
            checkpoint); 0 starts a new one.
    """

    def __init__(self, path: Path, tasks: Sequence[Task], position: int = 0) -> None:
        self.path = path
        names = [name for task in tasks for name in task.spec.metrics]
        self.columns = [*BASE_COLUMNS, *dict.fromkeys(names)]
        if position:
            if not path.exists() or path.stat().st_size < position:
                raise RunDirectoryError(
                    f"{str(path)!r} is shorter than its checkpoint says; run again with mtl-run repeat={path.parent}."
                )
            os.truncate(path, position)
            self.position = position
        else:
            path.write_bytes(b"")
            self.position = 0
            self.append([dict(zip(self.columns, self.columns, strict=True))])

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows in one piece, flush and sync."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([_cell(row.get(column)) for column in self.columns] for row in rows)
        data = text.getvalue().encode()
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.position += len(data)


def _cell(value: str | int | float | None) -> str | int | float:
    """Numbers in full (the shortest text that reads back equal); undefined ones empty."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
