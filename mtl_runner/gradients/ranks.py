"""The processes that train one run together: what they tell each other, and what if one ends.

The engine is ``torch.distributed``: gloo between CPUs, NCCL between GPUs. Every call of it is made
here, so that its errors become sentences in one place.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mtl_runner.compat.torch_stores import Store, private_store, store_with_prefix
from mtl_runner.errors import OtherRankError
from mtl_runner.gradients.part import Part

# Seconds that a process waits for the reason why another one has ended.
PATIENCE = 5.0
# What gloo and NCCL say if another process cannot be reached.
LOST = re.compile(r"gloo|NCCL|connection (closed|reset)|broken pipe|timed out", re.IGNORECASE)


@dataclass(frozen=True)
class RankFailure:
    """Why a process of a run ended before its time.

    Attributes:
        sentence: What went wrong, for the user.
        signal: The signal that stopped it; 0 for an error.
        trace: The traceback, for the log.
    """

    sentence: str
    signal: int = 0
    trace: str = ""


class Reports:
    """A board on which the processes of a run leave word, beside the collective calls.

    Args:
        store: The store that all processes can reach.

    Example:
        >>> reports = Reports(private_store())
        >>> reports.failure() is None
        True
        >>> reports.fail(RankFailure("The disk is full."))
        >>> reports.fail(RankFailure("Connection reset by peer."))  # the first one counts
        >>> reports.failure().sentence
        'The disk is full.'
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def fail(self, failure: RankFailure) -> None:
        """Leave word why this process ends, unless another one was first."""
        # The process that keeps the board may be gone.
        with contextlib.suppress(RuntimeError):
            if self.store.add("failures", 1) == 1:
                self.store.set("failure", json.dumps(vars(failure)))

    def failure(self, wait: float = 0.0) -> RankFailure | None:
        """Return why the first process ended; None if none has said so.

        Args:
            wait: Seconds to wait for it.
        """
        end = time.monotonic() + wait
        with contextlib.suppress(RuntimeError):
            while not self.store.check(["failure"]):
                if time.monotonic() >= end:
                    return None
                time.sleep(0.05)
            return RankFailure(**json.loads(self.store.get("failure")))
        return None


