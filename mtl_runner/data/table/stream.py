"""The rows of a table that stay on the disk: read in windows, shuffled, cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.dataset import Split, StandIn, as_stand_in, rows_of_part
from mtl_runner.data.items.batch import Batch
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.data.items.loading import pass_order, take_batches
from mtl_runner.data.items.randomness import stable_seed
from mtl_runner.data.table.columns import Features
from mtl_runner.data.table.parquet import LazyFrame
from mtl_runner.data.table.targets import Target
from mtl_runner.errors import DataError
from mtl_runner.gradients.part import WHOLE, Part
from mtl_runner.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Window:
    """Row groups that are read at once.

    Attributes:
        groups: Numbers of the row groups.
        seed: Seed of the order of their rows; None: the order of the file.
    """

    groups: tuple[int, ...]
    seed: int | None = None


@dataclass(frozen=True)
class RowsOfTable:
    """The rows of a table, and all that a worker needs to make tensors of them.

    Attributes:
        frame: The rows.
        features: The fitted feature columns.
        targets: The fitted targets.
    """

    frame: LazyFrame
    features: Features
    targets: Sequence[Target]

    def inputs(self, frame: pd.DataFrame) -> Tensor:
        """Return the inputs of some rows, ``[N, width]``."""
        numbers = self.features.transform(frame)
        return torch.as_tensor(numbers, dtype=torch.get_default_dtype())

    def target(self, task: Task, frame: pd.DataFrame, location: str) -> Tensor:
        """Return the cleaned target of a task for some rows."""
        target = next(target for target in self.targets if target.task.name == task.name)
        values = torch.as_tensor(target.values(frame))
        if values.is_floating_point():
            values = values.to(torch.get_default_dtype())
        try:
            return task.spec.clean(values, None, location)
        except DataError as error:
            raise DataError(f"Task {task.name!r} {error}.") from None

    @property
    def feature_names(self) -> list[str]:
        """The names of the feature columns."""
        return [column.name for column in self.features.columns]

    def target_names(self, tasks: Sequence[Task]) -> list[str]:
        """Return the names of the columns of some tasks' targets."""
        names = {task.name for task in tasks}
        columns = [
            c for target in self.targets if target.task.name in names for c in target.columns
        ]
        return list(dict.fromkeys(columns))


class WindowReader(torch.utils.data.Dataset[Any]):
    """Reads windows, in a worker or in the main process.

    Args:
        rows: The rows of the split.
        tasks: The tasks.
        name: Name of the split, for errors.
    """

    def __init__(self, rows: RowsOfTable, tasks: Sequence[Task], name: str) -> None:
        self.rows, self.tasks, self.name = rows, list(tasks), name
        self.columns = [*rows.feature_names, *rows.target_names(self.tasks)]

    def __getitem__(self, window: Window) -> Any:
        """Return the rows of a window as one batch, or why they could not be made."""
        return self.__getitems__([window])

    def __getitems__(self, windows: Sequence[Window]) -> Any:
        """Return the rows of a window as one batch, or why they could not be made."""
        import traceback

        from mtl_runner.data.items.batch import FailedBatch
        from mtl_runner.errors import MtlError

        (window,) = windows
        try:
            frame = self.frame_of(window)
            location = f"in the {self.name} split"
            targets = {
                task.name: self.rows.target(task, frame, location)
                for task in self.tasks
                if task.has_target
            }
            return Batch(Split(self.rows.inputs(frame), targets), ())
        except MtlError as error:
            return FailedBatch(str(error), "".join(traceback.format_exception(error)))

    def frame_of(self, window: Window) -> pd.DataFrame:
        """Return the rows of a window that belong to the split, in its order."""
        frame = self.rows.frame.table.groups(window.groups, self.columns)
        wanted = np.isin(frame.index.to_numpy(), self._positions_in(window), assume_unique=True)
        if not wanted.all():
            frame = frame[wanted]
        if window.seed is None:
            return frame
        return frame.iloc[np.random.default_rng(window.seed).permutation(len(frame))]

    def _positions_in(self, window: Window) -> np.ndarray:
        starts, positions = self.rows.frame.table.starts, self.rows.frame.positions
        parts = [
            positions[slice(*np.searchsorted(positions, starts[[group, group + 1]]))]
            for group in window.groups
        ]
        return np.concatenate(parts)


