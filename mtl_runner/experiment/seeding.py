"""The global random states that a model, a loss or a dataset may draw from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from mtl_runner.data.items.randomness import stable_seed
from mtl_runner.gradients.ranks import Ranks


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the global random states: of torch, CUDA, numpy and Python.

    Args:
        device: The device of the run; the state of its GPU is included.

    Returns:
        Tensors and plain values, for a checkpoint.

    Example:
        >>> state = random_state(torch.device("cpu"))
        >>> numbers = torch.rand(2), np.random.rand(), random.random()
        >>> set_random_state(state, torch.device("cpu"))
        >>> bool((torch.rand(2) == numbers[0]).all()), np.random.rand() == numbers[1]
        (True, True)
    """
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, torch.tensor(internal), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the global random states.

    Args:
        state: A state of :func:`random_state`.
        device: The device of the run.
    """
    torch.set_rng_state(state["torch"].cpu())
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def seed_of_rank(seed: int, ranks: Ranks | None) -> int:
    """Return the seed of what a process draws while it trains, such as dropout.

    The first of several processes has that of a single one; the others have their own, or they
    would all leave out the same units.

    Args:
        seed: The seed of the run.
        ranks: The processes that train together; None: this one alone.
    """
    return seed if ranks is None or not ranks.rank else stable_seed("rank", seed, ranks.rank)


def seed_everything(seed: int) -> None:
    """Seed the global random states of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
