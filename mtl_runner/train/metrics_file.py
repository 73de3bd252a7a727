"""metrics.csv: a row per evaluated epoch, split and task; a kill loses at most one epoch.

A file that somebody has edited is set aside when its run is resumed, never written into.
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import open_regular, open_to_append, write_atomic
from mtl_runner.tasks.task import Task
from mtl_runner.write_group import current_group

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

# A longer file is not kept in the checkpoint: every save would write all of it again.
KEPT_BYTES = 2**20

Row = Mapping[str, str | int | float | None]

log = logging.getLogger("mtl_runner")


class MetricsFile:
    """Appends rows to ``metrics.csv``.

    Args:
        path: The file.
        tasks: The tasks, whose metrics are columns.
        saved: What :meth:`state` returned when the checkpoint was written, to which an existing
            file is cut back; None starts a new file.
        extra_columns: Names of more columns, after the metrics.

    Attributes:
        columns: The names of all columns.
        position: Length of the file in bytes, without the rows that are not written yet.
        checksum: CRC-32 of these bytes; None in a run of an older version, which had none.
        content: These bytes; None if they are too many to keep, or not known.

    Raises:
        RunDirectoryError: If the file is not what the run wrote, and that is not known.

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
        saved: Mapping[str, Any] | None = None,
        extra_columns: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.pending: list[str] = []
        metrics = [name for task in tasks for name in task.metric_names]
        self.columns = [*BASE_COLUMNS, *dict.fromkeys(metrics), *extra_columns]
        self.position = 0
        self.checksum: int | None = 0
        self.content: bytes | None = b""
        if saved is None:
            # A link that lies there is not written through.
            path.unlink(missing_ok=True)
            self.append([dict(zip(self.columns, self.columns, strict=True))])
        else:
            self._cut_back(saved)

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
        # Undefined numbers are empty; NaN alone differs from itself.
        writer.writerows(
            ["" if cell is None or cell != cell else cell for cell in map(row.get, self.columns)]
            for row in rows
        )
        self.pending.append(text.getvalue())
        if flush:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are pending, and wait until they are on the disk.

        In :func:`mtl_runner.write_group.written_together` that is waited for at its end.
        """
        data = "".join(self.pending).encode()
        with os.fdopen(open_to_append(self.path), "ab") as file:
            file.write(data)
            file.flush()
            group = current_group()
            if group is None:
                os.fsync(file.fileno())
            else:
                group.sync_later(self.path)
        self._count(data)
        self.pending.clear()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the file, without the rows that are not written yet."""
        content = None if self.content is None else self.content.decode()
        return {"position": self.position, "checksum": self.checksum, "content": content}

    def _count(self, data: bytes) -> None:
        """Take up what was written."""
        self.position += len(data)
        if self.checksum is not None:
            self.checksum = zlib.crc32(data, self.checksum)
        if self.content is not None:
            self.content = self.content + data if self.position <= KEPT_BYTES else None

    def _cut_back(self, saved: Mapping[str, Any]) -> None:
        """Cut the file back to a checkpoint, or write it anew if it is not what the run wrote."""
        position, checksum, content = (
            saved.get(key) for key in ("position", "checksum", "content")
        )
        data, is_regular = self._recorded(position or 0)
        if is_regular and len(data) == position and checksum in (None, zlib.crc32(data)):
            os.truncate(self.path, position)
        elif content is not None:
            data = content.encode()
            self._write_anew(data, "edited" if is_regular else "no regular file")
        else:
            if not is_regular:
                problem = "is no regular file"
            elif len(data) == position:
                problem = f"is not what the run wrote (it differs in its first {position} bytes)"
            else:
                problem = "is shorter than its checkpoint says"
            raise RunDirectoryError(
                f"{str(self.path)!r} {problem}; put the original back, or run again with mtl-run repeat={self.path.parent}."
            )
        self._count(data)
        # An older checkpoint does not vouch for what it found.
        if checksum is None:
            self.checksum = self.content = None

    def _recorded(self, length: int) -> tuple[bytes, bool]:
        """Return the first bytes of the file, and whether it is a regular one or missing."""
        try:
            with os.fdopen(open_regular(self.path), "rb") as file:
                return file.read(length), not self.path.is_symlink()
        except FileNotFoundError:
            return b"", True
        except OSError:
            return b"", False

    def _write_anew(self, data: bytes, problem: str) -> None:
        """Write what the checkpoint knows, and keep what lies there under another name."""
        name = self.path.name
        if not self.path.exists():
            log.warning("%s was missing; it is written anew from the checkpoint.", name)
        else:
            names = (f"{name}.edited{f'.{n}' if n else ''}" for n in itertools.count())
            aside = next(path for path in map(self.path.with_name, names) if not path.exists())
            self.path.replace(aside)
            log.warning(
                "%s was %s; it is set aside as %s and written anew from the checkpoint.",
                name,
                problem,
                aside.name,
            )
        write_atomic(self.path, data)


class UnwrittenMetrics(MetricsFile):
    """Takes the rows of a process that writes no files: another one writes the same rows.

    Example:
        >>> UnwrittenMetrics().append([{"epoch": 1}])
    """

    def __init__(self) -> None:
        self.position, self.checksum, self.content = 0, None, None

    def append(self, rows: Sequence[Row], flush: bool = True) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


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
