"""The random states of an item: functions of a seed, the pass and the item's index alone."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def seed_item(seed: str, pass_number: int, index: int) -> None:
    """Seed torch, NumPy and Python for one item.

    An item that draws at random (a crop, a flip, noise) is so the same whichever worker makes it,
    and whatever was made before. CUDA's random state is left alone: the steps draw from it.

    Args:
        seed: What tells runs and splits apart.
        pass_number: Number of the pass over the split, counted from 0.
        index: Index of the item.

    Example:
        >>> with keep_random_states():
        ...     seed_item("train 0", pass_number=1, index=7)
        ...     first = torch.rand(2), random.random()
        ...     seed_item("train 0", pass_number=1, index=7)
        ...     torch.equal(torch.rand(2), first[0]), random.random() == first[1]
        (True, True)
    """
    number = stable_seed(seed, pass_number, index)
    # Not torch.manual_seed, which also seeds every GPU.
    torch.default_generator.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def stable_seed(*parts: str | int) -> int:
    """Return a seed of 64 bits that depends on all parts, the same in every process.

    Example:
        >>> stable_seed("train", 0) == stable_seed("train", 0) != stable_seed("train", 1)
        True
    """
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


@contextlib.contextmanager
def keep_random_states() -> Iterator[None]:
    """Restore the random states of torch, NumPy and Python on the CPU after a ``with`` block."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
