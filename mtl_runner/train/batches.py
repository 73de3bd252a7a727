"""Shuffled batches as slices of tensors that already lie on the device: no ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.schedule import Schedule
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

MAX_PATTERNS = 1024  # patterns of activity that are kept at once
BLOCK_BYTES = 64 * 2**20  # rows are gathered in blocks: one gather serves many batches


class Batches:
    """The shuffled batches of a split, each with the tasks that are active in it.

    Which tasks are active is known on the host before an epoch begins, so that no step waits for
    the device.

    Args:
        split: The training split.
        tasks: The tasks of its targets.
        schedule: The schedule that says which tasks are active at a step.
        batch_size: Rows per batch; the last batch of an epoch may be smaller.
        seed: Seed of the order of the rows, which has a random stream of its own.

    Attributes:
        count: Number of batches in an epoch.
        generator: The random stream of the order.
        epoch_state: The state of the stream before it drew the order of the last epoch.

    Example:
        >>> from mtl_runner.schedule import RunLength, Schedule
        >>> tasks = [Task("depth")]
        >>> split = Split(torch.zeros(5, 3), {"depth": torch.zeros(5, 1)})
        >>> schedule = Schedule(tasks, RunLength(epochs=1, steps_per_epoch=3))
        >>> batches = Batches(split, tasks, schedule, batch_size=2, seed=0)
        >>> [(len(batch), active.values) for batch, active in batches.epoch(first_step=0)]
        [(2, (1.0,)), (2, (1.0,)), (1, (1.0,))]
    """

    def __init__(
        self, split: Split, tasks: list[Task], schedule: Schedule, batch_size: int, seed: int
    ) -> None:
        self.split, self.schedule, self.batch_size = split, schedule, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch_state = self.generator.get_state()
        self.count = -(-len(split) // batch_size)
        self.labelled = _labelled_rows(split, tasks)
        inputs = InputTensors(split.inputs)
        self.device = inputs.device
        tensors = [*inputs.tensors.values(), *split.targets.values()]
        row_bytes = sum(t[:1].numel() * t.element_size() for t in tensors)
        self.block_rows = batch_size * max(1, BLOCK_BYTES // (max(1, row_bytes) * batch_size))
        self._patterns: dict[tuple[tuple[float, ...], tuple[bool, ...] | None], Active] = {}

    def epoch(self, first_step: int, done: int = 0) -> Iterator[tuple[Split, Active]]:
        """Yield the batches of the next epoch, each with its active tasks.

        Args:
            first_step: Number of the epoch's first step in the run, counted from 0.
            done: Number of the epoch's first batches that are left out.
        """
        order = self.order()
        labelled_batches = self._labelled_batches(order)
        for start in block_starts(len(order), self.block_rows, self.batch_size, done):
            block = self.split.rows(order[start : start + self.block_rows].to(self.device))
            step = first_step + start // self.batch_size
            for batch in block.batches(self.batch_size):
                if step < first_step + done:
                    step += 1
                    continue
                labelled = (
                    None
                    if labelled_batches is None
                    else tuple(labelled_batches[step - first_step].tolist())
                )
                yield batch, self.active(step, labelled)
                step += 1

    def order(self) -> torch.Tensor:
        """Draw the order of the rows in the next epoch, ``[N]``."""
        self.epoch_state = self.generator.get_state()
        return torch.randperm(len(self.split), generator=self.generator)

    def active(self, step: int, labelled: tuple[bool, ...] | None = None) -> Active:
        """Return which tasks are active at a step.

        Args:
            step: Number of the step in the run, counted from 0.
            labelled: Whether the batch has a label for each task; None if no label is missing.
        """
        return self._pattern(self.schedule.activation(step), labelled)

    def _pattern(self, activation: tuple[float, ...], labelled: tuple[bool, ...] | None) -> Active:
        """Return one object per pattern of activity, so that what it caches is computed once."""
        if (activation, labelled) not in self._patterns:
            # A ramp has another pattern at every step.
            if len(self._patterns) >= MAX_PATTERNS:
                self._patterns.clear()
            values = (
                activation
                if labelled is None
                else tuple(a * known for a, known in zip(activation, labelled, strict=True))
            )
            self._patterns[activation, labelled] = Active(values, labelled)
        return self._patterns[activation, labelled]

    def _labelled_batches(self, order: torch.Tensor) -> np.ndarray | None:
        """Return whether each batch has a label for each task, ``[batches, T]``.

        None means that no label of the split is missing.
        """
        if self.labelled is None:
            return None
        starts = np.arange(0, len(order), self.batch_size)
        return np.logical_or.reduceat(self.labelled[order.numpy()], starts, axis=0)


def block_starts(rows: int, block_rows: int, batch_size: int, done: int) -> range:
    """Return the first rows of the blocks of an epoch that are still needed.

    An epoch that goes on inside a block gathers all of it again: a batch that lies elsewhere in
    the memory may be summed up in another order.

    Args:
        rows: Number of rows of the epoch.
        block_rows: Rows per block, a multiple of the batch size.
        batch_size: Rows per batch.
        done: Number of batches that are not needed any more.

    Example:
        >>> list(block_starts(rows=50, block_rows=20, batch_size=10, done=3))
        [20, 40]
    """
    return range(min(done * batch_size, rows) // block_rows * block_rows, rows, block_rows)


def _labelled_rows(split: Split, tasks: list[Task]) -> np.ndarray | None:
    """Return whether each row has a label for each task, ``[N, T]``; None if none is missing."""
    if not any(task.missing for task in tasks):
        return None
    all_rows = np.ones(len(split), dtype=bool)
    columns = [
        task.labelled(split.targets[task.name]).cpu().numpy() if task.missing else all_rows
        for task in tasks
    ]
    return np.stack(columns, 1)
