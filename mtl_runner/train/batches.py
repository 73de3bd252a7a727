"""Shuffled batches as slices of tensors that already lie on the device: no ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mtl_runner.data.dataset import Split, as_stand_in
from mtl_runner.data.inputs import InputTensors
from mtl_runner.data.items.batch import Batch
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.experiment.build import Experiment
from mtl_runner.experiment.term_points import TermPoints
from mtl_runner.gradients.part import WHOLE, Part
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.schedule import Schedule
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

MAX_PATTERNS = 1024  # patterns of activity that are kept at once
BLOCK_BYTES = 64 * 2**20  # rows are gathered in blocks: one gather serves many batches


class ActivityPatterns:
    """Which tasks are active in a batch, as one object per pattern.

    So whatever an :class:`~mtl_runner.tasks.activity.Active` caches is computed once.

    Args:
        schedule: The schedule that says which tasks are active at a step.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._patterns: dict[tuple[tuple[float, ...], tuple[bool, ...] | None], Active] = {}

    def active(self, step: int, labelled: tuple[bool, ...] | None = None) -> Active:
        """Return which tasks are active at a step.

        Args:
            step: Number of the step in the run, counted from 0.
            labelled: Whether the batch has a label for each task; None if no label is missing.
        """
        activation = self.schedule.activation(step)
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


