"""Loaders, and how their workers fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner import Task
from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.data.items.loading import Passes, take_batches, workers_ended
from mtl_runner.errors import DataError
from mtl_runner.gradients.part import Part


@given(
    items=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 5), n=st.integers(1, 9)
)
def test_every_pass_holds_every_item_once(items: int, size: int, seed: int, n: int) -> None:
    """Breaks if an item is trained twice or never in a pass, or a resume takes another way."""
    per_pass = -(-items // size)
    batches = list(islice(Passes(range(items), size, seed), n * per_pass))
    for number in range(n):
        places = [p for b in batches[number * per_pass : (number + 1) * per_pass] for p in b]
        assert {p for p, _ in places} == {number}
        assert sorted(index for _, index in places) == list(range(items))
    first = n * per_pass // 2
    resumed = islice(Passes(range(items), size, seed, first), len(batches) - first)
    assert list(resumed) == batches[first:]


@given(items=st.integers(1, 20), size=st.integers(1, 6), count=st.integers(1, 4))
def test_the_parts_of_a_batch_are_its_items(items: int, size: int, count: int) -> None:
    """Breaks if an item is made by two processes or by none, or one without items is not known."""
    first, n = 1, 9
    whole_batches = list(islice(Passes(range(items), size, 0, first), n))
    parts = [Passes(range(items), size, 0, first, Part(number, count)) for number in range(count)]
    made = [list(islice(part, n)) for part in parts]
    for number, batch in enumerate(whole_batches):
        empty = [part.is_empty(first + number) for part in parts]
        taken = [
            batches[number] for batches, nothing in zip(made, empty, strict=True) if not nothing
        ]
        assert [place for part in taken for place in part] == batch
        assert all(
            batches[number] == batch[:1] for batches, e in zip(made, empty, strict=True) if e
        )


def test_passes_and_seeds_have_other_orders() -> None:
    """Breaks if every epoch sees the same order, or every seed."""
    orders = {
        tuple(index for _, index in next(islice(Passes(range(50), 50, seed), number, None)))
        for seed in range(3)
        for number in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "unable to open shared memory object </torch_1> in read-write mode",
            "A data worker ran out of shared memory, in which batches travel; lower data.loader.workers or data.loader.prefetch_factor, or give the machine more (in a container: --shm-size=8g).",
        ),
        (
            "DataLoader worker (pid(s) 17) exited unexpectedly",
            "A data worker was killed, as happens when memory runs out; lower data.loader.workers or data.batch_size.",
        ),
        (
            "Too many open files",
            "The data workers ran out of open files; raise the limit (ulimit -n 65536) or lower data.loader.workers.",
        ),
    ],
)
def test_the_loader_s_errors_become_sentences(text: str, sentence: str) -> None:
    """Breaks if a user has to guess what torch's loader means."""

    def failing() -> Any:
        raise RuntimeError(text)
        yield

    with pytest.raises(DataError) as error:
        list(take_batches(failing()))
    assert str(error.value) == sentence


class KillsItsWorker(torch.utils.data.Dataset[Any]):
    """A dataset of which one item ends the process that makes it, as the kernel does."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        if index == 5 and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(2), float(index)

    def targets(self) -> dict[str, torch.Tensor]:
        """Return all targets, so that no worker is needed for them."""
        return {"y": torch.arange(8.0)}


def test_a_worker_that_is_killed_ends_in_a_sentence() -> None:
    """Breaks if a run hangs or prints a traceback when the kernel kills a worker."""
    options = LoaderOptions(workers=1)
    split = ItemSplit(KillsItsWorker(), "train", [Task("y", size=1)], options)
    with pytest.raises(DataError, match="A data worker was killed"):
        list(split.batches(2))


@pytest.mark.parametrize("persistent", [False, True])
def test_no_worker_outlives_a_run_that_fails(persistent: bool) -> None:
    """Breaks if an error that somebody keeps, with its traceback, keeps workers to the end."""
    items = [(torch.zeros(3), {"y": float(index)}) for index in range(64)]
    options = LoaderOptions(workers=2, persistent=persistent)
    kept: list[BaseException] = []
    workers: list[Any] = []
    before = set(multiprocessing.active_children())

    def fail() -> None:
        split = ItemSplit(items, "train", [Task("y")], options)
        stream, batches = split.training_batches(4, 0, 0), split.batches(4)
        next(stream), next(batches)
        workers.extend(set(multiprocessing.active_children()) - before)
        raise ZeroDivisionError

    try:
        with workers_ended():
            fail()
    except ZeroDivisionError as error:
        kept.append(error)
    assert len(workers) == 4
    assert not any(worker.is_alive() for worker in workers)
    assert kept