@dataclass
class Ranks:
    """This process as one of those that train a run together.

    All of them make the same calls in the same order.

    Attributes:
        rank: Number of this process, counted from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine.
        local_size: Number of processes on this machine.
        reports: Where processes leave word.
        timeout: Seconds that one waits for the others.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    reports: Reports = field(default_factory=lambda: Reports(private_store()), repr=False)
    timeout: float = 600.0

    @property
    def part(self) -> Part:
        """The part of the rows of a batch that this process takes."""
        return Part(self.rank, self.size)

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, in place, to the same bits in all of them."""
        with self.in_words():
            dist.all_reduce(tensor)
        return tensor

    def sum_together(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums of tensors over the processes, sent as one message per type.

        Args:
            tensors: Tensors of the same shapes in every process.
        """
        sums: list[Tensor] = list(tensors)
        kinds = {(tensor.dtype, tensor.device): None for tensor in tensors}
        for kind in kinds:
            places = [i for i, t in enumerate(tensors) if (t.dtype, t.device) == kind]
            message = self.sum(torch.cat([tensors[i].reshape(-1) for i in places]))
            pieces = torch.split(message, [tensors[i].numel() for i in places])
            for i, piece in zip(places, pieces, strict=True):
                sums[i] = piece.view(tensors[i].shape)
        return sums

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest of each number over the processes, without the GPU."""
        message = torch.tensor(numbers)
        with self.in_words():
            dist.all_reduce(message, dist.ReduceOp.MAX)
        return [int(number) for number in message.tolist()]

    def from_first(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by that of the first process, in place."""
        with self.in_words():
            dist.broadcast(tensor, src=0)
        return tensor

    def gathered(self, tensor: Tensor) -> Tensor:
        """Return the rows of all processes, one process after another.

        Args:
            tensor: Rows ``[n, ...]``; n may differ between the processes.
        """
        counts = [0] * self.size
        counts[self.rank] = len(tensor)
        counts = self.largest(counts)
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with self.in_words():
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def objects(self, value: Any) -> list[Any]:
        """Return the values of all processes, in their order."""
        values: list[Any] = [None] * self.size
        with self.in_words():
            dist.all_gather_object(values, value)
        return values

    def wait_for_all(self) -> None:
        """Wait until all processes are here."""
        self.largest([0])

    @contextlib.contextmanager
    def in_words(self) -> Iterator[None]:
        """Say in one sentence why the others cannot be reached.

        Raises:
            OtherRankError: With the sentence of the process that ended first, if it left one.
        """
        try:
            yield
        except RuntimeError as error:
            raise self._reason(error) from error

    @contextlib.contextmanager
    def others_in_words(self) -> Iterator[None]:
        """Do so for calls that torch makes by itself, among others that fail for other reasons.

        Raises:
            OtherRankError: As :meth:`in_words`.
        """
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or LOST.search(str(error)):
                raise self._reason(error) from error
            raise

    def _reason(self, error: RuntimeError) -> OtherRankError:
        failure = self.reports.failure()
        if failure is None and "timed out" in str(error).lower():
            self.reports.fail(RankFailure(self._who_hangs()))
        failure = failure or self.reports.failure(PATIENCE)
        if failure is None:
            return OtherRankError(
                "Another process of this run has ended without a word; what it printed last says more."
            )
        if self.writes and failure.trace:
            logging.getLogger("mtl_runner.file").error("%s", failure.trace)
        return OtherRankError(failure.sentence, failure.signal)

    def _who_hangs(self) -> str:
        """Return the sentence about the processes that do not wait like this one."""
        store = self.reports.store
        names = [f"waiting {rank}" for rank in range(self.size)]
        absent: list[int] = []
        with contextlib.suppress(RuntimeError):
            store.set(names[self.rank], "")
            # The others have begun to wait at about the same time.
            end = time.monotonic() + min(2.0, self.timeout)
            while time.monotonic() < end:
                absent = [rank for rank in range(self.size) if not store.check([names[rank]])]
                time.sleep(0.05)
        numbers = " and ".join(str(rank + 1) for rank in absent)
        subject = f"Process {numbers} of {self.size} has" if absent else "Some process has"
        return f"{subject} not answered for {self.timeout:g} seconds; if that is no mistake, raise trainer.timeout."


class _Sum(torch.autograd.Function):
    """The sum over processes of which the gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(tensor.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ranks: Ranks = ctx.ranks
        return ranks.sum(gradient.clone(memory_format=torch.contiguous_format)), None


def differentiable_sum(tensor: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum of a tensor over the processes, as a part of the graph.

    Args:
        tensor: The tensor.
        ranks: The processes.
    """
    total: Tensor = _Sum.apply(tensor, ranks)  # type: ignore[no-untyped-call]
    return total


_current: Ranks | None = None


def current_ranks() -> Ranks | None:
    """Return this process as one of those that train a run together; None if it is alone."""
    return _current


@contextlib.contextmanager
def joined(ranks: Ranks, cuda: bool = False) -> Iterator[Ranks]:
    """Join the processes that train a run together, within a ``with`` block.

    Args:
        ranks: This process; its reports' store is the meeting point.
        cuda: Whether they train on GPUs, one each.

    Raises:
        OtherRankError: If the others do not come.
    """
    global _current
    # Numbers on the host go by gloo, also where those on the devices go by NCCL.
    with ranks.in_words():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=store_with_prefix("group", ranks.reports.store),
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=timedelta(seconds=ranks.timeout),
        )
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    _current = ranks
    try:
        yield ranks
    finally:
        _current = None
        # A group that has lost a member may refuse to end.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()
