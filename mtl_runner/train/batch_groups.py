"""Several independent batches per step, for an update that takes more than one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from mtl_runner.data.dataset import BatchGroup
from mtl_runner.data.items.iterable_split import IterableSplit
from mtl_runner.data.items.randomness import stable_seed
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import Experiment
from mtl_runner.tasks.activity import Active
from mtl_runner.train.batches import Batches, LoadedBatches, make_stream


class BatchGroups:
    """The shuffled batches of independent streams over one split, a batch of each per step.

    The first stream is the one that a run with another method has, so that an epoch has as many
    steps, the losses of the same batches are recorded, and methods compare at equal steps. Every
    stream passes over the rows once per epoch, in an order of its own.

    Args:
        streams: At least two streams with as many batches in an epoch.

    Attributes:
        count: Number of steps in an epoch.
        batch_size: Rows of each batch.

    Example:
        >>> from mtl_runner.data.dataset import Split
        >>> from mtl_runner.schedule import RunLength, Schedule
        >>> from mtl_runner.tasks.task import Task
        >>> tasks = [Task("depth")]
        >>> split = Split(torch.arange(5.0), {"depth": torch.zeros(5, 1)})
        >>> schedule = Schedule(tasks, RunLength(epochs=1, steps_per_epoch=3))
        >>> streams = [Batches(split, tasks, schedule, 2, seed) for seed in (0, 1)]
        >>> for group, active in BatchGroups(streams).epoch(first_step=0):
        ...     print(group.first.inputs.tolist(), group.extra[0].inputs.tolist())
        [4.0, 0.0] [0.0, 4.0]
        [1.0, 3.0] [2.0, 3.0]
        [2.0] [1.0]
    """

    def __init__(self, streams: Sequence[Batches | LoadedBatches]) -> None:
        self.streams = list(streams)
        self.count, self.batch_size = self.streams[0].count, self.streams[0].batch_size

    def epoch(self, first_step: int, done: int = 0) -> Iterator[tuple[BatchGroup, Active]]:
        """Yield the batches of each step of the next epoch, with the tasks that all of them label.

        Args:
            first_step: Number of the epoch's first step in the run, counted from 0.
            done: Number of the epoch's first steps that are left out.
        """
        epochs = [stream.epoch(first_step, done) for stream in self.streams]
        for step, pairs in enumerate(zip(*epochs, strict=True), first_step + done):
            batches = [batch for batch, _ in pairs]
            patterns = [active.labelled for _, active in pairs if active.labelled is not None]
            labelled = tuple(map(all, zip(*patterns, strict=True))) if patterns else None
            yield BatchGroup(batches[0], tuple(batches[1:])), self.active(step, labelled)

    def active(self, step: int, labelled: tuple[bool, ...] | None = None) -> Active:
        """Return which tasks are active at a step.

        Args:
            step: Number of the step in the run, counted from 0.
            labelled: Whether every batch of the step has a label for each task; None if no label is
                missing.
        """
        return self.streams[0].active(step, labelled)

    def close(self) -> None:
        """Free what an epoch holds."""
        for stream in self.streams:
            stream.close()

    def state(self, step: int) -> list[torch.Tensor | None]:
        """Return the state from which the batches from a step on can be drawn again.

        Args:
            step: Number of the next step in the run.
        """
        return [stream.state(step) for stream in self.streams]

    def restore(self, state: Sequence[torch.Tensor | None]) -> None:
        """Go on with the batches of a :meth:`state`."""
        for stream, saved in zip(self.streams, state, strict=True):
            stream.restore(saved)


def make_batches(experiment: Experiment) -> Batches | LoadedBatches | BatchGroups:
    """Return the batches of an experiment's training split, as many per step as its update takes.

    Raises:
        ConfigError: If several are wanted of data that come in one order only.
    """
    count, seed = experiment.learner.update.batches, experiment.settings.seed
    first = make_stream(experiment, seed)
    if count == 1:
        return first
    if isinstance(experiment.data.splits["train"], IterableSplit):
        raise ConfigError(
            f"This method takes {count} independent batches per step, and the train split is an IterableDataset, which has one order only; give it __len__ and __getitem__, or choose a method that takes one batch."
        )
    seeds = [stable_seed("batches", seed, number) for number in range(1, count)]
    # Generators of torch take 63 bits.
    return BatchGroups([first, *(make_stream(experiment, seed % 2**63) for seed in seeds)])