class Batches:
    """The shuffled batches of a split, each with the tasks that are active in it.

    Which tasks are active is known on the host before an epoch begins, so that no step waits for
    the device.

    Args:
        split: The training split.
        tasks: The tasks of its targets.
        schedule: The schedule that says which tasks are active at a step.
        batch_size: Rows per batch; the last batch of a pass may be smaller.
        seed: Seed of the order of the rows, which has a random stream of its own.
        steps_per_epoch: Batches in an epoch; None: one pass over the rows.
        part: The part of each batch that this process takes.

    Attributes:
        count: Number of batches in an epoch.
        points: The points of the loss terms that have some of their own.
        generator: The random stream of the order.
        pass_state: The state of the stream before it drew the order of the last pass.
        pass_batches: Number of batches in a pass over the rows.

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
        self,
        split: Split,
        tasks: list[Task],
        schedule: Schedule,
        batch_size: int,
        seed: int,
        steps_per_epoch: int | None = None,
        part: Part = WHOLE,
    ) -> None:
        self.split, self.batch_size, self.part = split, batch_size, part
        self.generator = torch.Generator().manual_seed(seed)
        self.pass_state = self.first_state = self.generator.get_state()
        self.pass_batches = -(-len(split) // batch_size)
        self.count = steps_per_epoch or self.pass_batches
        self.labelled = _labelled_rows(split, tasks)
        inputs = InputTensors(split.inputs)
        self.device = inputs.device
        tensors = [*inputs.tensors.values(), *split.targets.values()]
        row_bytes = sum(t[:1].numel() * t.element_size() for t in tensors)
        self.block_rows = batch_size * max(1, BLOCK_BYTES // (max(1, row_bytes) * batch_size))
        self.patterns = ActivityPatterns(schedule)
        self.points = TermPoints(tasks, seed, self.count, self.device)

    def epoch(self, first_step: int, done: int = 0) -> Iterator[tuple[Split, Active]]:
        """Yield the batches of the next epoch, each with its active tasks.

        Args:
            first_step: Number of the epoch's first step in the run, counted from 0.
            done: Number of the epoch's first batches that are left out.
        """
        step, end = first_step + done, first_step + self.count
        while step < end:
            for batch, labelled in self._rest_of_pass(step % self.pass_batches):
                batch.points = self.points.of_step(step)
                yield batch, self.active(step, labelled)
                step += 1
                if step == end:
                    break

    def _rest_of_pass(self, first: int) -> Iterator[tuple[Split, tuple[bool, ...] | None]]:
        """Yield batches of a pass over the rows, and whether each has a label for each task.

        Args:
            first: Number of the first batch in the pass; not 0 goes on with the last pass.
        """
        if first:
            self.generator.set_state(self.pass_state)
        order = self.order()
        labelled_batches = self._labelled_batches(order)
        for start in block_starts(len(order), self.block_rows, self.batch_size, first):
            batches = self._batches_of(order[start : start + self.block_rows])
            for number, batch in enumerate(batches, start // self.batch_size):
                if number >= first:
                    known = None if labelled_batches is None else labelled_batches[number]
                    yield batch, None if known is None else tuple(known.tolist())

    def _batches_of(self, order: torch.Tensor) -> Iterator[Split]:
        """Yield the batches of some rows, or the part of each that this process takes.

        Args:
            order: The rows, one batch after another.
        """
        if self.part.is_all:
            yield from self.split.rows(order.to(self.device)).batches(self.batch_size)
            return
        batches = torch.split(order, self.batch_size)
        parts = [batch[self.part.slice_of(len(batch))] for batch in batches]
        block = self.split.rows(torch.cat(parts).to(self.device))
        start = 0
        for rows, batch in zip(parts, batches, strict=True):
            if len(rows):
                yield block.rows(slice(start, start + len(rows)))
            else:
                yield as_stand_in(self.split.rows(batch[:1].to(self.device)))
            start += len(rows)

    def active(self, step: int, labelled: tuple[bool, ...] | None = None) -> Active:
        """Return which tasks are active at a step (:meth:`ActivityPatterns.active`)."""
        return self.patterns.active(step, labelled)

    def unlabelled_tasks(self, passes: int) -> list[int]:
        """Return the indices of the tasks of which some batch of the first passes has no label.

        Args:
            passes: Number of passes over the rows, from the start of the run.
        """
        if self.labelled is None:
            return []
        generator = torch.Generator()
        generator.set_state(self.first_state)
        unlabelled = np.zeros(self.labelled.shape[1], dtype=bool)
        for _ in range(passes):
            labelled = self._labelled_batches(torch.randperm(len(self.split), generator=generator))
            assert labelled is not None
            unlabelled |= ~labelled.all(0)
        return np.flatnonzero(unlabelled).tolist()

    def close(self) -> None:
        """Free what an epoch holds: nothing here."""

    def state(self, step: int) -> torch.Tensor | None:
        """Return the state from which the batches from a step on can be drawn again.

        Args:
            step: Number of the next step in the run.
        """
        # Inside a pass its order must be drawn again.
        return self.pass_state if step % self.pass_batches else self.generator.get_state()

    def restore(self, state: torch.Tensor | None) -> None:
        """Go on with the batches of a :meth:`state`."""
        assert state is not None
        self.pass_state = state.cpu()
        self.generator.set_state(self.pass_state)

    def order(self) -> torch.Tensor:
        """Draw the order of the rows in the next pass, ``[N]``."""
        self.pass_state = self.generator.get_state()
        return torch.randperm(len(self.split), generator=self.generator)

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


class LoadedBatches:
    """The shuffled batches of a split that is not in memory, with their active tasks.

    The data are an endless stream of passes over the split, cut into epochs; where the stream
    stands is the number of the step.

    Args:
        split: The training split.
        tasks: The tasks of its targets.
        schedule: The schedule that says which tasks are active at a step.
        batch_size: Rows per batch; the last batch of a pass may be smaller.
        seed: Seed of the order and of the items' randomness.
        steps_per_epoch: Batches in an epoch; None: one pass.
        ranks: The processes that train together, each of which reads a part of every batch; None:
            this one alone.

    Attributes:
        count: Number of batches in an epoch.

    Example:
        >>> from mtl_runner.schedule import RunLength, Schedule
        >>> from mtl_runner.data.items.item_split import ItemSplit
        >>> tasks = [Task("depth")]
        >>> split = ItemSplit([(torch.zeros(3), {"depth": 0.0})] * 5, "train", tasks)
        >>> schedule = Schedule(tasks, RunLength(epochs=1, steps_per_epoch=3))
        >>> batches = LoadedBatches(split, tasks, schedule, batch_size=2, seed=0)
        >>> [(len(batch), active.values) for batch, active in batches.epoch(first_step=0)]
        [(2, (1.0,)), (2, (1.0,)), (1, (1.0,))]
    """

    def __init__(
        self,
        split: LoadedSplit,
        tasks: list[Task],
        schedule: Schedule,
        batch_size: int,
        seed: int,
        steps_per_epoch: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.ranks = ranks
        self.count = steps_per_epoch or -(-len(split) // batch_size)
        self.some_missing = any(task.missing for task in tasks)
        self.patterns = ActivityPatterns(schedule)
        self.points = TermPoints(tasks, seed, self.count, split.device)
        self._stream: Iterator[Batch] | None = None
        self._next_step = 0

    def epoch(self, first_step: int, done: int = 0) -> Iterator[tuple[Split, Active]]:
        """Yield the batches of the next epoch, each with its active tasks.

        Args:
            first_step: Number of the epoch's first step in the run, counted from 0.
            done: Number of the epoch's first batches that are left out.
        """
        start = first_step + done
        if self._stream is None or self._next_step != start:
            part = self.ranks.part if self.ranks else WHOLE
            self._stream = self.split.training_batches(self.batch_size, self.seed, start, part)
        for step in range(start, first_step + self.count):
            batch = next(self._stream)
            self._next_step = step + 1
            labelled = batch.labelled if self.some_missing else None
            if labelled is not None and self.ranks is not None:
                labelled = tuple(map(bool, self.ranks.largest(labelled)))
            batch.split.points = self.points.of_step(step)
            yield batch.split, self.active(step, labelled)

    def active(self, step: int, labelled: tuple[bool, ...] | None = None) -> Active:
        """Return which tasks are active at a step (:meth:`ActivityPatterns.active`)."""
        return self.patterns.active(step, labelled)

    def state(self, step: int) -> torch.Tensor | None:  # noqa: ARG002
        """Return the state of the order: the step itself is all."""
        return None

    def restore(self, state: torch.Tensor | None) -> None:
        """Go on with the batches of a :meth:`state`: nothing to do."""

    def close(self) -> None:
        """End the workers; the next epoch begins anew where the run stands."""
        self._stream = None


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


def make_stream(experiment: Experiment, seed: int) -> Batches | LoadedBatches:
    """Return the batches of an experiment's training split.

    Args:
        experiment: The experiment.
        seed: Seed of their order.
    """
    split, settings = experiment.data.splits["train"], experiment.settings
    options: dict[str, Any] = {
        "tasks": experiment.data.tasks,
        "schedule": experiment.schedule,
        "batch_size": settings.batch_size,
        "seed": seed,
        "steps_per_epoch": settings.steps_per_epoch,
    }
    ranks = experiment.ranks
    if isinstance(split, LoadedSplit):
        return LoadedBatches(split, **options, ranks=ranks)
    return Batches(split, **options, part=ranks.part if ranks else WHOLE)
