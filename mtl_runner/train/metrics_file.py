"""metrics.csv: a row per evaluated epoch, split and task; a kill loses at most one epoch."""

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
# Measurements that a step has once, not per task: they stand in the row of the total.
ONCE_PER_STEP = ("norm_ratio",)

Row = Mapping[str, str | int | float | None]


class MetricsFile:
    """Appends rows to ``metrics.csv``.

    Args:
        path: The file.
        tasks: The tasks, whose metrics are columns.
        position: Length in bytes, from the checkpoint, to which an existing file is cut back; 0
            starts a new file.
        extra_columns: Names of more columns, after the metrics.

    Attributes:
        columns: The names of all columns.
        position: Length of the file in bytes, without the rows that are not written yet.

    Raises:
        RunDirectoryError: If the file is shorter than ``position``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = MetricsFile(Path(folder) / "metrics.csv", [Task("depth")])
        ...     file.append([{"epoch": 1, "split": "val", "task": "depth", "loss": 0.25}])
        ...     print(file.path.read_text())
        epoch,step,split,task,loss,weight,sigma,active,relative_loss,rmse,mae,r2,rrmse
        1,,val,depth,0.25,,,,,,,,
        <BLANKLINE>
    """

    def __init__(
        self,
        path: Path,
        tasks: Sequence[Task],
        position: int = 0,
        extra_columns: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.pending = ""
        metrics = [name for task in tasks for name in task.metric_names]
        self.columns = [*BASE_COLUMNS, *dict.fromkeys(metrics), *extra_columns]
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
        """Add rows.

        Args:
            rows: Cells by the name of their column; a cell that is missing, None or NaN stays
                empty.
            flush: Whether to write the rows to the disk now, in one piece, or at the next
                :meth:`flush`.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([_cell(row.get(column)) for column in self.columns] for row in rows)
        self.pending += text.getvalue()
        if flush:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are pending, and wait until they are on the disk."""
        data = self.pending.encode()
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.position += len(data)
        self.pending = ""


def _cell(value: str | int | float | None) -> str | int | float:
    """Return numbers in full (the shortest text that reads back equal), undefined ones as empty."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def measured_columns(names: Iterable[str], tasks: Sequence[Task]) -> list[str]:
    """Return the columns for what the steps measure beside loss and weight.

    Args:
        names: Names of the measurements
            (:attr:`mtl_runner.experiment.step_record.RecordLayout.measured`).
        tasks: The tasks.

    Example:
        >>> measured_columns(["nll", "cosine"], [Task("depth"), Task("label")])
        ['nll', 'cosine_depth', 'cosine_label']
    """
    cosines = [f"cosine_{task.name}" for task in tasks]
    return [column for name in names for column in (cosines if name == "cosine" else [name])]


def task_cells(
    measured: Mapping[str, Sequence[float]], index: int, tasks: Sequence[Task]
) -> dict[str, float]:
    """Return the cells in a task's row for what the steps measured.

    Args:
        measured: Means by name: a value per task, or ``[T * T]`` cosines between the tasks'
            gradients, row by row.
        index: Position of the task.
        tasks: The tasks.

    Returns:
        The task's values by column; of the cosines those to the other tasks.

    Example:
        >>> measured = {"nll": [4.0, 5.0], "cosine": [1.0, 0.2, 0.2, 1.0]}
        >>> task_cells(measured, 1, [Task("depth"), Task("label")])
        {'nll': 5.0, 'cosine_depth': 0.2}
    """
    cells: dict[str, float] = {}
    for name, values in measured.items():
        if name == "cosine":
            cosines = values[index * len(tasks) : (index + 1) * len(tasks)]
            cells |= {
                f"cosine_{task.name}": cosine
                for i, (task, cosine) in enumerate(zip(tasks, cosines, strict=True))
                if i != index
            }
        elif name not in ONCE_PER_STEP:
            cells[name] = values[index]
    return cells


def total_cells(measured: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the cells in the total's row for what the steps measured once, not per task.

    Example:
        >>> total_cells({"nll": [4.0, 5.0], "norm_ratio": [0.5]})
        {'norm_ratio': 0.5}
    """
    return {name: measured[name][0] for name in ONCE_PER_STEP if name in measured}
