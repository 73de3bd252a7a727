"""metrics.csv: tidy, one row per (evaluated epoch, split, task), written so that a kill loses at most the current epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mtl_runner.errors import RunDirectoryError
from mtl_runner.tasks.task import Task

BASE_COLUMNS = (
    "epoch",
    "step",
    "split",
    "task",
    "loss",
    "weight",
    "sigma",
    "active",
    "relative_loss",
)
Row = Mapping[str, str | int | float | None]
ONCE_A_STEP = (
    "norm_ratio",
)  # fields that a step has once, not per task: they stand in the row of the total


class MetricsFile:
    """Appends rows to ``metrics.csv``.

    Args:
        path: of the file. tasks: whose metrics are the columns. position: length in bytes to cut an existing file back to (from the
            checkpoint); 0 starts a new one. further: names of more columns, after the metrics.
    """

    def __init__(
        self, path: Path, tasks: Sequence[Task], position: int = 0, further: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.pending = ""
        names = [name for task in tasks for name in task.metric_names]
        self.columns = [*BASE_COLUMNS, *dict.fromkeys(names), *further]
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

    def append(self, rows: Sequence[Row], flush: bool = True) -> None:
        """Add rows; written in one piece, flushed and synced, unless they are to be kept for later."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([_cell(row.get(column)) for column in self.columns] for row in rows)
        self.pending += text.getvalue()
        if flush:
            self.flush()

    def flush(self) -> None:
        """Write what was kept."""
        data = self.pending.encode()
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.position += len(data)
        self.pending = ""


def _cell(value: str | int | float | None) -> str | int | float:
    """Numbers in full (the shortest text that reads back equal); undefined ones empty."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def further_columns(fields: Iterable[str], tasks: Sequence[Task]) -> list[str]:
    """The columns of a step's further fields."""
    cosines = [f"cosine_{task.name}" for task in tasks]
    return [column for name in fields for column in (cosines if name == "cosine" else [name])]


def cells_of_task(
    further: Mapping[str, Sequence[float]], index: int, tasks: Sequence[Task]
) -> dict[str, float]:
    """The further fields of a task's row; of its gradient's cosines, those to the other tasks."""
    cells: dict[str, float] = {}
    for name, values in further.items():
        if name == "cosine":
            row = values[index * len(tasks) : (index + 1) * len(tasks)]
            cells |= {
                f"cosine_{t.name}": v
                for i, (t, v) in enumerate(zip(tasks, row, strict=True))
                if i != index
            }
        elif name not in ONCE_A_STEP:
            cells[name] = values[index]
    return cells


def cells_of_step(further: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The further fields of the total's row."""
    return {name: further[name][0] for name in ONCE_A_STEP if name in further}
