"""One epoch as index slices of tensors that already lie on the device: no DataLoader, no per-sample Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.schedule import Schedule
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

PATTERNS = 1024  # kept at once
BLOCK_BYTES = (
    64 * 2**20
)  # rows are gathered in blocks of this size, then sliced: one gather serves many batches


class Batches:
    """Shuffled batches of a split and, for each, which tasks are active; known on the host before the epoch begins.

    Args:
        split: training split. tasks: of its targets. schedule: says who is active. batch_size: rows per batch; the last batch of
            an epoch may be smaller. seed: of the order, a random stream of its own.
    """

    def __init__(
        self, split: Split, tasks: list[Task], schedule: Schedule, batch_size: int, seed: int
    ) -> None:
        self.split, self.schedule, self.batch_size = split, schedule, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.count = -(-len(split) // batch_size)
        self.labelled = _labelled(split, tasks)
        inputs = InputTensors(split.inputs)
        self.device = inputs.device
        tensors = [
            *inputs.tensors.values(),
            *split.targets.values(),
        ]
        row_bytes = sum(t[:1].numel() * t.element_size() for t in tensors)
        self.block = batch_size * max(1, BLOCK_BYTES // (max(1, row_bytes) * batch_size))
        self._patterns: dict[tuple[tuple[float, ...], tuple[bool, ...] | None], Active] = {}

    def epoch(self, first_step: int) -> Iterator[tuple[Split, Active]]:
        """The batches of the next epoch, whose first step has this number in the run."""
        order = self.order()
        has_labels = self._has_labels(order)
        step = first_step
        for start in range(0, len(order), self.block):
            block = self.split.rows(order[start : start + self.block].to(self.device))
            for batch in block.batches(self.batch_size):
                known = (
                    None if has_labels is None else tuple(has_labels[step - first_step].tolist())
                )
                yield batch, self.active(step, known)
                step += 1

    def order(self) -> torch.Tensor:
        """The rows of the next epoch."""
        return torch.randperm(len(self.split), generator=self.generator)

    def active(self, step: int, known: tuple[bool, ...] | None = None) -> Active:
        """Who is active at a step of the run, given which tasks have labels in its batch."""
        return self._pattern(self.schedule.activation(step), known)

    def _pattern(self, values: tuple[float, ...], known: tuple[bool, ...] | None) -> Active:
        """The same object for the same pattern: what it caches is worked out once."""
        if (values, known) not in self._patterns:
            if len(self._patterns) >= PATTERNS:  # a ramp has another one at every step
                self._patterns.clear()
            both = (
                values
                if known is None
                else tuple(v * k for v, k in zip(values, known, strict=True))
            )
            self._patterns[values, known] = Active(both, known)
        return self._patterns[values, known]

    def _has_labels(self, order: torch.Tensor) -> np.ndarray | None:
        """Whether each batch has a label for each task, ``[batches, T]``; None if no label is missing."""
        if self.labelled is None:
            return None
        starts = np.arange(0, len(order), self.batch_size)
        return np.logical_or.reduceat(self.labelled[order.numpy()], starts, axis=0)


def _labelled(split: Split, tasks: list[Task]) -> np.ndarray | None:
    if not any(task.missing for task in tasks):
        return None
    ones = np.ones(len(split), dtype=bool)
    columns = [
        task.labelled(split.targets[task.name]).cpu().numpy() if task.missing else ones
        for task in tasks
    ]
    return np.stack(columns, 1)