class _Windows(Sampler[list[Window]]):
    """Endless windows of shuffled passes, from any window of any pass on.

    Args:
        windows_of: From the number of a pass to its windows.
        number: Number of the first pass.
        skip: Windows of it that are left out.
    """

    def __init__(self, windows_of: Callable[[int], list[Window]], number: int, skip: int) -> None:
        self.windows_of, self.number, self.skip = windows_of, number, skip

    def __iter__(self) -> Iterator[list[Window]]:
        number, skip = self.number, self.skip
        while True:
            for window in self.windows_of(number)[skip:]:
                yield [window]
            number, skip = number + 1, 0


class TableStream(LoadedSplit):
    """A split whose rows stay in a Parquet file.

    The order of a pass: the row groups in a random order, one after another until a window holds
    ``shuffle_rows`` rows, and the rows of a window in a random order. It depends on the seed and
    the pass alone. Batches are cut out of windows, and what is left of one begins the next.

    Args:
        rows: What the rows are made of.
        shuffle_rows: Rows of a window, at least (so far as there are).
        name: Name of the split.
        tasks: The tasks.
        options: Options of the loader.
        device: The device on which batches are needed.

    Example:
        >>> import tempfile, pandas as pd
        >>> from mtl_runner.data import Table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/t.parquet"
        ...     pd.DataFrame({"x": range(100), "y": range(100)}).to_parquet(file, row_group_size=9)
        ...     table = Table(file, {"y": "regression"}, stream=True, shuffle_rows=20)
        ...     train = table.splits["train"]
        ...     len(train), [len(batch) for batch in train.batches(32)]
        (70, [32, 32, 6])
    """

    def __init__(
        self,
        rows: RowsOfTable,
        shuffle_rows: int,
        name: str,
        tasks: Sequence[Task],
        options: LoaderOptions | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(name, tasks, options, device)
        self.of_table, self.shuffle_rows = rows, shuffle_rows
        table = rows.frame.table
        bounds = np.searchsorted(rows.frame.positions, table.starts)
        self.group_rows = np.diff(bounds)
        self.groups = np.flatnonzero(self.group_rows)

    def __len__(self) -> int:
        return len(self.of_table.frame)

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """The labels of all rows, in the order of the file."""
        parts: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks if task.has_target}
        tasks = [task for task in self.tasks if task.has_target]
        reader = WindowReader(
            RowsOfTable(self.of_table.frame, Features([]), self.of_table.targets), tasks, self.name
        )
        for window in self._in_order():
            frame = reader.frame_of(window)
            for task in tasks:
                location = f"in the {self.name} split"
                parts[task.name].append(self.of_table.target(task, frame, location))
        return {name: torch.cat(part) for name, part in parts.items()}

    def with_tasks(
        self, tasks: Sequence[Task], options: LoaderOptions | None = None
    ) -> TableStream:
        """Return the split with the tasks as they are known now, and with other options."""
        split = TableStream(
            self.of_table,
            self.shuffle_rows,
            self.name,
            tasks,
            options or self.options,
            self.device,
        )
        self.keep_what_is_known(split)
        return split

    def head(self, rows: int) -> TableStream:
        """Return the split of the first rows."""
        frame = self.of_table.frame.take(np.arange(min(rows, len(self))))
        of_table = RowsOfTable(frame, self.of_table.features, self.of_table.targets)
        return TableStream(
            of_table, self.shuffle_rows, self.name, self.tasks, self.options, self.device
        )

    def rows(self, index: Tensor | slice) -> Split:
        """Return some rows, read in this process."""
        positions = self.of_table.frame.positions
        wanted = positions[index if isinstance(index, slice) else index.numpy()]
        groups = np.unique(np.searchsorted(self.of_table.frame.table.starts, wanted, "right") - 1)
        reader = self._reader()
        frame = self.of_table.frame.table.groups(groups.tolist(), reader.columns).loc[wanted]
        location = f"in the {self.name} split"
        targets = {
            task.name: self.of_table.target(task, frame, location)
            for task in self.tasks
            if task.has_target
        }
        return self.on_device(Split(self.of_table.inputs(frame), targets))

    def open(self, size: int, part: Part = WHOLE) -> Any:  # noqa: ARG002
        """Return the loader of :meth:`batches`; the workers read windows of any size."""
        key = (0, WHOLE)
        if key not in self._loaders:
            windows = [[window] for window in self._in_order()]
            self._loaders[key] = self.make_loader(self._reader(), windows)
            if self.options.workers and self.options.persistent:
                iter(self._loaders[key])
        return self._loaders[key]

    def batches(self, size: int, part: Part = WHOLE) -> Iterator[Split]:
        """Yield all rows in the order of the file; the last batch may be smaller.

        Args:
            size: Rows at a time.
            part: The part of each batch that is wanted; every part reads all windows.
        """
        for batch in _cut((window.split for window in take_batches(self.open(size))), size):
            rows = batch if part.is_all else batch.rows(part.slice_of(len(batch)))
            if len(rows):
                yield self.on_device(rows)

    def training_batches(
        self, batch_size: int, seed: int, first: int, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """Yield endless batches of shuffled passes over the rows, on the device.

        Args:
            batch_size: Rows per batch; the last batch of a pass may be smaller.
            seed: Seed of the order.
            first: Number of the first batch, counted from the beginning of the first pass.
            part: The part of each batch that is wanted; every part reads all windows.
        """
        number, done = divmod(first, -(-len(self) // batch_size))
        sizes = [self._rows_of(window) for window in self._shuffled(seed, number)]
        ends = np.cumsum(sizes)
        skip = int(np.searchsorted(ends, done * batch_size, "right"))
        drop = done * batch_size - (int(ends[skip - 1]) if skip else 0)
        windows = _Windows(lambda n: self._shuffled(seed, n), number, skip)
        loaded = take_batches(self.make_loader(self._reader(), windows))
        missing = [task for task in self.tasks if task.missing]
        while True:
            count = len(self._shuffled(seed, number)) - skip
            of_pass = (window.split for window in islice(loaded, count))
            for batch in _cut(of_pass, batch_size, drop):
                labelled = tuple(
                    task not in missing or bool(task.labelled(batch.targets[task.name]).any())
                    for task in self.tasks
                )
                rows = batch if part.is_all else rows_of_part(batch, part)
                split = self.on_device(rows)
                is_stand_in = isinstance(rows, StandIn)
                yield Batch(as_stand_in(split) if is_stand_in else split, labelled)
            number, skip, drop = number + 1, 0, 0

    def _reader(self) -> WindowReader:
        return WindowReader(self.of_table, self.tasks, self.name)

    def _in_order(self) -> list[Window]:
        """Return the windows of the split in the order of the file."""
        return [Window((int(group),)) for group in self.groups]

    def _shuffled(self, seed: int, number: int) -> list[Window]:
        """Return the windows of a pass."""
        order = self.groups[pass_order(len(self.groups), seed, number)]
        windows: list[Window] = []
        groups: list[int] = []
        rows = 0
        for group in order.tolist():
            groups.append(group)
            rows += int(self.group_rows[group])
            if rows >= self.shuffle_rows:
                windows.append(Window(tuple(groups)))
                groups, rows = [], 0
        if groups:
            windows.append(Window(tuple(groups)))
        return [
            Window(window.groups, stable_seed("rows of a window", seed, number, k))
            for k, window in enumerate(windows)
        ]

    def _rows_of(self, window: Window) -> int:
        return int(self.group_rows[list(window.groups)].sum())


def _cut(windows: Iterator[Split], size: int, drop: int = 0) -> Iterator[Split]:
    """Yield batches cut out of windows; what is left of a window begins the next batch.

    Args:
        windows: Consecutive rows.
        size: Rows per batch; the last one may be smaller.
        drop: Number of the first rows that are left out.

    Example:
        >>> windows = [Split(torch.arange(5), {}), Split(torch.arange(5, 9), {})]
        >>> [batch.inputs.tolist() for batch in _cut(iter(windows), size=3, drop=1)]
        [[1, 2, 3], [4, 5, 6], [7, 8]]
    """
    remainder: Split | None = None
    for window in windows:
        rows = window.rows(slice(drop, None)) if drop else window
        drop = 0
        if remainder is not None:
            rows = _joined(remainder, rows)
        full = len(rows) // size * size
        yield from rows.rows(slice(0, full)).batches(size) if full else ()
        remainder = rows.rows(slice(full, None)) if full < len(rows) else None
    if remainder is not None:
        yield remainder


def _joined(first: Split, second: Split) -> Split:
    assert isinstance(first.inputs, Tensor)
    assert isinstance(second.inputs, Tensor)
    targets = {
        name: torch.cat([target, second.targets[name]]) for name, target in first.targets.items()
    }
    return Split(torch.cat([first.inputs, second.inputs]), targets)
