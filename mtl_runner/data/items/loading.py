"""Loaders of batches: the only place that knows ``DataLoader`` and how its workers fail."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader, Sampler

from mtl_runner.compat.torch_loader import end_workers
from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.items.batch import Batch, FailedBatch, Place, identity
from mtl_runner.data.items.randomness import stable_seed
from mtl_runner.errors import DataError
from mtl_runner.gradients.part import WHOLE, Part

_OWN_SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1")

#: The iterators whose workers :func:`workers_ended` is to end.
_open_iterators: ContextVar[WeakSet[Any] | None] = ContextVar("_open_iterators", default=None)


class Passes(Sampler[list[Place]]):
    """Endless batches of passes over shuffled items, from any batch on.

    The order of a pass is a function of the seed and the pass's number alone, so that the state of
    the data is one number: how many batches have been taken.

    Args:
        indices: Indices of the items.
        batch_size: Items per batch; the last batch of a pass may be smaller.
        seed: Seed of the order.
        first: Number of the first batch, counted from the beginning of the first pass.
        part: The part of each batch that is wanted; its first item where the part has none.

    Example:
        >>> from itertools import islice
        >>> batches = list(islice(Passes(range(5), batch_size=2, seed=0), 6))
        >>> [len(batch) for batch in batches], sorted(index for _, index in sum(batches[3:], []))
        ([2, 2, 1, 2, 2, 1], [0, 1, 2, 3, 4])
        >>> list(islice(Passes(range(5), batch_size=2, seed=0, first=4), 2)) == batches[4:]
        True
    """

    def __init__(
        self,
        indices: Sequence[int],
        batch_size: int,
        seed: int,
        first: int = 0,
        part: Part = WHOLE,
    ) -> None:
        self.indices, self.batch_size, self.seed, self.first = indices, batch_size, seed, first
        self.part = part

    def __iter__(self) -> Iterator[list[Place]]:
        rows = len(self.indices)
        number, skip = divmod(self.first, -(-rows // self.batch_size))
        while True:
            order = pass_order(rows, self.seed, number)
            for start in range(skip * self.batch_size, rows, self.batch_size):
                batch = order[start : start + self.batch_size]
                batch = batch[self.part.slice_of(len(batch))] or batch[:1]
                yield [(number, self.indices[position]) for position in batch]
            number, skip = number + 1, 0

    def is_empty(self, number: int) -> bool:
        """Return whether the part has no item in a batch, counted as ``first`` is."""
        start = number % -(-len(self.indices) // self.batch_size) * self.batch_size
        rows = self.part.slice_of(min(self.batch_size, len(self.indices) - start))
        return bool(rows.start == rows.stop)


def pass_order(items: int, seed: int, number: int) -> list[int]:
    """Return the order of the items in a pass.

    Example:
        >>> sorted(pass_order(3, seed=0, number=5))
        [0, 1, 2]
    """
    generator = torch.Generator().manual_seed(stable_seed("order", seed, number))
    order: list[int] = torch.randperm(items, generator=generator).tolist()
    return order


@contextlib.contextmanager
def workers_ended() -> Iterator[None]:
    """End the workers of all loaders that were begun inside, also after an error.

    An error's traceback keeps their iterators alive to the end of the interpreter, where torch
    takes the end of a worker for another error.

    Example:
        >>> import multiprocessing
        >>> with workers_ended():
        ...     batches = iter(make_loader([1, 2], [[0], [1]], LoaderOptions(workers=1), False))
        ...     workers = multiprocessing.active_children()
        >>> any(worker.is_alive() for worker in workers)
        False
    """
    iterators: WeakSet[Any] = WeakSet()
    token = _open_iterators.set(iterators)
    try:
        yield
    finally:
        _open_iterators.reset(token)
        for iterator in list(iterators):
            end_workers(iterator)


class _Loader(DataLoader[Any]):
    """A loader whose iterators :func:`workers_ended` knows."""

    def __iter__(self) -> Any:
        iterator = super().__iter__()
        iterators = _open_iterators.get()
        if iterators is not None:
            iterators.add(iterator)
        return iterator


def make_loader(
    reader: Any,
    batches: Iterable[Sequence[Place]] | None,
    options: LoaderOptions,
    pin_memory: bool,
) -> DataLoader[Any]:
    """Return a loader of a reader's batches, without a draw from the global random states.

    Args:
        reader: Makes a batch from places.
        batches: The places of every batch, in order; None: the reader yields batches by itself.
        options: Number of workers and how far they read ahead.
        pin_memory: Whether batches come in memory from which a GPU can copy by itself.
    """
    workers: dict[str, Any] = {}
    if options.workers:
        workers = {
            "prefetch_factor": options.prefetch_factor,
            "persistent_workers": options.persistent,
            "worker_init_fn": partial(_begin_worker, torch.get_default_dtype()),
        }
    return _Loader(
        reader,
        batch_size=None if batches is None else 1,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=options.workers,
        collate_fn=identity,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # the loader draws its workers' base seed from it
        **workers,
    )


def take_batch(batch: Batch | FailedBatch) -> Batch:
    """Return a batch, or raise what went wrong in it."""
    return next(take_batches([batch]))


def take_batches(batches: Iterable[Batch | FailedBatch]) -> Iterator[Batch]:
    """Yield the batches of a loader; what went wrong in a worker becomes one sentence.

    Raises:
        DataError: For an item that could not be made, or a worker that came to its end.
    """
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            end_workers(iterator)
            raise _loader_error(error) from error
        if isinstance(batch, FailedBatch):
            logging.getLogger("mtl_runner.file").info("%s", batch.trace)
            raise DataError(batch.sentence)
        yield batch


def _loader_error(error: Exception) -> Exception:
    """Return an error of torch's loader in one sentence; any other as it is."""
    text = str(error)
    if any(part in text for part in ("shared memory", "shm", "Bus error", "No space left")):
        return DataError(
            "A data worker ran out of shared memory, in which batches travel; lower data.loader.workers or data.loader.prefetch_factor, or give the machine more (in a container: --shm-size=8g)."
        )
    # A batch that was on its way from the worker cannot be received any more.
    connection_lost = isinstance(error, ConnectionError | EOFError | FileNotFoundError)
    if connection_lost or (
        "worker" in text and ("exited unexpectedly" in text or "is killed by signal" in text)
    ):
        return DataError(
            "A data worker was killed, as happens when memory runs out; lower data.loader.workers or data.batch_size."
        )
    if "Too many open files" in text:
        return DataError(
            "The data workers ran out of open files; raise the limit (ulimit -n 65536) or lower data.loader.workers."
        )
    return error


def _begin_worker(dtype: torch.dtype, _worker: int) -> None:
    """Take over the precision, and leave signals to the main process, which ends its workers."""
    torch.set_default_dtype(dtype)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _OWN_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
